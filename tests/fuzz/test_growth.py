"""No text that a caller sends takes more than linear time."""

from itertools import islice
from random import Random

import pytest

from tests.fuzz.alphabet import Case, pairs, singles
from tests.fuzz.entries import entries
from tests.fuzz.growth import Entry, grows

ENDS, PAIRS = ("", "x"), 40


def few(entry: Entry) -> list[Case]:
    """Every fragment by itself, and some pairs: the same ones each time."""
    random = Random(entry.name)
    cases = [*(case for case in singles() if case[-1] in ENDS), *islice(pairs(random), PAIRS)]
    return cases[random.randrange(entry.every) :: entry.every]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_time_grows_no_faster_than_the_text(entry: Entry) -> None:
    faults = [fault for case in few(entry) if (fault := grows(entry, case)) is not None]
    assert not faults, "\n".join(map(str, faults))


def test_quadratic_time_is_noticed() -> None:
    def quadratic(text: str) -> int:
        return sum(len(text[at:].lstrip(" ")) for at in range(0, len(text), 16))

    assert grows(Entry("quadratic", quadratic, 50_000), ("in turns", " ", "", "x")) is not None


def test_linear_time_is_no_fault() -> None:
    assert (
        grows(Entry("linear", lambda text: [ord(letter) for letter in text], 200_000), ("in turns", "a", "", ""))
        is None
    )
