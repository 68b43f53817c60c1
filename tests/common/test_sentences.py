import pytest
from hypothesis import given

from common.sentences import finished, sentences
from tests.strategies import examples, joined

# A mark in front of every piece but the first: where the splitter must cut, and nowhere else.
CUT = "|"


def cut(text: str) -> str:
    return CUT.join(sentences(text))


@pytest.mark.parametrize(
    "marked",
    [
        "Ms. Smith met Mr. Jones. |Dr. Lee and Prof. Wu came with Gen. Powell, Sen. Sanders and Rep. Ryan.",
        "She lives in St. Louis. |He moved to Mt. Vernon.",
        "It costs more, e.g. Paris is dear, i.e. France too. |London is not.",
        "See No. 5 and Fig. 3. |He said no. |Nobody asked.",
        "Boston vs. Denver began on Jan. 5 and ended on Feb. 6. |Nobody won.",
        "MR. SMITH WENT HOME. |THE END.",
        "Then-Gov. Walker spoke (Mr. Evers did not). |They left.",
        "He holds a Ph.D. in law. |She does not.",
    ],
)
def test_an_abbreviation_does_not_end_a_sentence(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "The U.S. Army is in the U.K. Parliament.",
        "He left the U.S. |The army stayed.",
        "He works at Apple Inc. |She does not.",
        "Apple Inc. Chief Tim Cook spoke.",
        "They met at 5 p.m. Monday.",
        "They met at 5 p.m. |It was late.",
        "There were apples, pears, etc. |But nobody ate.",
        'It closed at 9 p.m. |"The cat is out," he said.',
        "Martin Luther King Jr. Day is a holiday. |So said King Jr. |He was right.",
        "He came with J. A. Smith.",
        "He lacks vitamin C. |The doctor said so.",
    ],
)
def test_an_abbreviation_ends_a_sentence_only_before_a_typical_opener(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "J. K. Rowling met George W. Bush. |J.R.R. Tolkien did not.",
        "It grew 3.5 percent to 1.000,50 euros, or 1,000.50. |It fell later.",
        "Version 2.1.3 is out. |Python 3.11. |Next.",
        "Amazon.com and Booking.com fell. |Node.js rose.",
        "Write to a.b@example.org. |Read https://example.org/a.b?c=d.e! |Go.",
        "It began in 2019. |It ended at 14. |Nobody saw it.",
        "Er kam am 3. Oktober im 19. Jahrhundert. |Sie ging.",
    ],
)
def test_stops_inside_names_and_numbers_do_not_end_a_sentence(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "What?! |No way!!! |Well... |Then he left.",
        "He waited... and waited… and left.",
        "He waited . . . and left. |He thought. . . . |Then he came.",
        '"We are late." |He left.',
        "“Are we late…?” she asked. |“We are.” |He left.",
        "‘Go!’ he said. |(He left.) |[He came back.] |It was late.",
        "Il dit : « On est en retard. » |Il partit.",
        "„Wir sind spät.“ |Er ging. |»Komm!« |Sie kam.",
        "**It is true.** |It ended in 2019.[3] |Then it began.",
        "iPhone sales fell. |iPhone prices rose.",
    ],
)
def test_a_run_of_stops_and_what_closes_a_quotation_stay_together(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "Headline without a stop\n\n|The text\nis wrapped. |It ends.",
        "Headline\r\n \r\n|The text.",
        "Shopping:\n|- apples\n|- pears",
        "Reasons:\n|1. It is cheap.\n|2. It is good. |3. It is here.",
        "a. First item\n|b. Second item",
        "Headline\n|" + "This is a paragraph on a line of its own " * 4 + "\n|Next.",
        "all is in lower case. |so it goes.",
        "\n \n Leading white space stays. |Here.\n\n",
    ],
)
def test_lines(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize(
    "marked",
    [
        "今天下雨。|明天也下雨！|后天晴？|“好。”|他说！？|真的。",
        "他问？|“好。”",
        "「遅れます。」と彼は言った。|次です。|３．５倍．|終わり｡|はい。",
        "वह आया। |वह गया।|अंत॥",
        "هل جاء؟ |نعم۔ |لا!",
        "Նա եկավ։ |Ոչ։",
        "ሰላም። |ደህና።|አዎ።",
        "គាត់មក។ |គាត់ទៅ។",
        "Это А. С. Пушкин. |Он поэт.",
        "ეს არის. |ის მოვიდა.",
    ],
)
def test_other_scripts(marked: str) -> None:
    assert cut(marked.replace(CUT, "")) == marked


@pytest.mark.parametrize("text", [" ", "\n\n", "a", ".", "...", "。", '"'])
def test_a_text_of_hardly_anything_is_one_piece(text: str) -> None:
    assert sentences(text) == [text]


def test_an_empty_text_has_no_pieces() -> None:
    assert sentences("") == []


PIECES = [
    "a",
    "B",
    "Mr",
    "U.S",
    "The ",
    "3",
    ".",
    ". ",
    "!",
    "?",
    "…",
    "。",
    "।",
    "\n",
    "\n\n",
    " ",
    '"',
    "“",
    "»",
    ")",
]


@examples(2)
@given(joined(PIECES, 300))
def test_the_pieces_are_the_text_and_none_is_blank(text: str) -> None:
    pieces = sentences(text)
    assert "".join(pieces) == text
    assert all(piece.strip() for piece in pieces) or not text.strip()
    assert all(piece == piece.lstrip() for piece in pieces[1:])
    assert text.startswith(finished(text))


@pytest.mark.parametrize(
    "unit",
    [
        ". ",
        '"',
        '."',
        '." ',
        "a.",
        "a. ",
        "A. ",
        "Ab. ",
        "[1]",
        ".[1]",
        ". »",
        "\n",
        "\n ",
        "\n a",
        " \n",
        "(",
        "- ",
        "\n- a",
    ],
)
def test_no_input_takes_more_than_linear_time(unit: str) -> None:
    # Anything quadratic in 200,000 characters would run into the suite's time-out.
    text = unit * (200_000 // len(unit))
    assert "".join(sentences(text)) == text
    finished(text)


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("It rained. It sto", "It rained."),
        ("It rained. It stopped.", "It rained. It stopped."),
        ("It rained.  \n", "It rained."),
        ('"It rained." She said "', '"It rained."'),
        ("It rained. She met Mr.", "It rained."),
        ("It rained. It grew by 3.", "It rained."),
        ("It rained. 2.", "It rained."),
        ("It rained in 2019.", "It rained in 2019."),
        ("It rained. She met George W.", "It rained."),
        ("It rained. She left the U.S.", "It rained."),
        ("She left the U.S. The rain", "She left the U.S."),
        ("It rained. See No.", "It rained."),
        ("It rained. He said no.", "It rained. He said no."),
        ("“Did it rain?” she", ""),
        ("It rained...", "It rained..."),
        ("Headline\n\nIt ra", ""),
        ("Headline\n\nIt rained! It", "Headline\n\nIt rained!"),
        ("今天下雨。明天", "今天下雨。"),
        ("It rai", ""),
        ("", ""),
    ],
)
def test_an_opening_is_finished_by_a_stop_that_belongs_to_no_abbreviation(text: str, opening: str) -> None:
    assert finished(text) == opening
