import doctest
from contextlib import suppress

from common import rounds as module
from common.callers import Flow, client
from common.rounds import MOST_AHEAD, Rounds

ONE, TWO, THREE = (Flow("A", number, f"A{number}") for number in range(3))


def let_in(rounds: Rounds, flow: Flow, times: int = 1, waiting: tuple[Flow, ...] = ()) -> None:
    for _ in range(times):
        with rounds.present(flow, [client(other) for other in waiting]):
            pass


def test_the_examples_are_right() -> None:
    ran = doctest.testmod(module)
    assert ran.attempted
    assert not ran.failed


def test_where_nobody_waits_everybody_has_a_turn() -> None:
    rounds = Rounds()
    let_in(rounds, ONE, 9)
    with rounds.present(TWO):
        assert rounds.has_turn(ONE, [])
        assert rounds.has_turn(ONE, [client(ONE)])


def test_who_had_more_than_somebody_who_is_there_lets_those_who_wait_go_first() -> None:
    rounds = Rounds()
    for flow in (ONE, TWO, THREE):
        let_in(rounds, flow)
    let_in(rounds, ONE, 1, (TWO,))
    assert not rounds.has_turn(ONE, [client(TWO)])
    assert rounds.has_turn(TWO, [client(ONE)])
    with rounds.present(TWO, [client(THREE)]):
        # Two of them had two, and the third waits for its second.
        assert not rounds.has_turn(ONE, [client(THREE)])
        with rounds.present(THREE):
            assert rounds.has_turn(ONE, [client(THREE)])


def test_what_failed_was_no_turn() -> None:
    rounds = Rounds()
    let_in(rounds, ONE)
    with rounds.present(TWO), suppress(RuntimeError), rounds.present(ONE):
        raise RuntimeError
    assert rounds.has_turn(ONE, [client(TWO)])


def test_what_somebody_had_before_is_soon_made_up_for() -> None:
    rounds = Rounds()
    let_in(rounds, ONE, 100)
    let_in(rounds, TWO)
    turns = 0
    while not rounds.has_turn(ONE, [client(TWO)]):
        let_in(rounds, TWO, 1, (ONE,))
        turns += 1
    assert turns <= 1
    with rounds.present(TWO):
        let_in(rounds, ONE, 100)
        turns = 0
        while not rounds.has_turn(ONE, [client(TWO)]):
            let_in(rounds, TWO, 1, (ONE,))
            turns += 1
        assert turns <= MOST_AHEAD


def test_a_stranger_has_a_turn_and_begins_with_the_others() -> None:
    rounds = Rounds()
    with rounds.present(ONE), rounds.present(TWO):
        assert rounds.has_turn(THREE, [client(ONE)])
        let_in(rounds, THREE)
        assert rounds.has_turn(THREE, [client(ONE)])
        let_in(rounds, THREE)
        assert not rounds.has_turn(THREE, [client(ONE)])


def test_no_more_are_remembered_than_is_said() -> None:
    rounds = Rounds()
    for number in range(module.MOST_KNOWN + 50):
        let_in(rounds, Flow("A", number, str(number)))
    assert len(rounds._times) == module.MOST_KNOWN
    assert not rounds._present
