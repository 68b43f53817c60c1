"""Loads the models of /summarize: the main one, and the small one that stands in for it.

The stand-in's file comes first, so that it answers while the larger one is still on its way. Where both do not fit into
the memory, the main model works alone.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path

from common import host, model_files
from common.admission import QueueStatus, register_queue
from common.claims import Claims
from common.errors import ModelLoadFailed, ModelNotReady
from common.lazy import LazyModel, ModelStatus, Report
from common.rounds import Rounds
from common.settings import Settings, get_settings
from functions.summarize import adapter, memory, merging, model_kind, tuning
from functions.summarize import model as llama
from functions.summarize.context import LlamaContext
from functions.summarize.engine import LlamaEngine
from functions.summarize.model import Llama
from functions.summarize.planning import Job
from functions.summarize.turns import Turns
from functions.summarize.writers import Writers

logger = logging.getLogger(__name__)

# Both models compute on this one thread.
turns = Turns()
claims, rounds = Claims[tuple[LlamaEngine, Job]](), Rounds()
# How often the main model looks whether the stand-in's file has come.
LOOK_AGAIN_SECONDS = 0.1


def load(report: Report) -> LlamaEngine:
    """Load the GGUF that the settings name; raises ModelLoadFailed."""
    settings = get_settings()
    wanted, small = llama.resolve(settings.summarize), _small(settings)
    if settings.summarize.stand_in is not None and not _is_wanted():
        logger.warning("FACTORY_SUMMARIZE__STAND_IN is the main model itself: nobody stands in for it")
    if small is not None:
        report(ModelStatus("loading", None, "the stand-in comes first"))
        # Whether its file can be had or not is told by its own loading.
        coming = stand_in.start()
        while not coming.done() and model_files.here(small.file, settings) is None:
            wait([coming], LOOK_AGAIN_SECONDS)
    path = model_files.local(wanted.file, settings, report)
    if small is not None:
        model_kind.check(path)
        if reason := _too_much(wanted, small, settings):
            model.start().add_done_callback(_bring_back)
            coming = stand_in.drop(reason)
        # Two that load at once would measure each other, and the first answer would come later.
        report(ModelStatus("loading", None, "the stand-in comes first"))
        wait([coming])
    return _loaded(wanted, path, settings, report, settings.summarize.context)


def load_stand_in(report: Report) -> LlamaEngine:
    """Load the GGUF that stands in for it; raises ModelLoadFailed."""
    settings = get_settings()
    wanted = llama.resolve_stand_in(settings.summarize)
    if wanted is None:
        raise ModelLoadFailed("FACTORY_SUMMARIZE__STAND_IN is the main model itself: nobody stands in for it")
    path = model_files.local(wanted.file, settings, report)
    reason = None
    # A main model that cannot be had needs no memory.
    with suppress(ModelLoadFailed):
        if model.status.state != "failed":
            reason = _too_much(llama.resolve(settings.summarize), wanted, settings)
    if reason:
        stand_in.drop(reason)
        raise ModelLoadFailed(reason)
    return _loaded(wanted, path, settings, report)


def _loaded(wanted: Llama, path: Path, settings: Settings, report: Report, asked_for: int | None = None) -> LlamaEngine:
    """`asked_for`: tokens of context by a setting."""
    lora, facts = adapter.local(wanted.adapter, settings, report), dict[str, str]()
    if lora:
        facts["adapter"] = f"{lora.name}, {lora.stat().st_size / 1e6:.1f} MB"
    if lora == llama.ADAPTER:
        report(ModelStatus("loading", None, "merging the adapter into the weights"))
        if made := merging.merged(path, lora, settings.summarize.cache_folder / "summarize"):
            path, lora, facts["adapter"] = made, None, facts["adapter"] + ", merged"
    model_kind.check(path)
    cells = _context_tokens(path, wanted.context, asked_for)
    if cells < wanted.context:
        logger.info("a context of %d tokens: %s was trained for no more", cells, path.name)
    elif cells > (trained := memory.trained_tokens(path) or cells):
        logger.warning(
            "FACTORY_SUMMARIZE__CONTEXT is %d, but %s was trained for %d tokens: longer prompts may give nonsense",
            cells,
            path.name,
            trained,
        )
    parallel = settings.summarize.parallel
    memory.check(path, cells, adapter=lora, sequences=parallel + 1)
    report(ModelStatus("loading", None, "finding out how this machine computes fastest"))
    options = tuning.choose(path, settings.summarize, lora, busy=_busy)
    report(ModelStatus("loading"))
    context = LlamaContext(path, cells, parallel, options, lora)
    return LlamaEngine(wanted.name, settings.summarize, context, facts, turns)


def _too_much(main: Llama, small: Llama, settings: Settings) -> str | None:
    """Why nobody can stand in for the main model: both do not fit into the memory, where that one does by itself."""
    path, file = model_files.here(main.file, settings), model_files.here(small.file, settings)
    if path is None or file is None:
        return None
    sequences = settings.summarize.parallel + 1
    cells = _context_tokens(path, main.context, settings.summarize.context)
    alone = memory.needed_bytes(path, cells, sequences=sequences) + memory.MARGIN_BYTES
    both = alone + memory.needed_bytes(file, _context_tokens(file, small.context, None), sequences=sequences)
    limit = host.memory_bytes()
    if not alone <= limit < both:
        return None
    return (
        f"{file.name} and {path.name} need {both / 1e9:.1f} GB of memory together, there are {limit / 1e9:.1f} GB: "
        "nobody stands in for the main model"
    )


def _bring_back(main: "Future[LlamaEngine]") -> None:
    """The stand-in, where it was to make room for a model that cannot be loaded."""
    if main.exception() and stand_in.dropped:
        stand_in.reset()
        stand_in.warm()


def _context_tokens(path: Path, wanted: int, asked_for: int | None) -> int:
    """Tokens of context: what is `asked_for` by a setting, else `wanted`, but no more than it was trained for."""
    trained = memory.trained_tokens(path)
    return wanted if trained is None or asked_for is not None else min(wanted, trained)


def _small(settings: Settings) -> Llama | None:
    """What stands in for the main model, if its name means anything."""
    with suppress(ModelLoadFailed):
        return llama.resolve_stand_in(settings.summarize)
    return None


def _engines() -> list[LlamaEngine]:
    """Those that are loaded by now."""
    return [engine for engine in (model.loaded, stand_in.loaded) if engine is not None]


def _busy() -> bool:
    """Whether somebody is being answered by a model that is loaded already."""
    return any(engine.requests for engine in _engines())


def _queue() -> QueueStatus:
    found = [engine.queue for engine in _engines()]
    return QueueStatus(sum(each.at_work for each in found), sum(each.waiting for each in found))


def _is_wanted() -> bool:
    settings = get_settings().summarize
    try:
        return llama.resolve_stand_in(settings) is not None
    except ModelLoadFailed:
        # Its own loading tells why.
        return True


stand_in: LazyModel[LlamaEngine] = LazyModel("stand-in", load_stand_in, wanted=_is_wanted, unload=LlamaEngine.close)
model: LazyModel[LlamaEngine] = LazyModel("llama", load, stand_in=stand_in, unload=LlamaEngine.close)
register_queue("summarize", _queue)


async def writers(only_main: bool, patience: float) -> Writers:
    """The models that are loaded by now; where none is, the first one within `patience` seconds.

    Raises ModelNotReady.
    """
    if only_main or not stand_in.wanted:
        return Writers(await model.ready(patience), None, claims, rounds)
    model.start(), stand_in.start()
    if not model.loaded and not stand_in.loaded:
        await _first_of((model, stand_in), patience)
    return Writers(model.loaded, stand_in.loaded, claims, rounds)


async def _first_of(models: Sequence[LazyModel[LlamaEngine]], patience: float) -> None:
    """Raises the ModelNotReady of that one which is likely to be ready first."""
    waiting = [asyncio.create_task(each.ready(patience)) for each in models]
    failures = list[ModelNotReady]()
    try:
        for first in asyncio.as_completed(waiting):
            try:
                await first
            except ModelNotReady as failure:
                failures.append(failure)
            else:
                return
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    raise min(failures, key=lambda failure: (failure.state == "failed", failure.retry_after))
