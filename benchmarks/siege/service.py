"""The service under siege, and the prober of its /health."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness.folders import LOGS, ROOT
from benchmarks.harness.service import Service, factory, is_ready, run
from benchmarks.harness.statistics import percentile
from tests.doubles import lead_model


def running(
    root: Path, name: str, endpoint: str, settings: Sequence[str] = (), descriptors: int | None = None
) -> AbstractContextManager[Service]:
    """The service of `root` with small models of this repository, once they are loaded; `settings` are
    `SUMMARIZE__PARALLEL=2` and the like, `descriptors` is the limit that `ulimit -n` sets."""
    chosen = lead_model.SETTINGS | {"LOG_STYLE": "json", "LOG_LEVEL": "WARNING", "AUDIO__ENDPOINT": endpoint}
    chosen |= dict(setting.split("=", 1) for setting in settings)
    python = root / ".venv/bin/python"
    program = factory(chosen, root=root, python=str(python) if python.exists() else sys.executable)
    log = LOGS / f"siege-{name}-{root.name or 'root'}.log"
    return run(program, log, ready=is_ready, descriptors=descriptors)


@dataclass
class Health:
    """What the prober saw: seconds of each answer of /health, and how often it had none in time."""

    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    breaker_opened: bool = False

    @property
    def most_seconds(self) -> float:
        return max(self.seconds, default=0.0)

    def share(self, share: float) -> float:
        return percentile(self.seconds, share) or 0.0

    def told(self) -> str:
        lost = f", {self.lost} of {len(self.seconds)} never answered" if self.lost else ""
        return f"p99 {self.share(0.99) * 1000:.0f} ms, max {self.most_seconds * 1000:.0f} ms{lost}"


@contextmanager
def probing(service: Service) -> Iterator[Health]:
    """Ask /health every 50 ms, from a process of its own, until the block ends; the result is filled then."""
    health = Health()
    prober = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.siege.prober", str(service.port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield health
    finally:
        output, _ = prober.communicate(timeout=60)
        seen = json.loads(output)
        health.seconds, health.lost = seen["seconds"], seen["lost"]
        health.breaker_opened = seen["breaker_opened"]
