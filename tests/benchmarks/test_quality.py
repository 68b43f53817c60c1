"""The figures of `make bench-quality`."""

from typing import Any

import pytest

from benchmarks.harness.content import content_words
from benchmarks.summarize.quality import Configuration, changed
from benchmarks.summarize.scores import Score, figures, score
from training.news import split

ARTICLE = (
    "The mayor of Lindholm opened a bridge on Monday. It cost 12 million crowns. Nobody came from Arvika to see it."
)
REFERENCE = "Lindholm has a new bridge that cost 12 million crowns."


def scored(summary: str, **others: Any) -> Score:
    return score("a", ARTICLE, REFERENCE, summary, **{"stopped": True, **others})


def test_an_invented_number_and_an_invented_name_lower_support() -> None:
    found = scored("Lindholm opened 13 bridges in Geneva for 12 million crowns.")
    assert found.numbers == (1, 2)
    assert found.names == (1, 2)
    assert found.unsupported == ["13", "Geneva"]


def test_recall_is_that_of_the_reference_and_of_an_opening_as_long() -> None:
    found = scored("A bridge cost 12 million crowns.")
    assert found.recall == pytest.approx(4 / 5)
    # "The mayor of Lindholm opened a"
    assert found.opening_recall == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("summary", "stopped", "is_finished"),
    [("It opened.", True, True), ("It opened.", False, False), ("It opened. It", True, False), ("", True, False)],
)
def test_a_summary_is_finished_with_a_whole_sentence_that_the_model_ended(
    summary: str, stopped: bool, is_finished: bool
) -> None:
    assert scored(summary, stopped=stopped).is_finished is is_finished


def test_repetition_is_counted() -> None:
    assert scored("a b c d a b c d").repeated == (1, 5)


def test_figures_of_no_answer_are_none_and_its_error_is_counted() -> None:
    found = figures([], 3)
    assert found["errors"] == 3
    assert found["answers"] == 0
    assert found["recall"] is None
    assert found["answer"] is None


def test_content_words_leave_out_function_words_and_short_ones() -> None:
    assert content_words("They opened THE bridge with 12 others, a new one.") == {"opened", "bridge"}


def test_a_side_differs_from_the_options_in_what_it_names() -> None:
    base = changed(Configuration("all"), "all", ["model=one", "instruction=Be brief.", "wait=3"])
    side = changed(base, "other", ["model=two", "instruction=", "wait=", "SUMMARIZE__LEAD_SHARE=0.5"])
    assert side.settings == {"SUMMARIZE__MODEL": "two", "SUMMARIZE__LEAD_SHARE": "0.5"}
    assert side.wait is None


@pytest.mark.parametrize("change", ["adapter", "modell=x", "wait=soon"])
def test_a_side_that_cannot_be_read_is_refused_by_name(change: str) -> None:
    with pytest.raises(SystemExit, match=change.partition("=")[0]):
        changed(Configuration("all"), "odd", [change])


def test_what_is_held_back_stays_the_same() -> None:
    kept = split.of_news()
    assert len(set(kept)) == 60
    assert kept[:4] == ["hard-36", "science-24", "science-25", "organisations-33"]
