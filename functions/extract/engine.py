"""The one loaded GLiNER of this process: what the settings name, by onnxruntime or by the reference library."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import model_files
from common.errors import ModelLoadFailed
from common.lazy import LazyModel, ModelStatus, Report
from common.settings import ExtractSettings, cpu_threads, get_settings
from functions.extract import model as gliner
from functions.extract.gliner import GlinerConfig, GlinerEngine

INPUTS = {"input_ids", "attention_mask", "words_mask", "text_lengths", "span_idx", "span_mask"}


def load(report: Report) -> GlinerEngine:
    """Load the model that the settings name; raises ModelLoadFailed."""
    settings = get_settings()
    wanted = gliner.resolve(settings.extract)
    config_path, tokenizer_path = (
        model_files.local(file, settings, report) for file in (wanted.config, wanted.tokenizer)
    )
    with _readable(config_path):
        config = GlinerConfig.read(config_path)

    from tokenizers import Tokenizer

    with _readable(tokenizer_path):
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
    # Set once, here: changing these while another thread encodes raises "Already borrowed".
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if settings.extract.engine == "gliner":
        # It imports torch, if that is there.
        from functions.extract.reference import load_reference

        return load_reference(wanted.name, config_path.parent, config, tokenizer, settings.extract)
    model_path = model_files.local(wanted.model, settings, report)
    session = _session(model_path, settings.extract, report)
    engine = GlinerEngine(wanted.name, config, tokenizer, session, settings.extract)
    engine.check(model_path)
    return engine


def _session(path: Path, settings: ExtractSettings, report: Report) -> Any:
    from functions.extract.graph.prepare import prepared
    from functions.extract.runtime import onnxruntime

    report(ModelStatus("loading", None, "the graph is rebuilt when it is loaded for the first time"))
    with _readable(path):
        graph = prepared(path, settings.precision, settings.cache_folder, make=settings.rebuild).path
    report(ModelStatus("loading"))
    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = cpu_threads(settings.threads)
    options.inter_op_num_threads = 1
    with _readable(path):
        session = onnxruntime().InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    if names != INPUTS:
        odd = ", ".join(sorted(names ^ INPUTS))
        raise ModelLoadFailed(f"{path} is no span model of GLiNER: its inputs differ in {odd}")
    return session


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a library makes of a damaged file, the reason names the file."""
    try:
        yield
    except ModelLoadFailed:
        raise
    except Exception as error:
        raise ModelLoadFailed(f"{path} could not be read: {error}") from error


model: LazyModel[GlinerEngine] = LazyModel("gliner", load)
