"""The test suite's news, and the words that the benchmarks' own texts are made of."""

import json
import re
from functools import cache

from benchmarks.harness.folders import ROOT


@cache
def news() -> list[str]:
    lines = (ROOT / "tests/data/articles.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


@cache
def words() -> list[str]:
    return sorted({word for text in news() for word in re.findall(r"\b[a-z]{2,}\b", text)})
