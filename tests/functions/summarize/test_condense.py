import random

import pytest

from functions.summarize.condense import lead


def count(text: str) -> int:
    return len(text.split())


def test_the_longest_opening_of_whole_sentences_within_the_budget_is_kept() -> None:
    text = "One two three. Four five! Six seven eight nine? Ten."
    kept = {budget: lead(text, budget, count) for budget in (3, 4, 5, 8, 9, 10)}
    assert kept[3] == kept[4] == "One two three."
    assert kept[5] == kept[8] == "One two three. Four five!"
    assert kept[9] == "One two three. Four five! Six seven eight nine?"
    assert kept[10] == text


def test_a_quotation_mark_behind_the_full_stop_stays_with_its_sentence() -> None:
    assert lead('"We are late." He left early that day.', 4, count) == '"We are late."'


def test_east_asian_full_stops_end_a_sentence_without_white_space() -> None:
    assert lead("今天下雨。明天也下雨。后天晴。", 11, len) == "今天下雨。明天也下雨。"


def test_decimals_do_not_end_a_sentence() -> None:
    assert lead("It grew 3.5 percent in May. It fell later on.", 7, count) == "It grew 3.5 percent in May."


def test_a_first_sentence_over_the_budget_is_cut_after_a_word() -> None:
    assert lead("one two three four five six", 4, count) == "one two three four"


def test_text_without_white_space_is_cut_inside() -> None:
    assert lead("x" * 1000, 10, len) == "x" * 10


@pytest.mark.parametrize("seed", range(50))
def test_what_is_kept_is_always_a_full_opening_within_the_budget(seed: int) -> None:
    source = random.Random(seed)
    text = "".join(source.choice("ab .!?。\n\"'") for _ in range(source.randint(1, 400))).strip() or "a"
    for budget in (1, 2, 10, 50):
        kept = lead(text, budget, len)
        assert text.startswith(kept)
        assert 0 < len(kept) <= budget
