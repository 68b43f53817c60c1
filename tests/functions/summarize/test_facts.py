"""What a summary says that its article does not have."""

import json
import re
from pathlib import Path
from random import Random

import pytest

from functions.summarize.facts import unsupported

NEWS = Path(__file__).resolve().parents[3] / "training" / "news" / "news.jsonl"
LOCAL = (
    "NAIROBI, March 3 - Kericho Leaf Holdings of Kenya will sell 22% of its shares, Philemon Rotich told Achieng "
    "Odhiambo."
)


@pytest.mark.parametrize(
    ("article", "summary"),
    [
        ("It rose 22%.", "22 percent, 22 per cent"),
        ("It cost 3.4 billion shillings.", "3.4bn, 3,400,000,000"),
        ("It cost $3.4 million.", "$3.4m or 3.4 million"),
        ("1,200 people", "1200, 1 200, 1'200, 1.200"),
        ("Twelve people and twenty-three dogs came third.", "12, 23 and 3rd"),
        ("12 people, 23 dogs, 105 cats", "twelve, twenty-three, a hundred and five"),
        ("between 14 and 16 points, three goals to one", "14-16, 14–16, 3-1"),
        ("zwölf Busse für 3,4 Millionen Euro", "12 Busse für 3,4 Mio. Euro"),
        ("٣٤٥ و १२ ３４億円", "345, 12 and 34億"),
        ("It is 2:06:11.", "in 2:06:11"),
    ],
)
def test_a_number_in_another_form_is_no_false_alarm(article: str, summary: str) -> None:
    assert unsupported(summary, article) == []


@pytest.mark.parametrize(
    ("article", "summary", "named"),
    [
        ("It cost $3.4 million.", "It cost $3.4 billion, or $3.5 million.", ["$3.4 billion", "$3.5 million"]),
        ("It cost 3.4 million.", "About 3 million.", ["3 million"]),
        ("They won 3-1.", "They won 1-3.", ["1-3"]),
        ("It opened in 2019.", "In 2020 it opened, in 2020.", ["2020"]),
        ("Twelve came.", "Thirteen came.", ["Thirteen"]),
        ("It has 12.", "It has 1.2.", ["1.2"]),
        ("今日は３人です。", "4人です。", ["4"]),
    ],
)
def test_a_number_that_the_article_does_not_have_is_named(article: str, summary: str, named: list[str]) -> None:
    assert [text.rstrip("人です") for text in unsupported(summary, article)] == named


@pytest.mark.parametrize(
    ("article", "summary"),
    [
        (LOCAL, "The Nairobi firm Kericho Holdings, Rotich’s employer, is Kenyan. Shares are sold."),
        ("The World Health Organization met J. K. Rowling.", "In short, the WHO met J.K. Rowling."),
        ("U.S. firms of China", "The US and Chinese firms"),
        ("Étienne O'Brien spoke in Boulogne-sur-Mer.", "Etienne O’Brien's speech in BOULOGNE-SUR-MER"),
        ("President Emmanuel Macron of France spoke.", "The French President Emmanuel Macron spoke."),
        ("Leeds University in North American style", "The University of Leeds in North America"),
        ("Er kam nach Berlin.", "However, he came to Berlin."),
        ("Москва ждёт.", "Его ждут в Москве."),
    ],
)
def test_a_name_in_another_form_is_no_false_alarm(article: str, summary: str) -> None:
    assert unsupported(summary, article) == []


@pytest.mark.parametrize(
    ("summary", "named"),
    [
        ("Shares of Kericho Leaf Holdings are sold in Geneva.", ["Geneva"]),
        ("Achieng Rotich spoke, and then Philemon Odhiambo.", ["Achieng Rotich", "Philemon Odhiambo"]),
        ("The firm told Maria Rotich so. She left.", ["Maria Rotich"]),
        ("UNESCO said so. Tanzania's firms sold 22%.", ["UNESCO", "Tanzania"]),
        ("In Geneva 33% of Geneva was sold.", ["Geneva", "33%"]),
    ],
)
def test_a_name_that_the_article_does_not_have_is_named_in_order(summary: str, named: list[str]) -> None:
    assert unsupported(summary, LOCAL) == named


@pytest.mark.parametrize("text", ["", " ", "I", "…", "A.B.", "1-", "-1", "a hundred", "٣-٣", "X" * 5000, "1" * 5000])
def test_odd_text_has_all_of_itself(text: str) -> None:
    assert unsupported(text, text) == []


def records() -> list[dict[str, str]]:
    return [json.loads(line) for line in NEWS.read_text(encoding="utf-8").splitlines()]


def test_faithful_summaries_by_hand_are_seldom_accused() -> None:
    accused = [record["id"] for record in records() if unsupported(record["summary"], record["text"])]
    assert len(accused) < 0.02 * len(records()), accused


def test_a_changed_digit_and_an_exchanged_name_are_noticed() -> None:
    random = Random(16)
    changed = noticed = 0
    for record in records():
        numbers = re.findall(r"\d{2,}", record["summary"])
        names = re.findall(r"(?<=[a-z] )[A-Z][a-z]{4,}", record["summary"])
        for old, new in [(number, str(int(number) + random.randint(3, 80) * 101)) for number in numbers[:1]] + [
            (name, "Zwartkops") for name in names[:1]
        ]:
            changed += 1
            noticed += bool(unsupported(record["summary"].replace(old, new), record["text"]))
    assert changed > 800
    assert noticed > 0.95 * changed
