"""Where the time of one call goes, by operator: the exported graph and the rebuilt ones, by onnxruntime's own profile.

python -m benchmarks.extract.operators [--words 370] [--runs 5]
"""

import argparse
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from random import Random

from benchmarks.extract.compare import LABELS, MODEL, text
from benchmarks.harness.table import table
from common.settings import get_settings

# Operators that take less than this share in every graph are summed up.
LEAST_SHARE = 0.01


def profile(graph: Path, inputs: Mapping[str, object], runs: int, threads: int) -> Counter[str]:
    """Milliseconds of one run by operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        for _ in range(runs + 1):
            session.run(["logits"], inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    # Without the first run, which allocates.
    kernels = kernels[len(kernels) // (runs + 1) :]
    times: Counter[str] = Counter()
    for event in kernels:
        times[event["args"]["op_name"]] += event["dur"] / 1000 / runs
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="Time by operator, before and after the graph is rebuilt.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--words", type=int, default=370)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["FACTORY_EXTRACT__MODEL"] = str(options.model)
    from functions.extract import engine
    from functions.extract.feeds import feeds
    from functions.extract.graph.prepare import prepared

    loaded = engine.load(lambda _: None)
    encoded = loaded.read(text(Random(1), options.words), loaded.prompt(LABELS), LABELS, 0.5).take()
    assert encoded
    inputs = feeds([encoded.row], 12, 0)
    source, cache = options.model / "model.onnx", get_settings().extract.cache_folder
    graphs = {"export": source, "rebuilt, fp32": prepared(source, "fp32", cache, make=True).path}
    graphs["rebuilt, int8"] = prepared(source, "int8", cache, make=True).path
    found = {name: profile(graph, inputs, options.runs, options.threads) for name, graph in graphs.items()}
    totals = {name: times.total() for name, times in found.items()}
    operators = {name for times in found.values() for name in times}
    large = {name for name in operators if any(found[side][name] > LEAST_SHARE * totals[side] for side in found)}
    print(f"{len(encoded.words)} words, {len(encoded.row.tokens)} tokens; ms of one run\n")
    shown = sorted(large, key=lambda name: -found["export"][name] - found["rebuilt, fp32"][name])
    rows = {name: [times[name] for times in found.values()] for name in shown}
    rows["others"] = [sum(times[name] for name in operators - large) for times in found.values()]
    rows["all"] = list(totals.values())
    print(table(["", *found], ([name, *(f"{value:.1f}" for value in values)] for name, values in rows.items())))


if __name__ == "__main__":
    main()
