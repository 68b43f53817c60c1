"""No text that a caller sends takes more than linear time."""

from itertools import islice
from random import Random

import pytest

from tests.fuzz.alphabet import pairs, singles
from tests.fuzz.entries import entries
from tests.fuzz.growth import Entry, grows

SINGLES, PAIRS = 150, 50


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_time_grows_no_faster_than_the_text(entry: Entry) -> None:
    random = Random(entry.name)
    cases = [*random.sample(list(singles()), SINGLES), *islice(pairs(random), PAIRS)]
    faults = [fault for case in cases if (fault := grows(entry, case)) is not None]
    assert not faults, "\n".join(map(str, faults))


def test_quadratic_time_is_noticed() -> None:
    def quadratic(text: str) -> int:
        return sum(len(text[at:].lstrip(" ")) for at in range(0, len(text), 8))

    assert grows(Entry("quadratic", quadratic, 200_000), ("in turns", " ", "", "x")) is not None


def test_linear_time_is_no_fault() -> None:
    assert (
        grows(Entry("linear", lambda text: [ord(letter) for letter in text], 200_000), ("in turns", "a", "", ""))
        is None
    )
