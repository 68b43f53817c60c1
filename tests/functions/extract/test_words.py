"""Where the words of a text begin and end, in whatever form its letters are written."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.extract.gliner import GlinerEngine
from functions.extract.words import MAX_WORD_CHARACTERS, Splitter, Word, seen
from tests.functions.extract.conftest import extract

# The pattern of the package's own splitter.
PACKAGE = re.compile(r"\w+(?:[-_]\w+)*|\S")


def split_words(text: str) -> list[Word]:
    """All words, taken three at a time."""
    splitter = Splitter(text)
    return [word for words in iter(lambda: splitter.take(3), []) for word in words]


def test_words_are_cut_as_gliner_cuts_them() -> None:
    words = split_words("Jean-Luc's e-mail_box, 3.5%…")
    assert [word.text for word in words] == ["Jean-Luc", "'", "s", "e-mail_box", ",", "3", ".", "5", "%", "…"]


@given(st.text(st.characters(exclude_categories=["M", "Cf", "Cs"]), max_size=MAX_WORD_CHARACTERS))
def test_so_is_every_text_without_marks_and_format_characters(text: str) -> None:
    assert [word.text for word in split_words(text)] == PACKAGE.findall(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Jose\u0301 Mun\u0303oz", ["Jose\u0301", "Mun\u0303oz"]),
        ("Jose\u0301-Luis_a\u0301.", ["Jose\u0301-Luis_a\u0301", "."]),
        ("हिन्दी में नरेन्द्र", ["हिन्दी", "में", "नरेन्द्र"]),
        ("كِتَاب", ["كِتَاب"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("Mer\u00adkel", ["Mer\u00adkel"]),
        ("1\ufe0f\u20e3", ["1\ufe0f\u20e3"]),
        # What stands beside no letter is as the package has it.
        ("a\u200bb x\u00ad \u0301 👩\u200d🚀", ["a", "\u200b", "b", "x", "\u00ad", "\u0301", "👩", "\u200d", "🚀"]),
    ],
)
def test_a_word_goes_on_behind_a_mark_and_behind_what_shows_nothing(text: str, words: list[str]) -> None:
    assert [word.text for word in split_words(text)] == words


@given(st.text(st.characters(codec="utf-8", max_codepoint=0x24F), max_size=80))
def test_a_decomposed_text_has_the_words_of_the_composed_one(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    expected = [word.text for word in split_words(composed)]
    words = split_words(decomposed)
    assert [unicodedata.normalize("NFC", word.text) for word in words] == expected
    assert [seen(word.text) for word in words] == list(map(seen, expected))


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("Jose\u0301", "José"),
        ("José", "José"),
        (unicodedata.normalize("NFD", "한국"), "한국"),
        ("Mer\u00adkel", "Merkel"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u00ad", "\u00ad"),
        ("\u00ad\u00ad", "\u00ad\u00ad"),
        # Other characters of the same meaning are left to the tokenizer.
        ("\u212b", "\u212b"),
        ("ﬁ", "ﬁ"),
    ],
)
def test_the_model_is_shown_letters_in_one_form(word: str, shown: str) -> None:
    assert seen(word) == shown


def test_a_long_word_is_not_cut_between_a_letter_and_its_mark() -> None:
    text = "a\u0301" * 1000
    words = split_words("x" + text)
    assert "".join(word.text for word in words) == "x" + text
    assert not [word for word in words if word.text.startswith("\u0301") or len(word.text) > MAX_WORD_CHARACTERS]
    # More marks than a piece has characters: somewhere it is cut.
    assert len(split_words("a" + "\u0301" * 1000)) == 11


NAMES = "José Muñoz met François in São Paulo"


@pytest.mark.parametrize("text", [NAMES, unicodedata.normalize("NFD", NAMES)], ids=["composed", "decomposed"])
def test_names_are_found_in_either_form_with_offsets_into_the_text_as_it_was_sent(
    gliner: GlinerEngine, text: str
) -> None:
    found = extract(gliner, text, labels=["Person", "Location"], threshold=0.3).entities
    names = [unicodedata.normalize("NFC", entity.text) for entity in found]
    assert names == ["José Muñoz", "François", "São Paulo"]
    assert all(text[entity.start : entity.end] == entity.text for entity in found)


def test_a_label_means_the_same_in_either_form(gliner: GlinerEngine) -> None:
    composed, decomposed = "Société", unicodedata.normalize("NFD", "Société")
    assert gliner.prompt([composed]).before == gliner.prompt([decomposed]).before


def test_every_character_but_white_space_is_in_a_word() -> None:
    text = "今日は" * 500 + " Tim\tCook 🙂 " + "x" * 1000
    words = split_words(text)
    assert "".join(word.text for word in words) == "".join(text.split())
    assert all(text[word.start : word.end] == word.text for word in words)
    assert max(len(word.text) for word in words) <= MAX_WORD_CHARACTERS
