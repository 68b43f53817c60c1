"""What schemathesis has to know of the service and no schema can say, so that valid data is what it takes for valid."""

from typing import Any

import schemathesis
from schemathesis import GenerationMode

from functions.audio.voices import DEFAULT_VOICE


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    """Names a voice and a locale that exist, and text of which something can be heard, where data should be valid."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query and "locale" in case.query:
        case.query["locale"] = "en"
    if not isinstance(case.body, dict):
        return
    case.body = _without_nul(case.body)
    if "voice" in case.body:
        case.body["voice"] = DEFAULT_VOICE
    for name in ("text", "input"):
        if isinstance(value := case.body.get(name), str) and "audio" in case.path:
            case.body[name] = f"{value[:1000]} a"
    if case.body.get("text") is not None and case.body.get("texts") is not None:
        del case.body["texts"]


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "a")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return {name: _without_nul(item) for name, item in value.items()} if isinstance(value, dict) else value
