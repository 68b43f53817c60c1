"""Write the deployable folder: model.onnx by gliner's own exporter, tokenizer and config."""

import argparse
import json
from pathlib import Path
from typing import Any

from functions.extract.export import export as export_files


def export(gliner: Any, folder: Path) -> None:
    """Export `gliner` (a UniEncoderSpanGLiNER in eval mode) to `folder`; other files there are left alone."""
    export_files(gliner, folder)
    config_path = folder / "gliner_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["model_type"] = "gliner"
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    from gliner import GLiNER

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="a folder written by save_pretrained, e.g. runs/torch")
    parser.add_argument("output", type=Path, nargs="?", default=Path("tests/models/gliner"))
    arguments = parser.parse_args()
    export(GLiNER.from_pretrained(str(arguments.checkpoint)), arguments.output)


if __name__ == "__main__":
    main()
