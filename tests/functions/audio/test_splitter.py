"""Long texts in parts: that nothing of them is lost, that no part is too long, and where they are cut."""

import time
import unicodedata
from random import Random
from xml.sax.saxutils import escape

import pytest
import regex

from functions.audio.splitter import MAX_BYTES, PART_BYTES, size, split

# Linear work on 20,000 characters takes some 20 ms.
BOUND_SECONDS = 2.0
FAMILY = "👨\u200d👩\u200d👧\u200d👦"
UNKIND = {
    "no spaces": "字" * 5000,
    "one word": "a" * 20_000,
    "only ampersands": "&" * 20_000,
    "markup": "</prosody><voice name='x'>" * 700,
    "families": FAMILY * 2500,
    "one grapheme over the limit": "e" + "\u0301" * 19_000,
    "new lines": "\n" * 20_000,
    "commas": ",;" * 10_000,
    "commas and spaces": ", " * 10_000,
    "dashes": " - " * 6000,
    "stops": ". " * 10_000,
    "Hindi": "यह एक छोटा वाक्य है। " * 900,
    "Thai": "ประโยคนี้ไม่มีช่องว่างระหว่างคำ" * 600,
    "Korean jamo": "\u1112\u1161\u11ab" * 6000,
    "flags": "🇩🇪🇫🇷" * 4000,
    "lone combining marks": "\u0301" * 20_000,
}
PIECES = [
    "word",
    " ",
    "\n",
    "\n\n",
    ". ",
    ", ",
    "。",
    "，",
    "字",
    "&",
    "<",
    FAMILY,
    "e\u0301",
    "🇩🇪",
    "\u1112\u1161\u11ab",
    "x" * 300,
    "\u0301",
    "🏽",
    "\r\n",
    "?",
    "  ",
]


def check(text: str, part_bytes: int = PART_BYTES, max_bytes: int = MAX_BYTES) -> list[str]:
    parts = split(text, part_bytes, max_bytes)
    assert "".join(parts) == text
    assert all(0 < size(part) <= max_bytes for part in parts)
    return parts


@pytest.mark.parametrize("name", UNKIND)
def test_unkind_texts_are_kept_whole_within_the_limit_and_in_time(name: str) -> None:
    begun = time.perf_counter()
    check(UNKIND[name])
    assert time.perf_counter() - begun < BOUND_SECONDS


@pytest.mark.parametrize("seed", range(200))
def test_any_text_is_the_sum_of_its_parts_and_no_grapheme_is_cut(seed: int) -> None:
    random = Random(seed)
    text = "".join(random.choices(PIECES, k=random.randint(1, 400)))
    max_bytes = random.choice([64, 200, 1000, MAX_BYTES])
    parts = check(text, random.randint(32, max_bytes), max_bytes)
    borders: set[int] = set()
    for part in parts[:-1]:
        borders.add(max(borders, default=0) + len(part))
    graphemes = {found.start() for found in regex.finditer(r"\X", text)}
    assert borders <= graphemes


def test_the_size_is_what_stands_in_the_ssml() -> None:
    text = "5 < 6 && 7 > 3, \"quoted\" & 'single' — 字 👍"
    assert size(text) == len(escape(text).encode())


def test_a_short_text_is_one_part() -> None:
    assert split("Hello. World.") == ["Hello. World."]


def test_parts_end_with_sentences_and_are_about_equal() -> None:
    text = "Seven words are in this short sentence. " * 110
    parts = check(text)
    assert len(parts) == 3
    assert all(part.rstrip().endswith("sentence.") for part in parts)
    assert max(map(size, parts)) - min(map(size, parts)) <= 80


def test_a_sentence_over_the_limit_is_cut_at_clauses() -> None:
    parts = check("and so on, " * 30, 100, 100)
    assert all(part.endswith("and so on, ") for part in parts)


def test_a_clause_over_the_limit_is_cut_at_words() -> None:
    parts = check("again " * 50, 100, 100)
    assert all(part.endswith("again ") for part in parts)


def test_a_word_over_the_limit_is_cut_between_graphemes_only() -> None:
    assert {unicodedata.category(part[0]) for part in check("e\u0301" * 200, 100, 100)} == {"Ll"}
    assert all(len(part) % len(FAMILY) == 0 for part in check(FAMILY * 30, 100, 100))


def test_a_grapheme_over_the_limit_is_cut_between_code_points() -> None:
    assert len(check("e" + "\u0301" * 200, 100, 100)) > 1


def test_chinese_is_cut_at_its_stops() -> None:
    parts = check("这是一句话，很长的。" * 500)
    assert all(part.endswith("。") for part in parts)
