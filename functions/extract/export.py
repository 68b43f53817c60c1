"""Turns a PyTorch checkpoint of GLiNER into the files that this engine loads.

    python -m functions.extract.export REPO_OR_DIR OUT [--precision fp32|fp32-half-embeddings|int8]

Needs `requirements/reference.txt`. OUT then holds `model.onnx`, `tokenizer.json` and `gliner_config.json`, and what was
rebuilt of it.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, get_args

from common.settings import Precision
from functions.extract.graph.prepare import prepared

FILES = ("model.onnx", "tokenizer.json", "gliner_config.json")


def export(gliner: Any, folder: Path) -> None:
    """Write `gliner`, a model of the `gliner` package, to `folder`; other files there are left alone.

    Raises FileNotFoundError where its exporter leaves out a file that is needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gliner.eval()
    gliner.export_to_onnx(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the exporter of the gliner package wrote no {name} to {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Turns a PyTorch checkpoint of GLiNER into the files that are served.")
    parser.add_argument("checkpoint", metavar="REPO_OR_DIR")
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from gliner import GLiNER
    except ImportError:
        sys.exit("the package gliner is needed: pip install --require-hashes -r requirements/reference.txt")
    export(GLiNER.from_pretrained(options.checkpoint), options.output)
    print(prepared(options.output / FILES[0], options.precision, options.output, make=True).path)


if __name__ == "__main__":
    main()
