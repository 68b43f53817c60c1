import time

import pytest

from functions.audio.normalization import normalized


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("This is **very** *important*.", "This is very important."),
        ("***All of it*** and __this__ and _that_.", "All of it and this and that."),
        ("# Title\n\nText", "Title\n\nText"),
        ("## Two\n> Said he\n- one\n* two\n+ three", "Two\nSaid he\none\ntwo\nthree"),
        ('See [our report](https://example.com/a?b=1 "title") now.', "See our report now."),
        ("![A bridge](https://example.com/bridge.png)", "A bridge"),
        ("Read https://www.example.com/news/2026/11/a-very-long-path?utm=x#top today.", "Read example.com today."),
        ("Read it at https://example.com.", "Read it at example.com."),
        ("Read <https://example.com/x>", "Read example.com"),
        ("Call `print(x)` twice", "Call print(x) twice"),
        ("```python\nprint(1)\n```\nDone", "\nprint(1)\n\nDone"),
        ("Well done \U0001f44d\U0001f3fd!", "Well done  !"),
        ("One\n\n---\n\nTwo", "One\n\n\n\nTwo"),
        ("~~gone~~ here", "gone here"),
        # What only looks like a mark is read.
        ("5 * 3 * 2 = 30", "5 * 3 * 2 = 30"),
        ("2*3*4", "2*3*4"),
        ("the name snake_case_name", "the name snake_case_name"),
        ("It costs $5 and #news is a tag", "It costs $5 and #news is a tag"),
        ("a [note] and (more)", "a [note] and (more)"),
        ("minus -5 and C++", "minus -5 and C++"),
        ("1. First\n2. Second", "1. First\n2. Second"),
        ("me@example.com", "me@example.com"),
        # Of nothing but marks the marks are read.
        ("\U0001f44d", "\U0001f44d"),
        ("***", "***"),
    ],
)
def test_a_text_is_read_as_a_person_would(written: str, spoken: str) -> None:
    assert normalized(written) == spoken


LINES = ["-", "=", "- -", "-|", ":-", "| ---", "---|", "# ", "> ", "- "]
MARKS = ["*a", "**", "_a_", "`", "[a](", "[", "https://", "~~a", "\U0001f44d"]


@pytest.mark.parametrize("mark", [*LINES, *MARKS])
def test_twenty_thousand_characters_of_marks_take_no_time_to_speak_of(mark: str) -> None:
    begun = time.thread_time()
    for end in ("", "x", " ", "\n"):
        normalized((mark * 20_000)[:20_000] + end)
        normalized(f"{mark * 100}{end}\n" * 40)
    assert time.thread_time() - begun < 2
