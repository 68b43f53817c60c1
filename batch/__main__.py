"""python -m batch IN OUT --do summarize,extract,audio [--url URL] ..: see docs/corpora.md."""

import os
import sys

from batch.run import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's clean-up: a thread may be reading standard input, or loading a model.
    os._exit(status)
