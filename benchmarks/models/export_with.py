"""Exports GLiNERs, and treats exports, with the packages of the environment that runs it; `exports.py` starts it.

Each line of stdin is a job, each line of stdout says what came of it: "" where all is well, else the error. A module
name that a version of a package does not have yet, or no more, is such an error.
"""

import importlib
import json
import os
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

INPUTS = ("input_ids", "attention_mask", "words_mask", "text_lengths", "span_idx", "span_mask")
AXES = {
    **{name: {0: "batch_size", 1: "sequence_length"} for name in INPUTS[:3]},
    "text_lengths": {0: "batch_size", 1: "value"},
    "span_idx": {0: "batch_size", 1: "num_spans", 2: "idx"},
    "span_mask": {0: "batch_size", 1: "num_spans"},
    "logits": {0: "batch_size", 1: "sequence_length", 2: "num_spans", 3: "num_classes"},
}


@cache
def gliner(folder: Path) -> Any:
    """The torch module of `config.json`, with the weights of `weights.npz` where there is one, else random ones."""
    import torch

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    base = importlib.import_module("gliner.modeling.base")
    try:
        from gliner.config import UniEncoderSpanConfig as Config
    except ImportError:
        from gliner.config import GLiNERConfig as Config
    made = getattr(base, "UniEncoderSpanModel", None) or base.SpanModel
    model = made(Config(**config), False).eval()
    if (folder / "weights.npz").exists():
        weights = np.load(folder / "weights.npz")
        model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
        return model
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                # With the library's own small ones positions would not matter, and all logits be alike.
                weight.normal_(0, 1.0 if "embeddings" in name else weight.shape[-1] ** -0.5)
            else:
                weight.normal_(1.0 if name.endswith("Norm.weight") else 0.0, 0.1)
        model.prompt_rep_layer[-1].weight *= 0.3
    return model


def export(job: dict[str, Any], target: Path) -> None:
    import torch

    source = Path(job["source"])
    sample = np.load(source / "sample.npz")
    inputs = tuple(torch.from_numpy(sample[name]) for name in INPUTS)
    options: dict[str, Any] = {"opset_version": job["opset"], "do_constant_folding": job["folding"]}
    if job["dynamo"]:
        options["dynamo"] = True
    elif not torch.__version__.startswith("2.3."):
        options["dynamo"] = False
    torch.onnx.export(
        logits_of(gliner(source)),
        inputs,
        str(target),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes=AXES,
        **options,
    )


def logits_of(model: Any) -> Any:
    """The hub's recipe hands over the model itself, of which later versions can only export the logits."""
    import torch

    if torch.__version__.startswith("2.3."):
        return model

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.core = model

        def forward(self, input_ids, attention_mask, words_mask, text_lengths, span_idx, span_mask):  # type: ignore[no-untyped-def]
            return self.core(
                input_ids=input_ids,
                attention_mask=attention_mask,
                words_mask=words_mask,
                text_lengths=text_lengths,
                span_idx=span_idx,
                span_mask=span_mask,
            ).logits

    return Logits()


def slim(source: Path, target: Path) -> None:
    import onnxslim

    onnxslim.slim(str(source), str(target))


def simplify(source: Path, target: Path) -> None:
    import onnxsim

    model, same = onnxsim.simplify(str(source))
    if not same:
        raise ValueError("onnxsim says that it changed the model")
    onnx.save(model, str(target))


def optimise(source: Path, target: Path, level: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def half(source: Path, target: Path, keep_io: bool, module: str = "onnxconverter_common.float16") -> None:
    float16 = importlib.import_module(module)
    onnx.save(float16.convert_float_to_float16(onnx.load(str(source)), keep_io_types=keep_io), str(target))


def bytes_of(source: Path, target: Path, signed: bool, per_channel: bool) -> None:
    """As transformers.js quantises: of products only those with constant weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(target),
        weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        per_channel=per_channel,
        reduce_range=per_channel,
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )


def _four_bits(source: Path) -> Any:
    try:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer as Quantizer
    except ImportError:
        from onnxruntime.quantization.matmul_4bits_quantizer import MatMul4BitsQuantizer as Quantizer
    quantizer = Quantizer(onnx.load(str(source)), block_size=32, is_symmetric=True)
    quantizer.process()
    return quantizer.model.model


def four_bits(source: Path, target: Path) -> None:
    onnx.save(_four_bits(source), str(target))


def four_bits_half(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "model.onnx"
        four_bits(source, between)
        # The operator is onnxruntime's own, and shape inference does not know it.
        float16 = importlib.import_module("onnxconverter_common.float16")
        model = float16.convert_float_to_float16(onnx.load(str(between)), keep_io_types=True, disable_shape_infer=False)
        onnx.save(model, str(target))


def four_bits_of_a_table(source: Path, target: Path) -> None:
    """bitsandbytes' 4 bits (NF4)."""
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    quantizer = MatMulBnb4Quantizer(onnx.load(str(source)), quant_type=MatMulBnb4Quantizer.NF4, block_size=64)
    quantizer.process()
    onnx.save(quantizer.model.model, str(target))


def static(source: Path, target: Path, sample: Path) -> None:
    """Pairs of QuantizeLinear and DequantizeLinear, calibrated on the one text that was exported with."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [dict(np.load(sample))]

        def get_next(self) -> dict[str, Any] | None:
            return self._left.pop() if self._left else None

    quantize_static(
        str(source),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True},
    )


TREATMENTS: dict[str, Any] = {
    "slim": slim,
    "sim": simplify,
    "ort-basic": lambda source, target: optimise(source, target, "ORT_ENABLE_BASIC"),
    "ort-extended": lambda source, target: optimise(source, target, "ORT_ENABLE_EXTENDED"),
    "fp16": lambda source, target: half(source, target, keep_io=True),
    "fp16-io": lambda source, target: half(source, target, keep_io=False),
    "fp16-ort": lambda source, target: half(source, target, True, "onnxruntime.transformers.float16"),
    "int8": lambda source, target: bytes_of(source, target, signed=True, per_channel=False),
    "uint8": lambda source, target: bytes_of(source, target, signed=False, per_channel=False),
    "int8-channel": lambda source, target: bytes_of(source, target, signed=True, per_channel=True),
    "uint8-channel": lambda source, target: bytes_of(source, target, signed=False, per_channel=True),
    "q4": four_bits,
    "q4f16": four_bits_half,
    "bnb4": four_bits_of_a_table,
}


def runs(model: Path) -> None:
    """Raises what onnxruntime says; the checker of onnx refuses files that onnxruntime wrote and takes."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])


def reason(error: BaseException) -> str:
    """Of the error that all others came of; one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def run(job: dict[str, Any]) -> None:
    target = Path(job["target"])
    if job["treatment"] == "export":
        export(job, target)
    elif job["treatment"] == "qdq":
        static(Path(job["source"]), target, Path(job["sample"]))
    else:
        TREATMENTS[job["treatment"]](Path(job["source"]), target)
    runs(target)


def main() -> None:
    warnings.simplefilter("ignore")
    # What libraries print must not come between the lines of the protocol.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        said = ""
        try:
            run(json.loads(line))
        except Exception as error:
            said = reason(error)
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
