"""Who runs beside whom, and who is next."""

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from common.callers import begin_flow
from functions.extract.batches import Batches, companions
from functions.extract.candidates import Candidates
from functions.extract.decoding import Span
from functions.extract.feeds import Text
from functions.extract.gliner import GlinerEngine
from functions.extract.reader import EncodedWindow
from functions.extract.windows import Window
from tests.functions.extract.conftest import spans_of, windows
from tests.functions.extract.golden_cases import CASES

BOUND_SECONDS = 20.0


@pytest.mark.parametrize(
    ("first", "others", "most", "expected"),
    [
        (40, [40, 40, 40], 160, [0, 1, 2]),
        (40, [40, 40, 40], 130, [0, 1]),
        (40, [500, 41, 39], 512, [1, 2]),
        (40, [20, 60], 512, []),
        (500, [500], 512, []),
        (40, [40], 0, []),
        (40, [], 512, []),
    ],
)
def test_only_short_windows_of_like_length_run_together(
    first: int, others: list[int], most: int, expected: list[int]
) -> None:
    assert sorted(companions(first, others, most)) == expected


class Model:
    """Stands for the engine: records each batch, waits for `go`, and finds one span in each piece."""

    batch_tokens = 512

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Semaphore(0)
        self.fails: set[str] = set()
        self.rates: dict[str, float] = {}

    def spans(self, pieces: Sequence[EncodedWindow]) -> list[Candidates]:
        self.batches.append([piece.words[0] for piece in pieces])
        assert self.go.acquire(timeout=BOUND_SECONDS)
        if self.fails & set(self.batches[-1]):
            raise RuntimeError("the model broke")
        return [Candidates.of([ord(piece.words[0][0])], [0], [0], [1.0]) for piece in pieces]


def piece(name: str, tokens: int) -> EncodedWindow:
    return EncodedWindow(Window(0, 1, 0, 1), [name], Text([0] * tokens, [0] * tokens, 1), ["label"], 0.5)


class Play:
    """A queue and its model; `ask` begins a request."""

    def __init__(self) -> None:
        self.model: Any = Model()
        self.queue = Batches()
        self.started: list[str] = []

    async def ask(self, name: str, *tokens: int, caller: str = "") -> "asyncio.Task[list[Span]]":
        pieces = [piece(f"{name}{number}", count) for number, count in enumerate(tokens)]

        async def run() -> list[Span]:
            begin_flow(caller or name)
            found: list[Span] = []
            for one in pieces:
                found += spans_of(await self.queue.spans(self.model, one, lambda: self.started.append(name)))
            return found

        task = asyncio.create_task(run())
        await self.settle()
        return task

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.002)

    async def step(self) -> None:
        self.model.go.release()
        await self.settle()


def test_a_request_starts_at_once_and_those_that_wait_run_together() -> None:
    async def play() -> None:
        it = Play()
        tasks = [await it.ask("a", 40)]
        assert it.model.batches == [["a0"]]
        tasks += [await it.ask(name, 40) for name in "bcd"]
        await it.step()
        assert it.model.batches == [["a0"], ["b0", "c0", "d0"]]
        await it.step()
        assert [[chr(span.first) for span in await task] for task in tasks] == [["a"], ["b"], ["c"], ["d"]]

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_a_long_text_does_not_keep_the_others_waiting_for_its_end() -> None:
    async def play() -> None:
        it = Play()
        await it.ask("long", 500, 500, 500, 500)
        await it.ask("middle", 200)
        for _ in range(5):
            await it.step()
        assert it.model.batches == [["long0"], ["middle0"], ["long1"], ["long2"], ["long3"]]

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_a_short_window_runs_beside_a_long_one_but_two_long_ones_do_not() -> None:
    async def play() -> None:
        it = Play()
        await it.ask("long", 500, 500)
        await it.ask("other", 500)
        assert it.model.batches == [["long0"]]
        short = await it.ask("short", 30)
        assert it.model.batches == [["long0"], ["short0"]]
        for _ in range(4):
            await it.step()
        assert it.model.batches[2:] == [["other0"], ["long1"]]
        assert await short

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_whoever_brings_many_texts_has_one_turn_at_a_time() -> None:
    async def play() -> None:
        it = Play()
        for number in range(6):
            await it.ask(f"many{number}-", 400, caller="many")
        await it.ask("other", 300)
        for _ in range(7):
            await it.step()
        assert ["other0"] in it.model.batches[:3]

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_who_left_is_not_worked_for() -> None:
    async def play() -> None:
        it = Play()
        first = await it.ask("first", 400)
        left = await it.ask("left", 300, 310)
        last = await it.ask("last", 200)
        left.cancel()
        await it.settle()
        await it.step()
        await it.step()
        assert it.model.batches == [["first0"], ["last0"]]
        assert await first
        assert await last
        # One that leaves while it runs frees the model with the end of its batch.
        running = await it.ask("running", 300, 310)
        running.cancel()
        after = await it.ask("after", 100)
        await it.step()
        await it.step()
        assert it.model.batches[2:] == [["running0"], ["after0"]]
        assert await after

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def test_a_failure_is_that_of_its_batch_alone() -> None:
    async def play() -> None:
        it = Play()
        it.model.fails = {"bad0"}
        bad = await it.ask("bad", 100, 500)
        good = await it.ask("good", 300)
        await it.step()
        await it.step()
        with pytest.raises(RuntimeError, match="the model broke"):
            await bad
        assert await good
        assert it.model.batches == [["bad0"], ["good0"]]

    asyncio.run(asyncio.wait_for(play(), BOUND_SECONDS))


def in_a_row(gliner: GlinerEngine, text: str, labels: list[str]) -> list[Span]:
    pieces = windows(gliner, text, labels, 0.3)
    return [span for piece in pieces for span in spans_of(gliner.spans([piece])[0])]


def test_many_threads_get_what_one_gets(gliner: GlinerEngine) -> None:
    """Each call tokenises and runs; with settings of the tokenizer changed per call this raises "Already borrowed"."""
    shuffled = random.Random(1)
    short = [case for case in CASES if len(case.text) < 200]
    calls = [shuffled.choice(short) for _ in range(500)]
    alone = {id(case): in_a_row(gliner, case.text, case.labels) for case in short}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda case: in_a_row(gliner, case.text, case.labels), calls))
    assert found == [alone[id(case)] for case in calls]


def test_a_window_in_a_batch_has_the_spans_that_it_has_alone(gliner: GlinerEngine) -> None:
    shuffled = random.Random(2)
    cases = [case for case in CASES if len(case.text) < 200]
    for _ in range(20):
        pieces = [piece for case in shuffled.sample(cases, 5) for piece in windows(gliner, case.text, case.labels, 0.3)]
        for one, found in zip(pieces, gliner.spans(pieces), strict=True):
            spans, alone = spans_of(found), spans_of(gliner.spans([one])[0])
            assert [replace(span, score=0) for span in spans] == [replace(span, score=0) for span in alone]
            assert [span.score for span in spans] == pytest.approx([span.score for span in alone], abs=1e-4)
