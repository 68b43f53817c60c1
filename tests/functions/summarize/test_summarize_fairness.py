"""Who is served when: in the order of what each caller had and wants, as far as nobody is late by it."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing

import httpx
import pytest

from common.callers import begin_flow
from common.errors import QueueFull
from common.settings import get_settings
from functions.summarize.context import LlamaContext, Options, Sampling
from functions.summarize.engine import LlamaEngine
from functions.summarize.planning import Plan
from tests.conftest import Runner, problem, run_service, wait_until
from tests.doubles import lead_model
from tests.functions.summarize.conftest import idle

CONTEXT = 1024
BOUND_SECONDS = 60


@pytest.fixture(scope="module")
def llama() -> LlamaEngine:
    """The model of the tests with little room, so that two long requests do not fit side by side."""
    context = LlamaContext(lead_model.FILE, min(CONTEXT, lead_model.CONTEXT), 4, Options(threads=1))
    return LlamaEngine(lead_model.NAME, get_settings().summarize, context)


@pytest.fixture(autouse=True)
def _idle(llama: LlamaEngine) -> Iterator[None]:
    yield
    for ticket in list(llama._scheduler._tickets):
        llama.release(ticket)
    wait_until(lambda: idle(llama), "every place is free again")


def order(llama: LlamaEngine) -> list[int]:
    """Those that have a place, by the tokens that they want."""
    return [job.output for job in llama._scheduler.jobs()]


def test_a_newcomer_with_little_work_has_its_place_before_what_another_caller_has_waiting(llama: LlamaEngine) -> None:
    begin_flow("flooder")
    tickets = [llama.reserve(100, Plan(0, 500 + number), None, False) for number in range(4)]
    begin_flow("honest")
    tickets.append(llama.reserve(100, Plan(0, 50), None, False))
    assert order(llama) == [50, 500, 501, 502, 503]
    for ticket in tickets:
        llama.release(ticket)


def test_a_short_request_has_its_place_before_long_ones_of_the_same_caller(llama: LlamaEngine) -> None:
    tickets = []
    for output in (500, 501, 50):
        begin_flow("everybody")
        tickets.append(llama.reserve(100, Plan(0, output), None, False))
    assert order(llama) == [50, 500, 501]
    for ticket in tickets:
        llama.release(ticket)


def test_who_has_been_promised_an_answer_is_made_late_by_nobody(llama: LlamaEngine) -> None:
    begin_flow("promised")
    tickets = [llama.reserve(400, Plan(0, 500), time.monotonic() + 0.01, False) for _ in range(8)]
    begin_flow("honest")
    tickets.append(llama.reserve(400, Plan(0, 400), None, False))
    assert order(llama)[-1] == 400
    for ticket in tickets:
        llama.release(ticket)


async def _generate(llama: LlamaEngine, caller: str, output: int, begun: list[tuple[float, str]]) -> None:
    begin_flow(caller)
    # With the opening that all prompts share, as it is not counted.
    tokens = llama.prompt.build(llama.tokenize(f"An article of {caller}.", False))
    ticket = llama.reserve(len(tokens), Plan(0, output), None, False)
    async with aclosing(llama.generate(ticket, tokens, Sampling(output, 0.0, None))) as pieces:
        async for _ in pieces:
            pass
    begun.append((ticket.started_at, caller))


def test_what_does_not_fit_now_does_not_hold_up_what_does(llama: LlamaEngine) -> None:
    async def play() -> list[str]:
        begun: list[tuple[float, str]] = []
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            # Nothing begins before all are there: else the first one may be done by then.
            with llama._scheduler._changed:
                for caller, output in (("first", 700), ("too large now", 700), ("short", 20)):
                    group.create_task(_generate(llama, caller, output, begun))
                    await asyncio.sleep(0)
        return [caller for _, caller in sorted(begun)]

    order_of_beginning = asyncio.run(play())
    assert order_of_beginning.index("short") < order_of_beginning.index("too large now")


def test_what_does_not_fit_now_is_not_starved_by_what_does(llama: LlamaEngine) -> None:
    async def play() -> list[str]:
        begun: list[tuple[float, str]] = []
        async with asyncio.timeout(BOUND_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(_generate(llama, "first", 500, begun))
            group.create_task(_generate(llama, "large", 700, begun))
            for _ in range(60):
                group.create_task(_generate(llama, "small", 40, begun))
        return [caller for _, caller in sorted(begun)]

    # By right the others' caller goes first with as much, some fifteen. As many cells may overtake what does not fit.
    assert asyncio.run(play()).index("large") < 45


def test_one_caller_has_as_many_places_as_the_setting_says_and_others_have_theirs(llama: LlamaEngine) -> None:
    settings = get_settings().summarize
    with ExitStack() as held:
        for _ in range(settings.parallel + settings.max_waiting):
            begin_flow("flooder")
            held.enter_context(llama.places.hold())
        with pytest.raises(QueueFull, match="of this caller"):
            held.enter_context(llama.places.hold())
        begin_flow("honest")
        held.enter_context(llama.places.hold())


def test_many_long_articles_are_refused_before_they_are_tokenised(tmp_path_factory: pytest.TempPathFactory) -> None:
    log = tmp_path_factory.mktemp("full") / "log.txt"
    with run_service(log, SUMMARIZE__PARALLEL=1, SUMMARIZE__MAX_WAITING=2) as runner:

        def ask(number: int) -> httpx.Response:
            text = f"Article {number}. " + "The town built a bridge over the river. " * 4_500
            return httpx.post(f"{runner.url}/summarize", json={"text": text}, timeout=60)

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert problem(answer)["type"].endswith("queue-full")
            assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("application/json, text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", False),
        ("text/event-stream;q=0", False),
        ("application/json", False),
        ("*/*", False),
    ],
)
def test_events_are_sent_to_who_wants_them_and_no_proxy_collects_them(
    runner: Runner, accept: str, streams: bool
) -> None:
    body = {"text": "The town of Lindholm opened a bridge on Monday. Many came."}
    response = httpx.post(f"{runner.url}/summarize", json=body, headers={"Accept": accept}, timeout=60)
    assert response.headers["content-type"].startswith("text/event-stream") == streams
    assert response.headers.get("x-accel-buffering") == ("no" if streams else None)
    assert response.headers.get("cache-control") == ("no-cache" if streams else None)


def test_a_kept_answer_is_told_to_be_one_only_to_who_has_asked_before(runner: Runner) -> None:
    body = {"text": "The town of Kestrel opened a school on Friday. Many came.", "temperature": 0}

    def cached(address: str) -> bool:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=60) as client:
            answer = client.post(f"{runner.url}/summarize", json=body).json()
        return bool(answer["usage"]["cached_answer"])

    assert [cached("127.0.0.2"), cached("127.0.0.2"), cached("127.0.0.3"), cached("127.0.0.3")] == [
        False,
        True,
        False,
        True,
    ]
