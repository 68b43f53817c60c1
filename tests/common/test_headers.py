import pytest

from common.http.headers import elements, qualities, unquoted


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a", [("a", {})]),
        ("a, b", [("a", {}), ("b", {})]),
        ("a;q=0.5;LEVEL=1, b", [("a", {"q": "0.5", "level": "1"}), ("b", {})]),
        ('a; x="1, 2; 3", b', [("a", {"x": "1, 2; 3"}), ("b", {})]),
        (r'a; x="say \"no, no\"", b', [("a", {"x": 'say "no, no"'}), ("b", {})]),
        # A quoted string that does not end reaches to the end of the line.
        ('a; x="1, b', [("a", {"x": '"1, b'})]),
        ("", [("", {})]),
        (" , ", [("", {}), ("", {})]),
        ("a;", [("a", {"": ""})]),
    ],
)
def test_a_list_is_cut_at_commas_and_its_elements_at_semicolons_outside_of_quotes(
    line: str, found: list[tuple[str, dict[str, str]]]
) -> None:
    assert list(elements([line])) == found


@pytest.mark.parametrize(
    ("value", "plain"), [('"a"', "a"), ("a", "a"), ('"', '"'), ('""', ""), (r'"a\"b"', 'a"b'), (r'"\\"', "\\")]
)
def test_quotes_are_taken_off(value: str, plain: str) -> None:
    assert unquoted(value) == plain


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["text/vtt;q=0, audio/mpeg"], {"text/vtt": 0.0, "audio/mpeg": 1.0}),
        (["TEXT/EVENT-STREAM"], {"text/event-stream": 1.0}),
        (["text/*; q=0.3", "*/*;q=0.1"], {"text/*": 0.3, "*/*": 0.1}),
        (["a/b;q=2, c/d;q=-1"], {"a/b": 1.0, "c/d": 0.0}),
        (["a/b;q=high, c/d;q=nan, e/f;q=" + "9" * 5000], {"a/b": 1.0, "c/d": 1.0, "e/f": 1.0}),
        (["a/b;q=0.5, a/b"], {"a/b": 0.5}),
        ([], {}),
    ],
)
def test_media_types_have_their_qualities(lines: list[str], found: dict[str, float]) -> None:
    assert qualities(lines) == found
