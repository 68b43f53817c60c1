"""Exports a GLiNER with tool chains of several years, each in an environment of its own, and treats what they wrote.

    python -m benchmarks.models.exports OUT [--only PATTERN] [--envs FOLDER]

An export is in OUT/<chain>-o<opset>-<form>/. Forms: `folded` and `unfolded` (constant folding), `dynamo`, and what was
made of the folded one, or of another shape: see `jobs`. INDEX.txt says what failed, and why. What is there is kept.

The first chain is the one of the hub's GLiNERs (July 2024). Its packages are pinned but not hashed: they never serve
anyone. The weights are those of the embedded model, or random ones in the shapes of the larger models.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.folders import ROOT
from benchmarks.models.gliner import ENCODER

SCRIPT = Path(__file__).with_name("export_with.py")
CHAINS: dict[str, tuple[str, ...]] = {
    "t23": (
        "torch==2.3.1",
        "numpy==1.26.4",
        "transformers==4.41.2",
        "gliner==0.2.7",
        "onnx==1.16.1",
        "onnxruntime==1.18.1",
        "onnxconverter-common==1.14.0",
    ),
    "t26": (
        "torch==2.6.0",
        "numpy==1.26.4",
        "transformers==4.48.3",
        "gliner==0.2.13",
        "onnx==1.17.0",
        "onnxruntime==1.20.1",
        "onnxscript==0.2.0",
        "ml-dtypes==0.4.1",
    ),
    "now": (
        "torch==2.13.0",
        "transformers==5.16.1",
        "gliner==0.2.29",
        "onnx==1.23.2",
        "onnxruntime==1.32.0",
        "onnxscript==0.7.2",
        "onnxconverter-common==1.16.0",
        "onnxslim==0.1.98",
        "onnxsim==0.8.1",
    ),
}
OPSETS = range(11, 21)
MODEL, CONFIG, TOKENIZER = "model.onnx", "gliner_config.json", "tokenizer.json"
INDEX, SOURCES, MAKING = "INDEX.txt", ".sources", ".making"
MINIATURE = "miniature"
# The model of the tests, whose trained weights the exports carry.
SOURCE = ROOT / "tests" / "models" / "gliner"
# Those of the hub by size, with as many layers and tokens as it takes to see the shape; and one as large as it is.
CUT = {"num_hidden_layers": 2, "vocab_size": 5000}
SHAPES: dict[str, dict[str, Any]] = {
    "small": CUT,
    "medium": {**CUT, "num_hidden_layers": 3},
    "large": {**CUT, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
    "multi": {**CUT, "vocab_size": 5100},
    "true-small": {},
}
DYNAMO_OPSETS = {"t26": (18,), "now": (18, 20)}
SHAPE_OPSETS = {"t23": 14, "t26": 17, "now": 19}
# What treats an export: the chain that wrote it where it has the package, else the last one.
OWN = (
    *("ort-basic", "ort-extended", "fp16", "fp16-io", "fp16-ort"),
    *("int8", "uint8", "int8-channel", "uint8-channel", "q4", "q4f16", "bnb4", "qdq"),
)
LATER, LAST = ("slim", "sim"), "now"
TREATED = (("t23", 14), ("now", 17), ("now", 19))
# Treated once more: the hub's halves are slimmed, and others slim or optimise before they quantise.
TWICE = (("fp16", "slim"), ("ort-basic", "int8"), ("slim", "int8"), ("slim", "fp16"), ("slim", "q4"))


@dataclass(frozen=True)
class Job:
    """`source` is a folder of `.sources` where the treatment is `export`, else the name of another job."""

    name: str
    chain: str
    treatment: str
    source: str
    opset: int = 0
    folding: bool = True
    dynamo: bool = False


def jobs() -> Iterator[Job]:
    """All of them, each after those whose result it takes."""
    for chain in CHAINS:
        for opset in OPSETS:
            for form, folding in (("folded", True), ("unfolded", False)):
                yield Job(f"{chain}-o{opset}-{form}", chain, "export", MINIATURE, opset, folding)
        for opset in DYNAMO_OPSETS.get(chain, ()):
            yield Job(f"{chain}-o{opset}-dynamo", chain, "export", MINIATURE, opset, dynamo=True)
        for shape in SHAPES:
            opset = SHAPE_OPSETS[chain]
            yield Job(f"{chain}-o{opset}-{shape}", chain, "export", shape, opset)
    bases = [(f"{chain}-o{opset}", chain) for chain, opset in TREATED]
    for base, chain in bases:
        yield from (Job(f"{base}-{treatment}", chain, treatment, f"{base}-folded") for treatment in OWN)
    for base, _ in bases:
        yield from (Job(f"{base}-{treatment}", LAST, treatment, f"{base}-folded") for treatment in LATER)
        yield from (Job(f"{base}-{first}-{second}", LAST, second, f"{base}-{first}") for first, second in TWICE)
    for treatment in ("int8", "fp16"):
        yield Job(f"t23-o14-true-small-{treatment}", "t23", treatment, "t23-o14-true-small")


def write_sources(folder: Path) -> None:
    """What the environments export: a config, a text as inputs, and the miniature's weights by torch's names."""
    from functions.extract.feeds import Text, feeds

    written = json.loads((SOURCE / CONFIG).read_text(encoding="utf-8"))
    miniature = {**ENCODER, **{key: written["encoder_config"][key] for key in ENCODER}}
    encoders = {MINIATURE: miniature, **{shape: {**ENCODER, **changes} for shape, changes in SHAPES.items()}}
    label = [written["class_token_index"], 7]
    tokens = [*label * 3, 8, *range(20, 40)]
    text = Text(tokens, [0] * 7 + list(range(1, 21)), 20)
    sample: dict[str, Any] = feeds([text], written["max_width"], 0)
    for name, encoder in encoders.items():
        source = folder / name
        source.mkdir(parents=True, exist_ok=True)
        config = {
            "model_name": name,
            "encoder_config": encoder,
            "max_width": written["max_width"],
            "hidden_size": written["hidden_size"] if name == MINIATURE else 512,
            "max_len": written["max_len"],
            "vocab_size": encoder["vocab_size"],
            "class_token_index": written["class_token_index"],
            "span_mode": "markerV0",
        }
        (source / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        (source / CONFIG).write_text(json.dumps({**written, **config, "model_type": "gliner"}, indent=1), "utf-8")
        np.savez(source / "sample.npz", **sample)
        shutil.copy(SOURCE / TOKENIZER, source)
    np.savez(folder / MINIATURE / "weights.npz", **torch_weights(SOURCE / MODEL))


def torch_weights(path: Path) -> dict[str, Any]:
    """The weights of an export by torch's names for them, which the exporter tells in the names of nodes."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {name.removeprefix("core."): value for name, value in initializers.items() if name.startswith("core.")}
    known = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    for node in graph.node:
        parts = [part for part in node.name.split("/") if part and part != "core"][:-1]
        # A sequence's members repeat its name: project_start/project_start.0
        parts = [part for part, after in zip(parts, [*parts, ""][1:], strict=True) if not after.startswith(f"{part}.")]
        if node.op_type == "MatMul":
            weight = initializers.get(known.get(node.input[1], node.input[1]))
            name = ".".join(parts)
            if weight is not None and f"{name}.bias" in found:
                found[f"{name}.weight"] = np.ascontiguousarray(weight.T)
        elif node.op_type == "LSTM":
            found |= _lstm_weights(".".join(parts), *(initializers[name] for name in node.input[1:4]))
    return found


def _lstm_weights(name: str, *tensors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    weight, recurrence, bias = tensors
    weight_bias, recurrence_bias = np.split(bias, 2, axis=1)
    arrays = {"weight_ih": weight, "weight_hh": recurrence, "bias_ih": weight_bias, "bias_hh": recurrence_bias}
    found = {}
    for key, both in arrays.items():
        for direction, array in zip(("", "_reverse"), both, strict=True):
            # ONNX has the gates in the order i, o, f, c; torch in the order i, f, c, o.
            i, o, f, c = np.split(array, 4)
            found[f"{name}.{key}_l0{direction}"] = np.concatenate([i, f, c, o])
    return found


def make(chain: str, wanted: Sequence[Job], out: Path, python: Path) -> dict[str, str]:
    """Run `wanted` in one process, and in a new one where that one ends; what failed, by name."""
    failed = {}
    left = list(wanted)
    # -P: the script's own folder has a module by the name of a package.
    command = [str(python), "-P", "-W", "ignore", str(SCRIPT)]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    pipe = subprocess.PIPE
    with (out / f"{chain}.log").open("a") as log:
        while left:
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=variables) as process:
                while left and process.poll() is None:
                    job = left.pop(0)
                    if said := _one(job, out, process):
                        failed[job.name] = said
                    print(f"{job.name}: {said or 'ok'}", flush=True)
    return failed


def _one(job: Job, out: Path, process: "subprocess.Popen[str]") -> str:
    """What failed, or nothing."""
    exports = job.treatment == "export"
    source = out / SOURCES / job.source if exports else out / job.source / MODEL
    if not source.exists():
        return f"{job.source} failed"
    # Named when it is whole: what has its name is kept.
    target = out / MAKING
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in (CONFIG, TOKENIZER):
        os.link((source if exports else source.parent) / name, target / name)
    request = {
        "treatment": job.treatment,
        "source": str(source),
        "sample": str(out / SOURCES / MINIATURE / "sample.npz"),
        "target": str(target / MODEL),
        "opset": job.opset,
        "folding": job.folding,
        "dynamo": job.dynamo,
    }
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{json.dumps(request)}\n")
    process.stdin.flush()
    if not (answer := process.stdout.readline()):
        return f"the process ended with {process.wait()}"
    if not (said := str(json.loads(answer))):
        target.rename(out / job.name)
    return said


def environment(chain: str, folder: Path) -> Path:
    """The Python of the chain's environment, which is made if it is not there."""
    python = folder / chain / "bin/python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / chain)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *CHAINS[chain]], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description="Exports a GLiNER with tool chains of several years.")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names to make, as of a shell: t23-o14-*")
    parser.add_argument("--envs", type=Path, default=ROOT / ".venv-bench-exports")
    options = parser.parse_args()
    out = options.out.resolve()
    write_sources(out / SOURCES)
    wanted = [job for job in jobs() if fnmatch(job.name, options.only) and not (out / job.name).exists()]
    index = out / INDEX
    known = index.read_text(encoding="utf-8").splitlines() if index.exists() else []
    failed = {name: reason for name, _, reason in (line.partition(": ") for line in known)}
    for job in wanted:
        failed.pop(job.name, None)
    for chain, group in groupby(wanted, lambda job: job.chain):
        failed |= make(chain, list(group), out, environment(chain, options.envs.resolve()))
        lines = [f"{name}: {reason}\n" for name, reason in sorted(failed.items())]
        index.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
