"""Models that are loaded once, on first use or at warm-up, and that anyone may ask how they are.

    unloaded ──> downloading ──> loading ──> ready
        ^             └──────┬──────┘          │ dropped
        └── after a while ── failed <──────────┘

A load runs on a thread of its own, so no event loop waits for it, and it runs once however many callers ask.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

from common.errors import ModelLoadFailed, ModelNotReady
from common.text import without_folders

logger = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["unloaded", "downloading", "loading", "ready", "failed"]

# A failed load is tried again by the first caller after this many seconds: long enough not to hammer a disk or a hub,
# short enough that a file put in its place is found without a restart.
RETRY_SECONDS = 30.0
# Where the model was to be loaded ahead it is also tried again by itself, after twice the pause each time, up to this.
LONGEST_RETRY_SECONDS = 600.0
DEFAULT_RETRY_AFTER_SECONDS = 5.0

_registry: dict[str, "LazyModel[Any]"] = {}


@dataclass(frozen=True)
class ModelStatus:
    """`progress` runs from 0 to 1 and is None where the loader cannot tell; `detail` is one readable sentence.

    `seconds_left`: until this state ends, where the loader can tell. `facts`: what else is to be known of a loaded
    model, by name.
    """

    state: State
    progress: float | None = None
    detail: str = ""
    seconds_left: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


Report = Callable[[ModelStatus], None]


class LazyModel(Generic[T]):
    """One model behind a single-flight loader, registered by name so that health can report it.

    `load` receives a callback for its progress; it raises `ModelLoadFailed` with the reason when it cannot load. What
    a loaded model has as `detail` and as `facts` is shown with it, and what it has as `rates` whenever somebody asks.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[Report], T],
        wanted: Callable[[], bool] = lambda: True,
        stand_in: "LazyModel[Any] | None" = None,
        unload: Callable[[T], None] = lambda _: None,
        *,
        optional: bool = False,
    ) -> None:
        """A model that is not `wanted` now is none of `models()`. Where this one is not ready, `stand_in` answers.

        Without an `optional` one all is answered as well, so the service is as healthy.

        `unload` gives back what a loaded model has, once nobody is given it any more; it may wait for those who were.
        """
        if name in _registry:
            raise ValueError(f"a model named {name!r} is registered already")
        self.name = name
        self.warmed = False
        self.stand_in = stand_in
        self.optional = optional
        self._load = load
        self._wanted = wanted
        self._unload = unload
        self._lock = threading.Lock()
        self._status = ModelStatus("unloaded")
        self._started_at = 0.0
        self._failed_at = 0.0
        self._failures = 0
        self._future: Future[T] | None = None
        _registry[name] = self

    @property
    def status(self) -> ModelStatus:
        return self._status

    @property
    def wanted(self) -> bool:
        return self._wanted()

    @property
    def dropped(self) -> bool:
        return self._failed_at == math.inf

    @property
    def loaded(self) -> T | None:
        """The model, where it is loaded."""
        future = self._future
        return future.result() if future is not None and future.done() and not future.exception() else None

    @property
    def rates(self) -> Mapping[str, float]:
        """What is measured of a loaded model at work, by name: `reading_tokens_per_second`."""
        return getattr(self.loaded, "rates", {})

    def start(self) -> "Future[T]":
        """Begin to load unless that is done or under way; returns at once with the future of the model."""
        with self._lock:
            retry = self._status.state == "failed" and time.monotonic() - self._failed_at >= RETRY_SECONDS
            if self._future is None or retry:
                self._future = Future()
                self._started_at = time.monotonic()
                self._status = ModelStatus("loading")
                threading.Thread(target=self._run, args=(self._future,), name=f"load-{self.name}", daemon=True).start()
            return self._future

    def warm(self) -> None:
        """Load ahead of the first request; readiness waits for the models that were warmed."""
        with self._lock:
            # Somebody else may have begun the load that failed before anybody wanted it to be tried again.
            failed = None if self.warmed or self._status.state != "failed" or self.dropped else self._future
            self.warmed = True
        if self.start() is failed:
            self._retry_later(failed)

    async def ready(self, wait_seconds: float) -> T:
        """The loaded model, waited for at most `wait_seconds`; raises ModelNotReady with state and Retry-After."""
        future = self.start()
        if not future.done():
            await asyncio.wait([asyncio.wrap_future(_follow(future))], timeout=wait_seconds)
        if future.done() and not future.exception():
            return future.result()
        raise self._not_ready()

    def drop(self, reason: str) -> "Future[Any]":
        """Nobody is given the model any more, and it is not loaded again; unloads it, which may take a while.

        A load that is under way unloads what it has loaded: the future tells when, and is done where none is.
        """
        with self._lock:
            dropped, model, again = self._future, self.loaded, self.dropped
            self._future = Future()
            self._future.set_exception(ModelLoadFailed(reason))
            self._status = ModelStatus("failed", None, without_folders(reason))
            self._failed_at = math.inf
        if not again:
            logger.warning("model %s: %s", self.name, reason)
        if model is not None:
            self._unload(model)
        return dropped or self._future

    def reset(self) -> None:
        """Forget the model, and unload it; the next caller loads it again."""
        with self._lock:
            model = self.loaded
            self._future, self._status, self.warmed = None, ModelStatus("unloaded"), False
            self._failures, self._failed_at = 0, 0.0
        if model is not None:
            self._unload(model)

    def _run(self, future: "Future[T]") -> None:
        def report(status: ModelStatus) -> None:
            if self._future is future:
                # The log names the folders; callers only see the names of files.
                facts = {word: without_folders(fact) for word, fact in status.facts.items()}
                self._status = replace(status, detail=without_folders(status.detail), facts=facts)

        try:
            model = self._load(report)
        except Exception as error:
            self._failed(future, error, report)
            return
        with self._lock:
            is_wanted = self._future is future
            if is_wanted:
                report(ModelStatus("ready", 1.0, getattr(model, "detail", ""), facts=getattr(model, "facts", {})))
                future.set_result(model)
        if is_wanted:
            logger.info("model %s ready after %.2f s", self.name, time.monotonic() - self._started_at)
            return
        try:
            self._unload(model)
        finally:
            future.set_exception(ModelLoadFailed("it is not wanted any more"))

    def _failed(self, future: "Future[T]", error: Exception, report: Report) -> None:
        with self._lock:
            is_wanted = self._future is future
            is_tried_again = is_wanted and self.warmed
            if is_wanted:
                self._failed_at = time.monotonic()
                report(ModelStatus("failed", None, str(error) or type(error).__name__))
        if is_wanted and isinstance(error, ModelLoadFailed):
            logger.error("model %s: %s", self.name, error)
        elif is_wanted:
            logger.error("model %s could not be loaded", self.name, exc_info=error)
        future.set_exception(error)
        if is_tried_again:
            self._retry_later(future)

    def _retry_later(self, failed: "Future[T]") -> None:
        """Without it a model whose download failed would only be fetched while the next caller waits."""

        def retry() -> None:
            if self._future is failed:
                self.start()

        timer = threading.Timer(min(RETRY_SECONDS * 2**self._failures, LONGEST_RETRY_SECONDS), retry)
        timer.daemon = True
        timer.start()
        self._failures += 1

    def _not_ready(self) -> ModelNotReady:
        status = self._status
        now = time.monotonic()
        if status.state == "failed":
            detail = f"the model {self.name!r} could not be loaded: {status.detail}"
            retry_after = RETRY_SECONDS - (now - min(now, self._failed_at))
        else:
            share = f", {status.progress:.0%} done" if status.progress is not None else ""
            reason = f" ({status.detail})" if status.detail else ""
            detail = f"the model {self.name!r} is {status.state}{share}{reason}"
            retry_after = DEFAULT_RETRY_AFTER_SECONDS
            if status.seconds_left is not None:
                retry_after = status.seconds_left
            elif status.progress:
                retry_after = (now - self._started_at) * (1 - status.progress) / status.progress
        return ModelNotReady(detail, retry_after, model=self.name, state=status.state, progress=status.progress)


def models() -> Mapping[str, LazyModel[Any]]:
    """Every model that is wanted of this process, by name."""
    return MappingProxyType({name: model for name, model in _registry.items() if model.wanted})


def reset_all() -> None:
    """Forget every loaded model, also of those that are not wanted any more."""
    for model in _registry.values():
        model.reset()


def answerable() -> bool:
    """Whether each model that was loaded ahead is there, or the one that stands in for it."""
    standing_in = {model.stand_in for model in _registry.values()}
    needed = [model for model in models().values() if model.warmed and model not in standing_in]
    return all(model.loaded or (model.stand_in and model.stand_in.loaded) for model in needed)


def _follow(future: "Future[T]") -> "Future[None]":
    """A future that ends when `future` ends: giving up on it does not cancel the load the others wait for."""
    follower: Future[None] = Future()

    def done(_: "Future[T]") -> None:
        if follower.set_running_or_notify_cancel():
            follower.set_result(None)

    future.add_done_callback(done)
    return follower
