"""schemathesis against a service that lives, with every check it has."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.folders import ROOT
from tests.fuzz.watch import Watch

CONFIGURATION = Path(__file__).with_name("openapi.toml")
EXAMPLES = 1000


def conform(watch: Watch, seconds: float) -> None:
    """What it finds are faults; its whole report is told with them."""
    url = f"http://127.0.0.1:{watch.service.port}"
    command = [
        *(str(Path(sys.executable).with_name("st")), "--config-file", str(CONFIGURATION), "--no-color"),
        *("run", f"{url}/openapi.json", "--checks", "all", "--continue-on-failure", "--request-timeout", "40"),
        *("--max-examples", str(EXAMPLES), "--max-time", str(max(5, round(seconds)))),
        *("--seed", str(watch.seed), "--generation-database", "none", "--output-sanitize", "false"),
    ]
    environment = {
        **os.environ,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.fuzz.openapi_hooks",
    }
    # It leaves folders of its own where it runs.
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    generated = re.search(r"(\d+) generated", ran.stdout)
    watch.tried["schemathesis"] += int(generated[1]) if generated else 0
    if ran.returncode:
        report = ran.stdout.partition("= FAILURES =")[2] or (ran.stdout + ran.stderr)
        watch.fault(f"schemathesis:\n{report.strip('=').strip()}")
    elif not generated:
        watch.fault(f"schemathesis tried nothing:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
