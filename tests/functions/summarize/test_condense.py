import random
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.sentences import finished, sentences
from functions.summarize import condense as condensing
from functions.summarize.condense import Count, windows
from functions.summarize.selection import MAX_RANKED, Article
from functions.summarize.sentence_features import ends_with_stop
from functions.summarize.weights import shipped
from tests.strategies import examples, joined

# A news story, with what a page puts around one: the lines in FILLER have nothing to do with it.
LEAD = [
    "The city council of Norwick voted on Tuesday to build a new harbour library for 14 million euros.",
    "Construction of the library will begin next spring and take two years.",
]
FIRST_HALF = [
    "Mayor Ellen Brandt said the new library would bring readers back to the old harbour.",
    "Seven members of the city council voted for the harbour library and two against it.",
    "The library will replace the branch that the city closed in 2019 for lack of money.",
    "Residents of the harbour district had asked the council for a new library ever since that branch closed.",
    "The state will pay half of the construction, and the city will borrow the other 7 million euros.",
    "Council member Piet Maas, who voted against the library, said the city could not afford the loan.",
    "The city already spends 3 million euros a year on interest, Maas told the council before it voted.",
]
SECOND_HALF = [
    "Brandt answered that the closed branch had left 20,000 residents of the district without a library.",
    "The architects plan a reading room with a view of the harbour, and a stage for concerts of the city's schools.",
    "Construction on the old harbour is difficult, because the ground under the library is soft.",
    "Engineers will drive 300 piles into the harbour's ground before construction of the library begins.",
    "The library is to hold 90,000 books and open seven days a week, according to the council's plan.",
    "If construction runs late, the state may take its half of the 14 million euros back.",
    "The city council will vote on the design of the library in March.",
]
FILLER = [
    "Sign up for our newsletter!",
    "Photo: Getty Images.",
    "Advertisement.",
    "Click here to download our app and win a holiday for two.",
    "Follow us on Facebook and Instagram.",
    "Elsewhere, a panda called Bobo celebrated its tenth birthday with a cake of bamboo.",
    "Mortgage rates from 2.9 percent: compare offers today.",
    "Read more: ten soups that warm you up this winter.",
    "All rights reserved.",
]
STORY = [
    *LEAD,
    *FIRST_HALF[:3],
    *(line for pair in zip(FILLER, [*FIRST_HALF[3:], *SECOND_HALF], strict=False) for line in pair),
    *SECOND_HALF[-2:],
]


def words(text: str) -> int:
    return len(text.split())


def tokens(text: str) -> int:
    """Like a model's tokenizer: a word takes its space along, so that the whole is not the sum of its parts."""
    return len(re.findall(r" ?\w{1,4}|\s+| ?[^\w\s]+", text))


COUNTS = pytest.mark.parametrize("count", [words, len, tokens])


def condense(text: str, budget: int, count: Count, lead_share: float = condensing.LEAD_SHARE) -> str:
    """What is left of `text`, which has to stand where the spans say, and nowhere else."""
    condensed = condensing.condense(text, budget, count, lead_share)
    assert all(0 <= start < end <= len(text) for start, end in condensed.spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(condensed.spans))
    told = "".join(text[start:end] for start, end in condensed.spans)
    assert "".join(told.split()) == "".join(condensed.text.split())
    return condensed.text


PIECES = [
    "a",
    "rain",
    "Sun",
    "the",
    "The",
    "Mr",
    "x" * 30,
    "今天",
    "3",
    *[" "] * 9,
    ". ",
    "! ",
    "。",
    "\n",
    "\n\n",
    '"',
]
TEXTS = joined(PIECES, 400).map(lambda text: text.strip() or "a")
# A long sentence, but for the spaces: of nothing but letters.
ONE_SENTENCE = joined(PIECES, 150).map(lambda text: " ".join(re.findall(r"\w+", text)) or "a")
BUDGETS = st.integers(1, 10) | st.integers(1, 150)


def is_selection(shorter: str, text: str) -> bool:
    """Whether `shorter` is made of whole sentences of `text` in their order, and of white space."""
    # One sentence may open like another: all the places are kept where the next one may begin.
    places = {0}
    for sentence in map(str.strip, sentences(text)):
        behind = {place + len(sentence) for place in places if shorter.startswith(sentence, place)}
        places |= {len(shorter) - len(shorter[place:].lstrip()) for place in behind}
    return len(shorter) in places


@COUNTS
def test_a_text_that_fits_is_only_stripped(count: Callable[[str], int]) -> None:
    text = "First  sentence.\n\n\nFirst  sentence.\nMr. Third\n"
    assert condense(text, count(text.strip()), count) == text.strip()


@pytest.mark.parametrize("share", [0.3, 0.4, 0.5, 0.6])
def test_filler_goes_before_the_story_does(share: float) -> None:
    assert len(STORY) == 25
    kept = sentences(condense(" ".join(STORY), round(words(" ".join(STORY)) * share), words))
    kept = [sentence.strip() for sentence in kept]
    assert kept[0] == LEAD[0]
    assert len(kept) >= 25 * share * 0.6
    assert not set(kept) & set(FILLER)


def test_all_but_filler_is_kept_when_all_but_filler_fits() -> None:
    story = [sentence for sentence in STORY if sentence not in FILLER]
    kept = condense(" ".join(STORY), words(" ".join(story)), words)
    assert sum(sentence in kept for sentence in story) >= len(story) - 1


def test_the_opening_is_kept_up_to_lead_share_of_the_budget() -> None:
    text = " ".join(f"Number{i} is here now." for i in range(100))
    kept = sentences(condense(text, 40, words, 0.3))
    assert "".join(kept[:3]) == "Number0 is here now. Number1 is here now. Number2 is here now. "
    assert condense(text, 8, words, 1.0) == "Number0 is here now. Number1 is here now."
    assert condense(text, 7, words, 1.0) == "Number0 is here now."


def test_a_sentence_that_recurs_is_taken_once_and_the_rest_of_the_budget_stays_unused() -> None:
    assert condense("The council voted on Tuesday. " * 2000, 500, words) == "The council voted on Tuesday."


def test_a_near_duplicate_is_passed_over() -> None:
    first, second = "The council of Norwick voted on Tuesday for the library.", "Nobody in the harbour was surprised."
    again = "The council of Norwick voted for the library on Tuesday!"
    other = "Engineers expect that the soft ground makes construction dear."
    text = " ".join([first, second, again, other, "It was very late when everybody went home at last."])
    assert condense(text, words(f"{first} {second} {other}"), words) == f"{first} {second} {other}"


def test_a_sentence_over_what_is_left_is_skipped_and_not_cut() -> None:
    text = "The council voted. The mayor left. " + "Library harbour council mayor " * 20 + ". The council went home."
    assert condense(text, 12, words) == "The council voted. The mayor left. The council went home."


def test_gaps_are_as_wide_as_the_widest_that_was_there() -> None:
    dull = "Zzz " * 30 + "zzz."
    text = f"Headline\n\nThe rain fell.   The sun came. {dull}\n\nThe rain, it came. {dull}"
    assert condense(text, 12, words) == "Headline\n\nThe rain fell. The sun came.\n\nThe rain, it came."
    chinese = "今天下雨。明天也下雨。" + "无" * 50 + "。今天晴。"
    assert condense(chinese, 18, len) == "今天下雨。明天也下雨。今天晴。"


def test_writing_without_spaces_is_compared_by_its_characters() -> None:
    about = "市议会周二投票决定建设新图书馆。", "图书馆将于明年春天开工建设。", "市议会说新图书馆将取代旧图书馆。"
    filler = "点击这里下载应用程序。"
    text = "".join([*about[:2], filler * 1, "请关注我们微信公众号。", about[2], "版权所有翻印必究。"])
    assert condense(text, len("".join(about)), len) == "".join(about)


def test_a_first_sentence_over_the_budget_is_cut_after_a_word() -> None:
    assert condense("one two three four five six. Seven.", 4, words) == "one two three four"


@COUNTS
@given(ONE_SENTENCE)
def test_a_cut_is_as_long_as_the_budget_allows(count: Callable[[str], int], sentence: str) -> None:
    openings = [sentence[: match.end()] for match in re.finditer(r"\S+", sentence)]
    costs = [count(opening) for opening in openings]
    for budget in range(costs[0], costs[-1] + 1, 1 + costs[-1] // 20):
        longest = max(opening for opening, cost in zip(openings, costs, strict=True) if cost <= budget)
        assert condense(sentence, budget, count) == longest


def test_text_without_white_space_is_cut_inside() -> None:
    assert condense("x" * 1000, 10, len) == "x" * 10
    assert condense("x" * 1000, 10, tokens) == "x" * 40


def test_a_tokenizer_that_counts_more_for_the_whole_than_for_its_parts_is_obeyed() -> None:
    def count(text: str) -> int:
        return words(text) + words(text) ** 2 // 20

    text = " ".join(STORY)
    assert 0 < count(condense(text, 100, count)) <= 100
    assert all(count(part) <= 100 for part in windows(text, 100, count))


@examples(3)
@COUNTS
@given(TEXTS, BUDGETS)
@example("rain! a.", 1)
def test_what_is_kept_are_sentences_in_their_order_within_the_budget(
    count: Callable[[str], int], text: str, budget: int
) -> None:
    kept = condense(text, budget, count)
    assert 0 < count(kept) <= budget
    if not is_selection(kept, text):
        # Cut is the first sentence, or the first with a word and a stop: dots and a menu's lines before it are none.
        pieces = [sentence.strip() for sentence in sentences(text)]
        says = [ends_with_stop(piece) and re.search(r"\w", piece) is not None for piece in pieces]
        first = says.index(True) if True in says else len(pieces) - 1
        # A line that is doubtful by its words, such as `rain!` in small letters, is passed over as well.
        article = Article(sentences(text.strip()), count, count(text.strip()) / len(text.strip()), shipped())
        first = max(first, pieces.index(article.first))
        assert any(piece.startswith(kept) and count(piece) > budget for piece in pieces[: first + 1])


@examples(3)
@COUNTS
@given(TEXTS, BUDGETS)
def test_windows_cover_everything_within_the_budget(count: Callable[[str], int], text: str, budget: int) -> None:
    parts = windows(text, budget, count)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(0 < count(part) <= budget for part in parts)


def test_windows_break_only_between_sentences_that_fit() -> None:
    text = "One two three. Four five! Six seven eight nine? Ten."
    assert windows(text, 5, words) == ["One two three. Four five!", "Six seven eight nine? Ten."]
    assert windows(text, 25, len) == ["One two three. Four five!", "Six seven eight nine?", "Ten."]
    assert windows(text, 3, words) == ["One two three.", "Four five! Six", "seven eight nine?", "Ten."]
    assert windows("x" * 25, 10, len) == ["x" * 10, "x" * 10, "x" * 5]
    assert windows(" \n", 5, words) == []


@pytest.mark.parametrize(
    "text",
    [
        "Ab. " * 50_000,
        "a. " * 66_000,
        "word " * 40_000,
        "x" * 200_000,
        ". " * 100_000,
        "\n" * 199_999 + "x",
        "天" * 200_000,
        "".join(f"{chr(0x4E00 + i)}{chr(0x5E00 + i)}。" for i in range(20_000)),
        " ".join(f"W{i} x{i % 97} y{i % 31}." for i in range(15_000)),
        "\n".join(" ".join(str(i * j) for j in range(30)) for i in range(1000)),
    ],
)
def test_no_text_takes_long(text: str) -> None:
    # Anything quadratic in the sentences or the characters would run into the suite's time-out.
    assert 0 < tokens(condense(text, 1000, tokens)) <= 1000
    assert all(tokens(part) <= 1000 for part in windows(text, 1000, tokens))


def test_a_text_is_counted_about_as_often_as_it_is_long() -> None:
    source = random.Random(0)
    vocabulary = [f"word{i}" for i in range(3000)]
    text = " ".join(" ".join(source.choices(vocabulary, k=15)).capitalize() + "." for _ in range(MAX_RANKED + 500))
    counted = 0

    def count(part: str) -> int:
        nonlocal counted
        counted += len(part)
        return tokens(part)

    condense(text, 2000, count)
    assert counted < 3 * len(text)
    counted = 0
    windows(text, 2000, count)
    assert counted < 4 * len(text)
    counted = 0
    condense(text.replace(".", ""), 2000, count)
    assert counted < 5 * len(text)


def test_of_more_sentences_than_are_ranked_the_late_ones_have_a_chance_too() -> None:
    text = " ".join(f"Topic{i} is about matter{i} only." for i in range(MAX_RANKED * 3))
    numbers = [int(n) for n in re.findall(r"Topic(\d+)", condense(text, MAX_RANKED * 4, words))]
    assert all(a < b for a, b in pairwise(numbers))
    assert numbers[-1] > MAX_RANKED * 1.5


def test_a_summary_that_ran_out_of_time_ends_with_its_last_finished_sentence() -> None:
    assert finished('The council voted. "It is late," said Mr. Maas. The mayor, Dr.') == (
        'The council voted. "It is late," said Mr. Maas.'
    )
    assert finished("The council") == ""
