"""Precision, recall and F1 on exact spans and labels: `python -m training.gliner_small.evaluate FOLDER SET.jsonl`."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

Entity = tuple[int, int, str]
Row = tuple[str, list[Entity]]


def load_set(path: Path) -> list[Row]:
    """Rows of {"text", "entities": [{"text", "label"}...]}; each entity is found in the text, left to right."""
    rows: list[Row] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        record = json.loads(line)
        entities: list[Entity] = []
        position: Counter[str] = Counter()
        for entity in record["entities"]:
            start = record["text"].find(entity["text"], position[entity["text"]])
            if start < 0:
                raise ValueError(f"{entity['text']!r} is not in {record['text']!r}")
            position[entity["text"]] = start + len(entity["text"])
            entities.append((start, start + len(entity["text"]), entity["label"]))
        rows.append((record["text"], entities))
    return rows


def score(model: Any, rows: list[Row], threshold: float = 0.5, show: bool = False) -> dict[str, Counter[str]]:
    """Counts of true positives, predictions and gold entities by label; all labels of the set are asked for at once."""
    present = {label for _, entities in rows for _, _, label in entities}
    preferred = ["Person", "Organization", "Location", "Date", "Money", "Product", "Event"]
    labels = [label for label in preferred if label in present] + sorted(present - set(preferred))
    counts = {label: Counter[str]() for label in labels}
    for text, gold in rows:
        found = {(e["start"], e["end"], e["label"]) for e in model.predict_entities(text, labels, threshold=threshold)}
        for _, _, label in found:
            counts[label]["predicted"] += 1
        for entity in gold:
            counts[entity[2]]["gold"] += 1
            counts[entity[2]]["hit"] += entity in found
        if show and found != set(gold):
            wrong = [f"{text[s:e]}/{label}" for s, e, label in sorted(found - set(gold))]
            missed = [f"{text[s:e]}/{label}" for s, e, label in sorted(set(gold) - found)]
            print(f"{text}\n    wrong: {wrong}\n    missed: {missed}")
    return counts


def report(counts: dict[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 by label, and over all entities under "micro"."""

    def rates(count: Counter[str]) -> dict[str, float]:
        precision, recall = count["hit"] / max(1, count["predicted"]), count["hit"] / max(1, count["gold"])
        return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(1e-9, precision + recall)}

    return {label: rates(count) for label, count in counts.items()} | {"micro": rates(sum(counts.values(), Counter()))}


def main() -> None:
    from gliner import GLiNER

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("set", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--labels", nargs="+", help="labels to ask for and to count; by default those of the set")
    parser.add_argument("--show", action="store_true", help="print every sentence that is not exactly right")
    arguments = parser.parse_args()
    folder = str(arguments.folder)
    model = GLiNER.from_pretrained(folder, load_onnx_model=True, load_tokenizer=True, local_files_only=True)
    rows = load_set(arguments.set)
    if arguments.labels:
        rows = [(text, [e for e in entities if e[2] in arguments.labels]) for text, entities in rows]
    counts = score(model, rows, arguments.threshold, arguments.show)
    print(f"{len(rows)} texts, threshold {arguments.threshold}")
    print(f"{'label':14} {'precision':>9} {'recall':>7} {'f1':>6} {'gold':>5}")
    for label, values in report(counts).items():
        gold = sum(c["gold"] for c in counts.values()) if label == "micro" else counts[label]["gold"]
        print(f"{label:14} {values['precision']:9.3f} {values['recall']:7.3f} {values['f1']:6.3f} {gold:5}")


if __name__ == "__main__":
    main()
