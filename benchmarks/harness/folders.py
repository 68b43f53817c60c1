"""Where models, logs and results lie."""

import json
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "benchmarks/.cache"
MODELS, LOGS, RESULTS = CACHE / "models", CACHE / "logs", CACHE / "results"


def file_name(side: str) -> str:
    """The name of a side, as far as a file can have it."""
    return "".join(letter if letter.isalnum() else "-" for letter in side)


def save(name: str, content: Any) -> Path:
    """Raw figures as JSON, in a new file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return path
