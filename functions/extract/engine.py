"""The one loaded GLiNER of this process: what the settings name, by onnxruntime or by the reference library."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import model_files
from common.errors import ModelLoadFailed
from common.lazy import LazyModel, ModelStatus, Report
from common.settings import ExtractSettings, cpu_threads, get_settings
from functions.extract import model as gliner
from functions.extract import trial
from functions.extract.gliner import GlinerConfig, GlinerEngine

if TYPE_CHECKING:
    from functions.extract.graph.prepare import Prepared

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
    config.add_tokens(tokenizer)
    if settings.extract.engine == "gliner":
        # It imports torch, if that is there.
        from functions.extract.reference import load_reference

        return load_reference(wanted.name, config_path.parent, config, tokenizer, settings.extract)
    model_path = model_files.local(wanted.model, settings, report)
    for file, place in gliner.weights(wanted.model, model_path):
        if (found := model_files.local(file, settings, report)) != place:
            raise ModelLoadFailed(f"{found} has to be in the folder of {model_path}")
    graph = _graph(model_path, settings.extract, report)
    with _readable(model_path):
        session = _session(graph.path, settings.extract)
    names = {value.name for value in session.get_inputs()}
    if names != INPUTS:
        odd = ", ".join(sorted(names ^ INPUTS))
        raise ModelLoadFailed(f"{model_path} is no span model of GLiNER: its inputs differ in {odd}")
    engine = GlinerEngine(wanted.name, config, tokenizer, session, settings.extract)
    engine.facts["graph"] = graph.state
    if reason := trial.seen(graph.path, session):
        engine.run_one_by_one(reason)
    engine.check(model_path)
    trial.run(engine, model_path)
    return engine


def _graph(path: Path, settings: ExtractSettings, report: Report) -> "Prepared":
    """What to load for the model at `path`."""
    from functions.extract.graph.prepare import prepared

    report(ModelStatus("loading", None, "the graph is rebuilt when it is loaded for the first time"))
    with _readable(path):
        graph = prepared(path, settings.precision, settings.cache_folder, make=settings.rebuild)
    report(ModelStatus("loading"))
    return graph


def _session(graph: Path, settings: ExtractSettings) -> Any:
    from functions.extract.runtime import onnxruntime

    options = onnxruntime().SessionOptions()
    options.intra_op_num_threads = cpu_threads(settings.threads)
    options.inter_op_num_threads = 1
    return onnxruntime().InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


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
