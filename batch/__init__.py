"""Whole corpora from a desk: `python -m batch IN OUT --do summarize,extract,audio`. See docs/corpora.md."""
