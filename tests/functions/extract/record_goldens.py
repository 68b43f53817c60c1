"""Records what the `gliner` package finds in the golden cases, for the parity test.

python -m venv reference && reference/bin/pip install --require-hashes -r requirements/reference.txt
reference/bin/python -m tests.functions.extract.record_goldens
"""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from gliner import GLiNER

from tests.functions.extract.golden_cases import CASES

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "tests" / "models" / "gliner"
GOLDENS = ROOT / "tests" / "data" / "gliner_goldens.jsonl"


def main() -> None:
    model = GLiNER.from_pretrained(
        str(MODEL), load_onnx_model=True, onnx_model_file="model.onnx", local_files_only=True
    )
    with GOLDENS.open("w", encoding="utf-8") as file:
        for case in CASES:
            found = model.predict_entities(
                case.text,
                case.labels,
                threshold=case.threshold,
                flat_ner=case.flat_ner,
                multi_label=case.multi_label,
            )
            entities = [[e["start"], e["end"], e["label"], round(e["score"], 6)] for e in found]
            file.write(json.dumps({"text": case.text, "entities": entities}, ensure_ascii=False) + "\n")
    print(f"{len(CASES)} cases in {GOLDENS}")


if __name__ == "__main__":
    main()
