"""What README.md and docs/api.md show is what happens: curl commands, their outputs and the snippets in Python."""

import asyncio
import json
import re
import subprocess
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from mutagen.mp3 import MP3

from tests.conftest import ROOT, Runner

README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs/api.md").read_text(encoding="utf-8")
# Each block of shell commands, with the JSON block that follows it at once.
COMMANDS = re.findall(r"```bash\n(curl .*?)```(?:\n\n```json\n(.*?)```)?", README + API, re.DOTALL)
# These differ from run to run, with the machine and with the request before.
VARYING = {"inference_time_ms", "uptime_seconds", "loop_lag_ms", "cached_tokens", "cached_answer", "detail", "rates"}


def steady(value: Any) -> Any:
    """`value` without what varies."""
    if isinstance(value, dict):
        return {name: steady(item) for name, item in value.items() if name not in VARYING}
    return [steady(item) for item in value] if isinstance(value, list) else value


def about(value: Any) -> Any:
    """What compares equal to `value` when its scores are nearly the same: the last digits are the machine's."""
    if isinstance(value, dict):
        return {name: about(item) for name, item in value.items()}
    if isinstance(value, list):
        return [about(item) for item in value]
    return pytest.approx(value, abs=0.01) if isinstance(value, float) else value


def test_there_is_a_command_for_each_call() -> None:
    assert [re.search(r"7860(/\w+)", command)[1] for command, _ in COMMANDS] == [  # type: ignore[index]
        "/summarize",
        "/extract",
        "/audio",
        "/health",
        "/audio",
    ]


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=["summarize", "extract", "audio", "health", "captions"])
def test_a_command_does_what_it_shows(command: str, shown: str, as_it_starts: Runner, tmp_path: Path) -> None:
    local = command.replace("http://localhost:7860", as_it_starts.url)
    ran = subprocess.run(["bash", "-ec", local], cwd=tmp_path, capture_output=True, text=True, check=True)
    if shown:
        got, expected = json.loads(ran.stdout), json.loads(shown)
        if summary := expected.pop("summary", None):
            # The rounding of the machine decides between likely words: most are the same everywhere.
            assert SequenceMatcher(None, summary.split(), got.pop("summary").split()).ratio() > 0.5
            got["usage"].pop("completion_tokens"), expected["usage"].pop("completion_tokens")
        assert steady(got) == about(steady(expected))
    elif "text/vtt" in command:
        assert ran.stdout.startswith("WEBVTT\n\n00:00:00.000 --> ")
        assert "A new library will be built." in ran.stdout
    else:
        sound = MP3(tmp_path / "audio.mp3").info
        assert 0.3 < sound.length < 5


def test_the_snippet_for_space_a_works_as_it_stands(runner: Runner) -> None:
    (snippet,) = re.findall(r"```python\n(import httpx.*?)```", API, re.DOTALL)
    assert "https://YOUR_USERNAME-segmento-factory.hf.space" in snippet
    space_a: dict[str, Any] = {}
    exec(snippet.replace("https://YOUR_USERNAME-segmento-factory.hf.space", runner.url), space_a)
    article = "Apple Inc. announced that Tim Cook will visit Paris. He will stay for two days. It is his first visit."
    summary = asyncio.run(space_a["get_ai_summary"](article))
    assert article.startswith(summary["summary"])
    assert {"summary", "model", "inference_time_ms"} <= set(summary)
    entities = asyncio.run(space_a["extract_entities"](article))["entities"]
    assert {"text": "Tim Cook", "label": "Person"}.items() <= next(
        e for e in entities if e["text"] == "Tim Cook"
    ).items()


def test_the_snippet_for_openais_sdk_works_as_it_stands(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"```python\n(from openai .*?)```", API, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names: dict[str, Any] = {}
    exec(snippet.replace("http://localhost:7860", runner.url), names)
    names["client"].close()
    assert 0.3 < MP3(tmp_path / "audio.mp3").info.length < 5
