"""Two models on one thread: each request gets what its writer gives it alone, whatever happens at the other one."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from common.callers import begin_flow
from common.claims import Claims
from common.errors import QueueFull
from common.metrics import registry
from common.settings import get_settings
from functions.summarize import engine as engine_module
from functions.summarize import service
from functions.summarize.context import DecodeFailed, LlamaContext, Options, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.outputs import Answer
from functions.summarize.planning import Costs, Demand, Job, Plan, Refusal
from functions.summarize.rates import Rates
from functions.summarize.schemas import SummarizeRequest
from functions.summarize.tickets import Completion, Elsewhere, HandedOver
from functions.summarize.turns import Turns
from functions.summarize.writers import Writers
from tests.conftest import wait_until
from tests.doubles import lead_model
from tests.doubles.faulty_context import FaultyContext
from tests.functions.summarize.conftest import idle
from tests.functions.summarize.test_scheduler import ARTICLES, Request, alone, answer, request_for
from tests.functions.summarize.test_turns import Clock

PARALLEL = 3
CELLS = 1024
# An 8B and a 1B on two cores.
SLOW, QUICK = Costs(0.09, 0.09, (0.3, 0.4, 0.5), 16), Costs(0.005, 0.006, (0.03, 0.04, 0.05), 256)
SECONDS, FEW_SECONDS = 28.0, 11.4


class Pair:
    """Both models, on the same turns. A model of random weights would not do: its texts hang on the last bit."""

    def __init__(self) -> None:
        settings = get_settings().summarize.model_copy(update={"parallel": PARALLEL})
        turns, options = Turns(), Options(threads=1)
        self.main_context = FaultyContext(lead_model.FILE, CELLS, PARALLEL, options)
        self.main = LlamaEngine(lead_model.NAME, settings, self.main_context, None, turns)
        small = LlamaContext(lead_model.FILE, CELLS, PARALLEL, options)
        self.stand_in = LlamaEngine("small", settings, small, None, turns)
        self.turns, self.settings = turns, settings

    @property
    def engines(self) -> tuple[LlamaEngine, LlamaEngine]:
        return self.main, self.stand_in

    @property
    def writers(self) -> Writers:
        return Writers(self.main, self.stand_in)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@pytest.fixture(autouse=True)
def _idle(pair: Pair) -> Iterator[None]:
    yield
    pair.main_context.poison, pair.main_context.broken = None, False
    pair.main_context.hold.set()
    wait_until(lambda: all(map(idle, pair.engines)), "every place and every cell is free again")


@pytest.fixture
def measured(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are made as for an 8B and a 1B, whatever this machine does."""
    for engine, costs in ((pair.main, SLOW), (pair.stand_in, QUICK)):
        for name in ("costs", "best_costs"):
            monkeypatch.setattr(engine._rates, name, lambda _, costs=costs: costs)


def asked(article: str, **fields: object) -> SummarizeRequest:
    return SummarizeRequest.model_validate({"text": article, "temperature": 0, "max_tokens": 40, **fields})


async def summary(pair: Pair, request: SummarizeRequest, seconds: float | None) -> Answer:
    deadline = None if seconds is None else time.monotonic() + seconds
    async with aclosing(service.summarize(request, pair.writers, pair.settings, deadline)) as outputs:
        *_, last = [output async for output in outputs]
    assert isinstance(last, Answer)
    return last


@pytest.mark.parametrize("seed", range(3))
def test_any_mix_over_both_models_gives_each_the_text_that_its_writer_gives_alone(pair: Pair, seed: int) -> None:
    source = random.Random(seed)
    work = []
    for _ in range(24):
        engine = source.choice(pair.engines)
        request = request_for(
            engine,
            source.choice(ARTICLES)[: source.randint(40, 1200)],
            max_tokens=source.randint(1, 60),
            temperature=source.choice([0.0, 0.9]),
            seed=source.randrange(1000),
            streams=source.random() < 0.5,
        )
        work.append((engine, request))
    expected = [alone(engine, request) for engine, request in work]
    seconds = [source.choice([None, 60.0, 90.0]) for _ in work]
    leaves = [source.random() < 0.3 for _ in work]
    delays = [source.random() * 0.4 for _ in work]

    async def client(number: int) -> str | None:
        (engine, request), wait = work[number], seconds[number]
        await asyncio.sleep(delays[number])
        deadline = None if wait is None else time.monotonic() + wait
        task = asyncio.create_task(answer(engine, request, deadline))
        if leaves[number]:
            await asyncio.sleep(delays[number] / 4)
            task.cancel()
            await asyncio.wait([task])
            return None
        return (await task)[0]

    async def together() -> list[str | None]:
        return await asyncio.gather(*map(client, range(len(work))))

    for text, alone_text, left in zip(asyncio.run(together()), expected, leaves, strict=True):
        assert left or text == alone_text


def test_a_model_whose_context_fails_harms_no_request_of_the_other(pair: Pair) -> None:
    main = [request_for(pair.main, article) for article in ARTICLES[:3]]
    other = [request_for(pair.stand_in, article) for article in ARTICLES[:3]]
    expected = [alone(pair.stand_in, request) for request in other]
    again = alone(pair.main, main[0])

    async def together() -> tuple[list[object], list[tuple[str, Completion]]]:
        pair.main_context.hold.clear()
        failing = [asyncio.create_task(answer(pair.main, request)) for request in main]
        serving = [asyncio.create_task(answer(pair.stand_in, request)) for request in other]
        await asyncio.sleep(0)
        pair.main_context.broken = True
        pair.main_context.hold.set()
        return await asyncio.gather(*failing, return_exceptions=True), await asyncio.gather(*serving)

    failed, served = asyncio.run(together())
    assert any(isinstance(outcome, DecodeFailed) for outcome in failed)
    assert [text for text, _ in served] == expected
    assert alone(pair.main, main[0]) == again


@pytest.mark.usefixtures("measured")
def test_the_main_model_writes_what_it_can_read_enough_of(pair: Pair) -> None:
    short = asyncio.run(summary(pair, asked(ARTICLES[0][:300]), SECONDS))
    assert (short.response.model, short.notes) == (lead_model.NAME, {"writer": "main"})


@pytest.mark.usefixtures("measured")
def test_the_stand_in_writes_what_the_main_model_has_no_time_for(pair: Pair) -> None:
    text = " ".join(ARTICLES[:3])[:2500]
    long = asyncio.run(summary(pair, asked(text), SECONDS))
    assert (long.response.model, long.notes) == ("small", {"writer": "stand-in", "why": "no-time"})
    assert not long.passing
    main = asyncio.run(summary(pair, asked(text), None))
    assert (main.response.model, main.notes) == (lead_model.NAME, {"writer": "main"})


@pytest.mark.usefixtures("measured")
def test_a_summary_is_counted_for_who_wrote_it_with_the_tokens_that_its_answer_tells(pair: Pair) -> None:
    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"factory_summarize_{name}_total", labels) or 0.0

    def counted() -> list[float]:
        small = {"model": "small", "writer": "stand-in"}
        tokens = [value(f"{kind}_tokens", **small) for kind in ("prompt", "cached", "completion")]
        reason = {"writer": "stand-in", "why": "no-time", "finish_reason": made.response.finish_reason}
        return [*tokens, value("summaries", **reason), value("condensed", writer="stand-in")]

    text = " ".join(ARTICLES[:3])[:2500]
    made = asyncio.run(summary(pair, asked(text), SECONDS))
    before = counted()
    made = asyncio.run(summary(pair, asked(text), SECONDS))
    usage = made.response.usage
    more = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, 1, made.response.condensed]
    assert counted() == [old + new for old, new in zip(before, more, strict=True)]


@pytest.mark.usefixtures("measured")
def test_while_the_main_model_is_not_loaded_the_stand_in_writes_everything(pair: Pair) -> None:
    writers = Writers(None, pair.stand_in)

    async def one() -> Answer:
        async with aclosing(service.summarize(asked(ARTICLES[0]), writers, pair.settings)) as outputs:
            *_, last = [output async for output in outputs]
        assert isinstance(last, Answer)
        return last

    made = asyncio.run(one())
    assert made.notes == {"writer": "stand-in", "why": "not-loaded"}
    assert made.passing


@pytest.mark.usefixtures("measured")
def test_who_was_refused_and_comes_back_goes_before_somebody_who_has_not_waited(pair: Pair) -> None:
    request = asked(ARTICLES[0][:250], max_tokens=3)

    async def ask(client: str) -> Answer:
        begin_flow(client, client)
        deadline = time.monotonic() + FEW_SECONDS
        async with aclosing(service.summarize(request, writers, pair.settings, deadline)) as outputs:
            *_, last = [output async for output in outputs]
        assert isinstance(last, Answer)
        return last

    async def together() -> None:
        pair.main_context.hold.clear()
        first = asyncio.create_task(ask("first"))
        await asyncio.sleep(0.2)
        with pytest.raises(QueueFull) as refused:
            await asyncio.create_task(ask("patient"))
        # As if it had waited for so long.
        clock.now += refused.value.retry_after
        first.cancel()
        pair.main_context.hold.set()
        await asyncio.wait([first])
        await asyncio.to_thread(wait_until, lambda: idle(pair.main), "the first has left")
        with pytest.raises(QueueFull):
            await asyncio.create_task(ask("newcomer"))
        assert (await asyncio.create_task(ask("patient"))).notes == {"writer": "main"}
        clock.now += 60
        assert (await asyncio.create_task(ask("other"))).notes == {"writer": "main"}

    clock = Clock()
    writers = Writers(pair.main, None, Claims(clock=clock))
    asyncio.run(together())


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_waits_for_the_main_model_goes_over_where_that_makes_room(pair: Pair, stream: bool) -> None:
    article = ARTICLES[0][:250]

    async def together() -> tuple[Answer, Answer, Answer]:
        pair.main_context.hold.clear()
        first = asyncio.create_task(summary(pair, asked(article, stream=stream, max_tokens=3), FEW_SECONDS))
        await asyncio.sleep(0.2)
        assert pair.main.requests == 1
        # What the main model leaves of the time is too little for anybody.
        hurried = asyncio.create_task(summary(pair, asked(ARTICLES[1][:900], max_tokens=60), FEW_SECONDS - 1))
        await asyncio.sleep(0.2)
        pair.main_context.hold.set()
        return await first, await hurried, await summary(pair, asked(article, max_tokens=3), FEW_SECONDS)

    moved, newcomer, undisturbed = asyncio.run(together())
    assert undisturbed.notes == {"writer": "main"}
    assert newcomer.notes == {"writer": "stand-in", "why": "busy"}
    assert moved.notes == {"writer": "stand-in", "why": "handed-over"}
    assert moved.passing
    assert moved.response.model == "small"
    assert not moved.response.condensed


def test_a_place_that_is_handed_over_before_its_prompt_is_there_goes_over_as_well(pair: Pair) -> None:
    elsewhere = Elsewhere(Demand(50, 10, 20), 1.0)
    ticket = pair.main.reserve(100, Plan(50, 10), time.monotonic() + 60, False, elsewhere)
    other = pair.stand_in.reserve(100, Plan(50, 10), time.monotonic() + 60, False)
    there = HandedOver(other, Plan(50, 10))
    assert pair.main._scheduler.hand_over(ticket, there)
    assert not pair.main._scheduler.hand_over(ticket, there)

    async def heard() -> None:
        async with aclosing(pair.main.generate(ticket, [1, 2, 3], Sampling(10, 0.0, None))) as pieces:
            async for _ in pieces:
                pass

    with pytest.raises(HandedOver) as raised:
        asyncio.run(heard())
    assert raised.value is there
    pair.stand_in.release(other)


def test_what_streams_or_writes_or_may_not_move_stays(pair: Pair) -> None:
    scheduler = pair.main._scheduler
    request = request_for(pair.main, ARTICLES[0], max_tokens=30)
    held = pair.main.reserve(len(request.tokens), Plan(0, 30), None, False)
    assert scheduler.movable() == []
    pair.main.release(held)
    written: list[bool] = []

    async def writing() -> None:
        elsewhere = Elsewhere(Demand(50, 10, 20), 1.0)
        ticket = pair.main.reserve(len(request.tokens), Plan(0, 30), time.monotonic() + 60, True, elsewhere)
        async with aclosing(pair.main.generate(ticket, request.tokens, request.sampling)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    written.append(bool(scheduler.movable()))

    asyncio.run(writing())
    assert written
    assert not any(written)


def test_a_step_of_one_model_is_short_while_the_other_may_have_work(pair: Pair) -> None:
    rows = pair.main._rates.rows_within(pair.turns.most_seconds(pair.main._scheduler, 0.25))
    assert rows < 1 << 16
    assert Rates(1, 0.25).rows_within(float("inf")) == 1 << 16


def slow(engine: LlamaEngine) -> None:
    """As if all that was ever measured had been measured while something else kept the machine busy."""
    engine._rates = engine._scheduler.rates = Rates(PARALLEL, 0.25)
    engine._rates.observe(32, 0, False, 900.0)
    engine._rates.observe(0, 1, False, 90.0)
    engine._scheduler._look_again_at = 0.0


def test_a_model_that_was_measured_in_a_bad_moment_is_measured_again(pair: Pair) -> None:
    slow(pair.main)
    demand, deadline = Demand(200, 40, 60), time.monotonic() + SECONDS
    refusal = pair.main.plan(demand, deadline, False)
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after_seconds is None
    wait_until(lambda: isinstance(pair.main.plan(demand, deadline, False), Plan), "it is measured again")


def test_a_request_that_comes_while_a_model_is_measured_again_is_served(pair: Pair) -> None:
    request = request_for(pair.main, ARTICLES[0])
    expected = alone(pair.main, request)
    slow(pair.main)
    pair.main_context.hold.clear()
    pair.main._scheduler.measure_again()
    wait_until(lambda: pair.main._scheduler._measuring, "it is being measured")

    async def come() -> str:
        task = asyncio.create_task(answer(pair.main, request))
        await asyncio.sleep(0)
        pair.main_context.hold.set()
        return (await task)[0]

    assert asyncio.run(come()) == expected


def test_a_model_that_is_closed_ends_its_requests_and_the_other_goes_on() -> None:
    pair = Pair()
    requests = [request_for(pair.stand_in, article, max_tokens=20) for article in ARTICLES[:5]]
    expected = [alone(pair.stand_in, request) for request in requests]
    main = request_for(pair.main, ARTICLES[0])
    expected_main = alone(pair.main, main)

    async def together() -> list[tuple[str, Completion]]:
        tasks = [asyncio.create_task(answer(pair.stand_in, request)) for request in requests]
        await asyncio.sleep(0)
        await asyncio.to_thread(pair.stand_in.close)
        return await asyncio.gather(*tasks)

    assert [text for text, _ in asyncio.run(together())] == expected
    assert alone(pair.main, main) == expected_main


def test_a_closed_model_fails_those_who_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.summarize.engine.CLOSING_SECONDS", 0.2)
    pair = Pair()
    pair.main_context.hold.clear()
    request: Request = request_for(pair.main, ARTICLES[0])

    async def together() -> object:
        task = asyncio.create_task(answer(pair.main, request))
        await asyncio.sleep(0.1)
        release = threading.Timer(0.5, pair.main_context.hold.set)
        release.start()
        await asyncio.to_thread(pair.main.close)
        return (await asyncio.gather(task, return_exceptions=True))[0]

    assert isinstance(asyncio.run(together()), DecodeFailed)


def test_the_memory_is_not_taken_from_under_those_who_still_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.summarize.engine.CLOSING_SECONDS", 0.1)
    pair = Pair()
    with pair.stand_in.in_use():
        pair.stand_in.close()
        assert pair.stand_in.tokenize("A bridge.", False)
        with pytest.raises(DecodeFailed, match="out of service"):
            alone(pair.stand_in, request_for(pair.stand_in, ARTICLES[0]))
    pair.stand_in.close()
    main = request_for(pair.main, ARTICLES[0])
    assert alone(pair.main, main)


@pytest.mark.usefixtures("measured")
def test_of_those_who_go_ahead_only_so_many_are_played_as_can_be_at_work_in_time(pair: Pair) -> None:
    claimed = [(pair.stand_in, Job(84, 32))] * 256
    demand = Demand(300, 60, 20)
    few = engine_module._within(claimed, SECONDS)
    assert 0 < len(few) < 100
    assert sum(pair.stand_in.least_seconds(job) for _, job in few) > SECONDS
    deadline = time.monotonic() + SECONDS
    assert isinstance(pair.stand_in.plan(demand, deadline, False, ahead=claimed), Refusal)
    assert isinstance(pair.stand_in.plan(demand, deadline, False, ahead=claimed[:3]), Plan)
