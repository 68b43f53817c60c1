"""What is left to gain in 8 bits: where the time of one window goes, beside what this CPU does at most.

python -m benchmarks.extract.roofline [--words 370] [--runs 5]

The CPU's most is measured: onnxruntime on matrices of 2,048 rows and columns, in 32 and in 8 bits. A product cannot be
faster than that. What only moves numbers could, at best, be no work at all: an operator that did all of attention at
once would keep them in the processor's cache.
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.extract.compare import LABELS, MODEL, text
from benchmarks.extract.operators import profile
from benchmarks.harness.machine import cpu
from benchmarks.harness.table import table
from common.settings import get_settings

SIZE = 2048
# Of the rebuilt graph in 8 bits: which operators multiply, and in what.
EIGHT_BITS = {"DynamicQuantizeMatMul"}
FLOATS = {"FusedMatMul", "MatMul", "Gemm", "MultiHeadAttention", "LSTM"}


def session(operator: str, inputs: dict[str, Any], constants: dict[str, Any], threads: int, domain: str = "") -> Any:
    """One operator with these inputs and constants, in the order in which they are given."""
    import onnxruntime

    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)) for name, value in inputs.items()
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(operator, [*inputs, *constants], ["y"], domain=domain)
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "one", given, [result], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def seconds(made: Any, inputs: dict[str, Any], runs: int) -> float:
    taken = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        made.run(None, inputs)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:])


def peaks(threads: int, runs: int) -> dict[str, float]:
    """Multiply-adds a second in 32 and in 8 bits."""
    random = np.random.default_rng(1)
    x = random.standard_normal((SIZE, SIZE), np.float32)
    weight = random.integers(-63, 64, (SIZE, SIZE)).astype(np.int8)
    scales = {"weight": weight, "scale": np.full(SIZE, 0.01, np.float32), "zero": np.zeros(SIZE, np.int8)}
    floats = session("MatMul", {"x": x}, {"weight": x}, threads)
    eight = session("DynamicQuantizeMatMul", {"x": x}, scales, threads, "com.microsoft")
    return {
        "32 bits": SIZE**3 / seconds(floats, {"x": x}, runs),
        "8 bits": SIZE**3 / seconds(eight, {"x": x}, runs),
    }


def work(config: dict[str, Any], tokens: int, words: int, rows: int) -> dict[str, float]:
    """Multiply-adds of one window by kind; `rows` of the position tables are in use."""
    encoder = config["encoder_config"]
    hidden, layers, wide = encoder["hidden_size"], encoder["num_hidden_layers"], encoder["intermediate_size"]
    head = config["hidden_size"]
    linear = layers * tokens * (4 * hidden**2 + 2 * hidden * wide)
    # The projection, both sides of a span, and what they add to the span's vector.
    span_head = words * (hidden * head + 2 * (2 * 4 * head**2) + 2 * 4 * head**2)
    attention = layers * hidden * (2 * tokens**2 + 2 * tokens * rows)
    lstm = words * 2 * (4 * (head // 2) * (head + head // 2))
    return {"8 bits": float(linear + span_head), "32 bits": float(attention + lstm)}


def main() -> None:
    parser = argparse.ArgumentParser(description="The rebuilt graph in 8 bits beside what the CPU does at most.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--words", type=int, default=370)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ["FACTORY_EXTRACT__MODEL"] = str(options.model)
    os.environ["FACTORY_EXTRACT__PRECISION"] = "int8"
    from functions.extract import engine
    from functions.extract.feeds import feeds
    from functions.extract.graph.prepare import prepared
    from functions.extract.graph.write.deberta import position_rows

    loaded = engine.load(lambda _: None)
    encoded = loaded.read(text(Random(1), options.words), loaded.prompt(LABELS), LABELS, 0.5).take()
    assert encoded
    graph = prepared(options.model / "model.onnx", "int8", get_settings().extract.cache_folder, make=True).path
    times = profile(graph, feeds([encoded.row], 12, 0), options.runs, options.threads)
    most = peaks(options.threads, options.runs)
    config = json.loads((options.model / "gliner_config.json").read_text(encoding="utf-8"))
    tokens = len(encoded.row.tokens)
    encoder = config["encoder_config"]
    distances = np.arange(1 - tokens, tokens)
    rows = len(np.unique(position_rows(distances, encoder["position_buckets"], encoder["max_position_embeddings"])))
    todo = work(config, tokens, len(encoded.words), rows)
    kinds: Counter[str] = Counter()
    for operator, milliseconds in times.items():
        kind = "8 bits" if operator in EIGHT_BITS else "32 bits" if operator in FLOATS else "moves numbers"
        kinds[kind] += milliseconds
    print(f"{cpu()}\n{len(encoded.words)} words, {tokens} tokens, {rows} rows of positions\n")
    lines = []
    least = 0.0
    for kind in ("8 bits", "32 bits", "moves numbers"):
        floor = 1000 * todo[kind] / most[kind] if kind in todo else 0.0
        least += floor
        done = f"{todo[kind] / 1e9:.1f}" if kind in todo else ""
        lines.append([kind, done, f"{kinds[kind]:.0f}", f"{floor:.0f}", f"{floor / max(kinds[kind], 1e-9):.0%}"])
    lines.append(["all", "", f"{kinds.total():.0f}", f"{least:.0f}", f"{least / kinds.total():.0%}"])
    print(table(["", "10^9 multiply-adds", "ms", "ms at the CPU's most", "reached"], lines))
    print(
        f"\nthe CPU's most: {most['32 bits'] / 1e9:.0f} and {most['8 bits'] / 1e9:.0f} x 10^9 multiply-adds a second\n"
    )
    print(table(["operator", "ms"], [[name, f"{value:.1f}"] for name, value in times.most_common(10)]))


if __name__ == "__main__":
    main()
