"""Turns a PyTorch checkpoint of GLiNER into the files that this engine loads.

    python -m functions.extract.export REPO_OR_DIR OUT [--precision fp32|fp32-half-embeddings|int8]

Needs `requirements/reference.txt`. OUT then holds `model.onnx`, `tokenizer.json` and `gliner_config.json`, and what was
rebuilt of it.
"""

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any, get_args

from common.settings import Precision
from functions.extract.graph.prepare import prepared

logger = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
FILES = ("model.onnx", TOKENIZER, "gliner_config.json")


def export(gliner: Any, folder: Path, own_tokenizer: Path | None = None) -> None:
    """Write `gliner`, a model of the `gliner` package, to `folder`; other files there are left alone.

    `own_tokenizer` is the file that it was trained with. The exporter's is what transformers makes of it, whose later
    versions cut some texts into other tokens. Raises FileNotFoundError where the exporter leaves out a file that is
    needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gliner.eval()
    gliner.export_to_onnx(folder)
    for name in FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"the exporter of the gliner package wrote no {name} to {folder}")
    if own_tokenizer is not None:
        _keep_tokenizer(own_tokenizer, folder)


def find_tokenizer(checkpoint: str, model_name: str) -> Path | None:
    """The tokenizer.json that the package has read for `checkpoint`, a folder or a repository that it has loaded.

    Where that has no tokenizer, the package takes that of `model_name`. None where there is another file only.
    """
    source = checkpoint if _file(checkpoint, "tokenizer_config.json") is not None else model_name
    return _file(source, TOKENIZER)


def _file(source: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return path if (path := Path(source, name)).is_file() else None
    try:
        found = try_to_load_from_cache(source, name)
    except ValueError:
        # No name of a repository.
        return None
    return Path(found) if isinstance(found, str) else None


def _keep_tokenizer(own: Path, folder: Path) -> None:
    """Put `own` in place of the exporter's, with the tokens of the prompt if it lacks them."""
    from tokenizers import Tokenizer

    config = json.loads((folder / "gliner_config.json").read_text(encoding="utf-8"))
    tokens = [config["ent_token"], config["sep_token"]]
    kept, exported = Tokenizer.from_file(str(own)), Tokenizer.from_file(str(folder / TOKENIZER))
    lacks = None in map(kept.token_to_id, tokens)
    if lacks:
        kept.add_special_tokens(["[FLERT]", *tokens])
    if list(map(kept.token_to_id, tokens)) != list(map(exported.token_to_id, tokens)):
        logger.warning("%s numbers other tokens than the model: the exporter's is kept", own)
    elif lacks:
        kept.save(str(folder / TOKENIZER))
    elif own.resolve() != (folder / TOKENIZER).resolve():
        shutil.copyfile(own, folder / TOKENIZER)


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
    gliner = GLiNER.from_pretrained(options.checkpoint)
    export(gliner, options.output, find_tokenizer(options.checkpoint, gliner.config.model_name))
    print(prepared(options.output / FILES[0], options.precision, options.output, make=True).path)


if __name__ == "__main__":
    main()
