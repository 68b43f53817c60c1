"""The services that are compared, each a process on a loopback port in front of the same cloud."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager

from benchmarks.harness.folders import LOGS, file_name
from benchmarks.harness.service import Service, answers, factory, peer, run

OURS, STREAM, SAVE = "factory", "edge-tts stream", "save then send"
NAMES = (OURS, STREAM, SAVE)
QUIET = {"WARM_UP": False, "LOG_LEVEL": "WARNING", "LOG_STYLE": "json"}


def running(
    name: str, endpoint: str, settings: Mapping[str, object] | None = None, log_suffix: str = ""
) -> AbstractContextManager[Service]:
    """The service called `name`, once it listens; `settings` of ours: `AUDIO__CONCURRENCY` and the like."""
    if name == OURS:
        program = factory({**QUIET, "AUDIO__ENDPOINT": endpoint, **(settings or {})})
    else:
        module, mode = "benchmarks.audio.peers.over_http", {STREAM: "stream", SAVE: "save"}[name]
        program = peer(lambda port: [sys.executable, "-m", module, mode, str(port), endpoint])
    return run(program, LOGS / f"audio-{file_name(name)}{log_suffix}.log", ready=answers)
