"""The thread that all models share: whose step is next, and who may have the cores for itself."""

import threading
from collections.abc import Callable
from math import inf

import pytest

from functions.summarize import turns as module
from functions.summarize.planning import Costs, Queue
from functions.summarize.sharing import Need
from functions.summarize.turns import TURN_SECONDS, Turns
from tests.conftest import WAIT_SECONDS, wait_until

SLICE_SECONDS = 0.25
COSTS = Costs(1.0, 1.0, (1.0,), 16)


class Clock:
    """Time that passes in steps only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """A player with so many steps to make, each of which takes its time on the clock."""

    def __init__(self, name: str, clock: Clock, log: list[str], steps: int, seconds: float, deadline: float = inf):
        self.name, self.clock, self.log = name, clock, log
        self.left, self.seconds, self.deadline = steps, seconds, deadline
        self.reader = False
        self.before_step: Callable[[], None] = lambda: None

    def prepare(self) -> Need | None:
        return Need(self.deadline, self.reader, self.seconds, SLICE_SECONDS) if self.left else None

    def reads_along(self) -> bool:
        return self.reader

    def step(self) -> None:
        self.before_step()
        self.left -= 1
        self.clock.now += self.seconds
        self.log.append(self.name)

    def has_idle_work(self) -> bool:
        return False

    def disturb(self) -> None:
        pass

    def queue(self, *, best: bool = False) -> Queue:  # noqa: ARG002
        return Queue([], COSTS, 1)


def played(*models: Model) -> None:
    turns = Turns(models[0].clock)
    with turns.changed:
        for model in models:
            turns.join(model)
    wait_until(lambda: not any(model.left for model in models), "all steps are made")


def seconds_before(log: list[str], last: str, models: dict[str, Model]) -> dict[str, float]:
    """What each had of the time until the last step of `last`."""
    end = len(log) - log[::-1].index(last)
    return {name: log[:end].count(name) * model.seconds for name, model in models.items()}


def test_the_earlier_deadline_is_served_first_and_all_of_it() -> None:
    clock, log = Clock(), list[str]()
    played(Model("later", clock, log, 5, 1.0, deadline=60), Model("earlier", clock, log, 5, 0.3, deadline=30))
    assert log == ["earlier"] * 5 + ["later"] * 5


def test_whoever_has_no_deadline_keeps_a_quarter_of_the_time() -> None:
    clock, log = Clock(), list[str]()
    models = {
        "hurried": Model("hurried", clock, log, 300, 0.1, deadline=100),
        "patient": Model("patient", clock, log, 300, 0.3),
    }
    played(*models.values())
    had = seconds_before(log, "hurried", models)
    assert had["patient"] / (had["patient"] + had["hurried"]) == pytest.approx(0.25, abs=0.02)


def test_without_deadlines_both_have_half_of_the_time_however_long_their_steps() -> None:
    clock, log = Clock(), list[str]()
    models = {"large": Model("large", clock, log, 50, 1.0), "small": Model("small", clock, log, 500, 0.05)}
    played(*models.values())
    had = seconds_before(log, "small", models)
    assert had["large"] == pytest.approx(had["small"], rel=0.1)


def test_time_without_work_is_not_made_up_for() -> None:
    clock, log = Clock(), list[str]()
    busy, idle = Model("busy", clock, log, 100, 1.0), Model("idle", clock, log, 0, 1.0)

    def wake() -> None:
        if busy.left == 50:
            idle.left = 20

    busy.before_step = wake
    played(busy, idle)
    first = log.index("idle")
    assert log[first : first + 20].count("idle") == pytest.approx(10, abs=1)


def test_between_two_steps_of_a_model_whose_reader_waits_comes_one_of_another() -> None:
    clock, log = Clock(), list[str]()
    read = Model("read", clock, log, 40, 0.3)
    read.reader = True
    played(read, Model("other", clock, log, 40, 0.1))
    assert "".join(name[0] for name in log[:60]).count("oo") == 0


def test_nobody_makes_a_step_while_somebody_has_the_cores_to_itself() -> None:
    clock, log = Clock(), list[str]()
    model = Model("model", clock, log, 10_000, 0.0)
    turns = Turns(clock)
    turns.join(model)
    for _ in range(50):
        with turns.exclusive():
            before = model.left
            threading.Event().wait(0.001)
            assert model.left == before
    turns.leave(model)
    left = model.left
    with turns.changed:
        turns.changed.notify_all()
    assert model.left == left


def test_two_who_want_the_cores_have_them_one_after_the_other() -> None:
    turns, inside, most = Turns(), 0, 0
    lock = threading.Lock()

    def use() -> None:
        nonlocal inside, most
        with turns.exclusive():
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.005)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert most == 1


def test_a_step_is_bounded_for_the_sake_of_another_model() -> None:
    clock, log = Clock(), list[str]()
    turns = Turns(clock)
    one, other = Model("one", clock, log, 0, 1.0), Model("other", clock, log, 0, 1.0)
    turns.join(one)
    assert turns.most_seconds(one, SLICE_SECONDS) == inf
    turns.join(other)
    assert turns.most_seconds(one, SLICE_SECONDS) == TURN_SECONDS
    other.reader = True
    assert turns.most_seconds(one, SLICE_SECONDS) == SLICE_SECONDS
    assert turns.most_seconds(other, SLICE_SECONDS) == TURN_SECONDS
    assert module.TURN_SECONDS > SLICE_SECONDS
