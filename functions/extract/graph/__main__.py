"""python -m functions.extract.graph IN.onnx OUT.onnx [--precision fp32|fp32-half-embeddings|int8]

The weights of OUT.onnx are in OUT.onnx.weights: onnxruntime maps that file into memory instead of copying it.
"""

import argparse
import sys
import textwrap
from pathlib import Path
from typing import get_args

from common.child import end_with_parent
from common.settings import Precision
from functions.extract.graph.convert import SUFFIXES, NotEqual, convert
from functions.extract.graph.prepare import NOT_REBUILT
from functions.extract.graph.walk import NotRecognised


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuilds the graph of a GLiNER that was exported to ONNX.")
    parser.add_argument("source", type=Path, metavar="IN.onnx")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        end_with_parent()
    try:
        precision = convert(options.source, options.target, options.precision)
    except (NotRecognised, NotEqual) as error:
        kind = "not recognised" if isinstance(error, NotRecognised) else "not equal after rebuilding"
        # One line, also of a library's longer message.
        print(textwrap.shorten(f"{kind}: {error}", 500, placeholder=" .."))
        sys.exit(NOT_REBUILT)
    size = sum(file.stat().st_size for suffix in SUFFIXES if (file := Path(f"{options.target}{suffix}")).exists())
    print(f"{options.target}: {size / 1e6:.0f} MB, {precision}; its exact form gives the same logits")


if __name__ == "__main__":
    main()
