"""The language model of the tests: it copies an article's opening, within milliseconds (tests/models/llama-lead)."""

from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "models/llama-lead/embedded-llama-lead.gguf"
# What answers call it.
NAME = FILE.stem
CONTEXT = 2048
# It knows prompts of up to 1,000 tokens, and articles that go on as they began. More threads only wait for each other.
SETTINGS: dict[str, object] = {
    "SUMMARIZE__MODEL": FILE,
    "SUMMARIZE__CONTEXT": CONTEXT,
    "SUMMARIZE__MAX_ARTICLE_TOKENS": 384,
    "SUMMARIZE__LEAD_SHARE": 1.0,
    "SUMMARIZE__THREADS": 1,
}
