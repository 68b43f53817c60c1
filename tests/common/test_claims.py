"""Who has waited as told goes first: the rules one by one, and clients in a simulated queue that obey or do not."""

import doctest
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import claims as module
from common.callers import Flow, connection_begins, connection_ends
from common.claims import EARLY_SECONDS, GRACE_SECONDS, GRACE_SHARE, MOST_GRACE_SECONDS, Claims


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def claims(clock: Clock) -> Claims[str]:
    return Claims(clock=clock)


_numbers = itertools.count(1)


def flow(name: str) -> Flow:
    """A request of the client `name`, of the caller that its first letter is."""
    return Flow(name[0], next(_numbers), name)


def grant(claims: Claims[str], *names: str, seconds: float = 10) -> None:
    for name in names:
        claims.grant(flow(name), seconds, name)


def ahead(claims: Claims[str], name: str) -> list[str]:
    return [claim.demand for claim in claims.ahead(flow(name))]


def test_the_examples_are_right() -> None:
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed


def test_who_has_a_claim_waits_for_older_ones_and_who_has_none_for_all(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a", "b", "c")
    clock.now = 10.0
    assert ahead(claims, "a") == []
    assert ahead(claims, "c") == ["a", "b"]
    assert ahead(claims, "d") == ["a", "b", "c"]


def test_a_claim_ends_when_its_client_is_let_in(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a", "b")
    clock.now = 10.0
    claims.settle(flow("a"))
    assert ahead(claims, "b") == []
    # What it wants next has not waited.
    assert ahead(claims, "a") == ["b"]
    claims.settle(flow("nobody knows this one"))
    assert len(claims) == 1


@pytest.mark.parametrize("seconds", [1, 28, 200, 3000])
def test_a_claim_ends_soon_after_its_client_should_have_come(claims: Claims[str], clock: Clock, seconds: float) -> None:
    grant(claims, "a", seconds=seconds)
    clock.now = seconds + GRACE_SECONDS - 0.1
    assert ahead(claims, "b") == ["a"]
    clock.now = seconds + MOST_GRACE_SECONDS
    assert ahead(claims, "b") == []
    assert not len(claims)


def test_a_claim_keeps_its_age_when_its_client_is_refused_again(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a", "b")
    clock.now = 10.0
    claims.grant(flow("a"), 7, "a wants less")
    assert len(claims) == 2
    clock.now = 17.0
    assert ahead(claims, "a") == []
    assert ahead(claims, "b") == ["a wants less"]
    clock.now = 17.0 + GRACE_SECONDS
    assert ahead(claims, "c") == ["a wants less"]


def test_who_comes_too_early_waits_for_all_others_and_loses_nothing(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a0", "a1", "a2", "b")
    clock.now = 10.0 - EARLY_SECONDS - 0.01
    assert ahead(claims, "a0") == ["b", "a1", "a2"] or ahead(claims, "a0") == ["a1", "b", "a2"]
    assert ahead(claims, "b") == ["a0", "a1", "a2"]
    claims.grant(flow("a0"), 50, "a0")
    clock.now = 10.0 - EARLY_SECONDS
    assert ahead(claims, "a0") == []
    assert ahead(claims, "b") == ["a0"]


def test_each_of_several_clients_that_look_like_one_may_come_when_it_was_told_to(
    claims: Claims[str], clock: Clock
) -> None:
    grant(claims, "a", seconds=10)
    grant(claims, "b", seconds=10)
    grant(claims, "a", seconds=40)
    for now in (10.0, 30.0, 40.0):
        clock.now = now
        assert ahead(claims, "a") == []
        assert len(claims) == (2 if now < 16 else 1)


def test_of_another_caller_one_claim_counts_for_each_that_the_own_caller_has(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a0", "a1", "a2", "a3", "b0", "b1")
    clock.now = 10.0
    assert ahead(claims, "c") == ["a0", "b0"]
    assert ahead(claims, "b0") == ["a0"]
    assert ahead(claims, "b1") == ["a0", "b0", "a1"]
    assert ahead(claims, "b2") == ["a0", "b0", "a1", "b1", "a2"]
    assert ahead(claims, "a3") == ["a0", "b0", "a1", "b1", "a2"]


def test_a_caller_is_last_again_when_a_claim_of_it_ends(claims: Claims[str], clock: Clock) -> None:
    grant(claims, "a0", "a1", "b", "c")
    clock.now = 10.0
    claims.settle(flow("a0"))
    assert ahead(claims, "b") == []
    assert ahead(claims, "c") == ["b"]
    assert ahead(claims, "a1") == ["b", "c"]


def test_claims_that_nobody_comes_back_for_keep_another_caller_waiting_once(clock: Clock) -> None:
    claims = Claims[str](clock=clock)
    grant(claims, *(f"a{number}" for number in range(20)), seconds=5)
    grant(claims, *(f"a{number}" for number in range(20, 30)), seconds=20)
    grant(claims, "b", seconds=5)
    clock.now = 5.0
    assert ahead(claims, "b") == ["a0"]
    claims.grant(flow("b"), 8, "b")
    # The others of A are still alive, but it has had its turn.
    clock.now = 13.0
    assert len(claims) == 11
    assert ahead(claims, "b") == []


def test_a_caller_has_so_many_claims_and_the_first_ones_stay(clock: Clock) -> None:
    claims = Claims[str](most=100, most_of_caller=3, clock=clock)
    grant(claims, *(f"a{number}" for number in range(1000)))
    assert len(claims) == 3
    assert ahead(claims, "a9") == ["a0", "a1", "a2"]


def test_who_has_most_makes_room_for_a_newcomer_and_not_for_its_equal(clock: Clock) -> None:
    claims = Claims[str](most=4, clock=clock)
    grant(claims, "a0", "a1", "a2", "a3", "a4")
    assert ahead(claims, "a9") == ["a0", "a1", "a2", "a3"]
    grant(claims, "b0", "b1", "c", "d", "e")
    # A and B had two each, then one of each went for C and D.
    assert sorted(ahead(claims, "f")) == ["a0", "b0", "c", "d"]
    assert len(claims) == 4


def test_what_closed_connections_had_is_one_claim_for_whoever_of_the_caller_comes_in_time(
    claims: Claims[str], clock: Clock
) -> None:
    open_ones = [("a", port) for port in (1, 2, 3)]
    for one in open_ones:
        connection_begins(one)
    claims.settle(flow("a 6"))
    grant(claims, "b", "a 1", "a 2", "a 3", "c")
    connection_ends(("a", 1))
    connection_ends(("a", 3))
    # Nobody knows yet whether it comes back.
    assert len(claims) == 4
    assert ahead(claims, "a 4") == ["b", "a 1", "c", "a 2"]
    clock.now = 10.0
    assert ahead(claims, "a 2") == ["b", "a 1", "c"]
    assert ahead(claims, "a 4") == ["b"]
    # Whoever was let in on its connection has kept that, and waits like others.
    assert ahead(claims, "a 6") == ["b", "a 1", "c", "a 2"]
    connection_begins(("a", 4))
    claims.grant(flow("a 4"), 3, "a 4")
    assert ahead(claims, "a 5") == ["b", "a 4", "c", "a 2"]
    clock.now = 13.0
    claims.settle(flow("a 4"))
    # The caller has had its turn and is behind the others.
    assert ahead(claims, "a 5") == ["b", "c", "a 2"]
    connection_ends(("a", 2))
    connection_ends(("a", 4))
    claims.settle(flow("a 5"))
    assert ahead(claims, "a 7") == ["b", "c"]


def test_a_caller_whose_clients_are_not_told_apart_is_one(claims: Claims[str], clock: Clock) -> None:
    claims.grant(Flow("a", 1), 10, "first")
    claims.grant(Flow("a", 2), 10, "second")
    clock.now = 10.0
    assert len(claims) == 1
    assert ahead(claims, "b") == ["second"]
    claims.settle(Flow("a", 3))
    assert not len(claims)


@given(
    st.lists(
        st.tuples(st.sampled_from("gsaw"), st.sampled_from(["a0", "a1", "a2", "b0", "b1", "c"]), st.floats(0.1, 20)),
        max_size=60,
    )
)
def test_whatever_happens_somebody_is_first_and_no_claim_outlives_its_time(
    happens: list[tuple[str, str, float]],
) -> None:
    clock = Clock()
    claims = Claims[str](most=5, most_of_caller=3, clock=clock)
    for what, name, seconds in happens:
        if what == "g":
            grant(claims, name, seconds=seconds)
        elif what == "s":
            claims.settle(flow(name))
        elif what == "w":
            clock.now += seconds
        found = claims.ahead(flow(name))
        assert len(found) == len(set(map(id, found))) <= len(claims) <= 5
        assert all(clock.now < claim.expires for claim in found)
        assert name not in (claim.demand for claim in found)
    clock.now += 21.0
    assert not len(claims) or clock.now < 42.0 + sum(seconds for what, _, seconds in happens if what == "w")


@dataclass(frozen=True)
class Client:
    """`offset`: when it comes first. Who does not obey comes again after `retry` seconds, whatever it is told.

    `reconnects`: each of its requests is on a connection of its own.
    """

    name: str
    caller: str
    offset: float
    retry: float | None = None
    reconnects: bool = False


@dataclass
class Server:
    """Serves one at a time, and lets in whoever is answered within `patience` behind those present and ahead.

    `cost` draws what a request will take; it is planned with `expected`, or with what it will take.
    """

    patience: float
    cost: Callable[[], float]
    expected: float | None
    delay: Callable[[], float]

    def answers(self, clients: list[Client], seconds: float) -> Counter[str]:
        """How many each client has within so many seconds. A client sends its next request when it has an answer."""
        clock = Clock()
        claims = Claims[float](clock=clock)
        answered = Counter({client.name: 0 for client in clients})
        present: list[tuple[Client, float, float]] = []
        begun, wanted = 0.0, dict[str, float]()
        order = itertools.count()
        events = [(client.offset, next(order), "comes", client) for client in clients]
        heapq.heapify(events)

        def serve() -> None:
            heapq.heappush(events, (clock.now + present[0][1], next(order), "has it", present[0][0]))

        while True:
            clock.now, _, what, client = heapq.heappop(events)
            if clock.now > seconds:
                return answered
            if what == "has it":
                present.pop(0)
                answered[client.name] += 1
                del wanted[client.name]
                heapq.heappush(events, (clock.now + self.delay(), next(order), "comes", client))
                if present:
                    begun = clock.now
                    serve()
                continue
            takes = wanted.setdefault(client.name, self.cost())
            planned = self.expected or takes
            holder = f"{client.caller} {next(order)}" if client.reconnects else client.name
            request = Flow(client.caller, next(order), holder)
            work = [one[2] for one in present]
            if work:
                work[0] = max(0.0, work[0] - (clock.now - begun))
            work += [claim.demand for claim in claims.ahead(request)]
            if sum(work) + planned <= self.patience + 1e-9:
                claims.settle(request)
                present.append((client, takes, planned))
                if len(present) == 1:
                    begun = clock.now
                    serve()
                continue
            # One of those before it has to be answered first, as a plan of steps finds out.
            ends = itertools.accumulate(work)
            told = max(1, math.ceil(next(end for end in ends if end >= sum(work) + planned - self.patience - 1e-9)))
            claims.grant(request, told, planned)
            pause = told + self.delay() if client.retry is None else client.retry
            heapq.heappush(events, (clock.now + pause, next(order), "comes", client))


@st.composite
def servers(draw: st.DrawFn, spread: float = 0.0, known: bool = True) -> tuple[Server, float, Random]:
    """A server, and the mean of what a request takes there."""
    random = Random(draw(st.integers(0, 1 << 30)))
    patience = draw(st.sampled_from([10.0, 28.0]))
    mean = draw(st.floats(0.2, 1.0)) * patience / (1 + spread)

    def cost() -> float:
        return mean * random.uniform(1 - spread, 1 + spread)

    return Server(patience, cost, None if known else mean, lambda: random.uniform(0.001, 0.05)), mean, random


def eight(random: Random, one_caller: bool, within: float) -> list[Client]:
    """They all come before the first is answered: who came earlier than that would have one answer more by right."""
    callers = ["all" if one_caller else f"caller {number}" for number in range(8)]
    return [Client(f"{number}", caller, random.uniform(0, within)) for number, caller in enumerate(callers)]


ROUNDS = 25


def of_eight(served: tuple[Server, float, Random], one_caller: bool) -> Collection[int]:
    """How many answers each of eight gets who come back when they are told."""
    server, mean, random = served
    return server.answers(eight(random, one_caller, mean / 2), ROUNDS * 8 * mean).values()


@given(servers(), st.booleans())
def test_eight_who_come_back_when_told_get_the_same_give_or_take_one(
    served: tuple[Server, float, Random], one_caller: bool
) -> None:
    answered = of_eight(served, one_caller)
    assert max(answered) - min(answered) <= 1
    assert sum(answered) >= 0.9 * ROUNDS * 8


@given(servers(0.5, known=False), st.booleans())
def test_it_is_so_as_well_where_nobody_knows_how_long_an_answer_takes(
    served: tuple[Server, float, Random], one_caller: bool
) -> None:
    answered = of_eight(served, one_caller)
    assert max(answered) - min(answered) <= 2
    assert sum(answered) >= 0.7 * ROUNDS * 8


@given(servers(0.5, known=True), st.booleans())
def test_who_has_short_requests_by_chance_has_few_more_answers(
    served: tuple[Server, float, Random], one_caller: bool
) -> None:
    answered = of_eight(served, one_caller)
    # A short one fits where a long one does not, and takes nothing from it.
    assert max(answered) - min(answered) <= 3
    assert sum(answered) >= 0.7 * ROUNDS * 8


@given(
    servers() | servers(0.5, known=False),
    st.booleans(),
    st.sampled_from(["caller of its own", "all"]),
    st.booleans(),
    st.floats(0.1, 2),
)
def test_who_comes_back_at_once_gets_no_more_than_who_waits(
    served: tuple[Server, float, Random], one_caller: bool, caller: str, reconnects: bool, retry: float
) -> None:
    server, mean, random = served
    flooder = Client("flooder", caller, random.uniform(0, mean / 2), retry, reconnects)
    answered = server.answers([*eight(random, one_caller, mean / 2), flooder], ROUNDS * 9 * mean)
    its = answered.pop("flooder")
    of_eight = answered.values()
    if one_caller and caller != "all":
        # Two callers have half each, however many clients one of them has.
        assert its <= sum(of_eight) + 2
    else:
        assert its <= max(of_eight) + 1
    assert max(of_eight) - min(of_eight) <= 2
    assert its + sum(of_eight) >= 0.7 * ROUNDS * 9


@given(servers(), st.booleans(), st.integers(1, 7))
def test_who_never_comes_back_costs_others_no_more_than_the_time_that_he_was_told(
    served: tuple[Server, float, Random], one_caller: bool, gone: int
) -> None:
    server, mean, random = served
    clients = eight(random, one_caller, mean / 2)
    clients = [replace(client, retry=math.inf) for client in clients[:gone]] + clients[gone:]
    answered = server.answers(clients, ROUNDS * mean)
    # Nobody was told more than the time that all eight take, and a second.
    claimed = 8 * mean + 1
    claimed += GRACE_SECONDS + GRACE_SHARE * claimed
    assert sum(answered.values()) >= ROUNDS - claimed / mean - 1
