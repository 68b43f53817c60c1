"""What is read: every article with its id, and a clear reason for each that cannot be."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch import folder_input, inputs
from batch.articles import Article, Item, Unreadable
from batch.errors import Unusable

PAGE = """<html><head><title>News</title></head><body><nav><a href="/">Home</a> <a href="/all">All news</a></nav>
<article><h1>A library is built</h1><p>The city council voted on Tuesday to build a new library on the old harbour,
and construction will begin next spring.</p><p>Residents had asked for a place to read since the last branch closed
in 2019. The mayor said the plan would cost 14 million euros.</p></article>
<footer>Subscribe to our newsletter! Cookies.</footer></body></html>"""


def read(path: Path, text_field: str = "text", id_field: str | None = None) -> list[Item]:
    source = inputs.source(str(path), text_field, id_field)
    items = list(source.items())
    # CSV counts a row that is wrong as well.
    assert source.count(lambda: True) == len(items)
    return items


def jsonl(folder: Path, content: bytes, **others: str) -> list[Item]:
    path = folder / "in.jsonl"
    path.write_bytes(content)
    return read(path, **others)


def csv(folder: Path, content: bytes, **others: str) -> list[Item]:
    path = folder / "in.csv"
    path.write_bytes(content)
    return read(path, **others)


def reason(item: Item) -> str:
    assert isinstance(item, Unreadable)
    return str(item.problem["detail"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"not json", "in.jsonl, line 1: no JSON: Expecting value at character 1"),
        (b'{"id": "a", "text": "x"', "in.jsonl, line 1: no JSON: Expecting ',' delimiter at character 24"),
        (b'{"id": "a", "text": "\xff"}', "in.jsonl, line 1: not valid UTF-8 at byte 22"),
        (b"[1]", "in.jsonl, line 1: no JSON object"),
        (b'{"id": "a"}', "in.jsonl, line 1: no field 'text'"),
        (b'{"id": "a", "text": 7}', "in.jsonl, line 1: the text is no string"),
        (b'{"id": "a", "text": "\\ud800"}', "in.jsonl, line 1: the text is not valid Unicode"),
        (b'{"id": 1.5, "text": "x"}', "in.jsonl, line 1: the id is neither a string nor a whole number"),
        (b'{"id": true, "text": "x"}', "in.jsonl, line 1: the id is neither a string nor a whole number"),
        (b'{"id": "\\ud800", "text": "x"}', "in.jsonl, line 1: the id is over 512 characters, or not valid Unicode"),
        (
            b"[" * 100_000,
            "in.jsonl, line 1: no JSON that can be read: nested too deeply, or a number of too many digits",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_told_and_the_next_one_is_read(line: bytes, told: str, tmp_path: Path) -> None:
    bad, good = jsonl(tmp_path, line + b'\n{"id": "b", "text": "fine"}')
    assert reason(bad) == told
    assert good == Article("b", "fine", "in.jsonl, line 2")


def test_a_line_is_known_by_its_id_or_by_what_it_holds(tmp_path: Path) -> None:
    content = (
        b'\xef\xbb\xbf{"id": 7, "text": "x", "url": "y"}\n\n{"text": "z"}\n{"id": "", "text": "z"}\n{"id": "c"}\nbad\n'
    )
    seven, made, same, named, bad = jsonl(tmp_path, content)
    assert seven == Article(7, "x", "in.jsonl, line 1")
    assert isinstance(made.id, str)
    assert made.id.startswith("text-")
    assert made.id == same.id
    assert named.id == "c"
    (moved,) = jsonl(tmp_path, b"bad\n")
    assert moved.id == bad.id


def test_a_line_that_is_longer_than_memory_should_bear_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MOST_BYTES", 100)
    long = json.dumps({"id": "a", "text": "x" * 1000}).encode()
    bad, good = jsonl(tmp_path, long + b'\n{"id": "b", "text": "y"}\n')
    assert "longer than" in reason(bad)
    assert good.id == "b"


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    assert jsonl(tmp_path, b'{"key": "a", "body": "x"}', text_field="body", id_field="key") == [
        Article("a", "x", "in.jsonl, line 1")
    ]
    assert csv(tmp_path, b"key,body\na,x\n", text_field="body", id_field="key") == [Article("a", "x", "in.csv, line 2")]


def test_rows_of_csv_are_read_with_their_quotes_and_line_ends(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,url,text\r\na,u,"One, ""two""\r\nthree"\r\n\r\nb,u\r\nc,u,\xff\r\n,u,no id\r\n'
    one, short, bad, made = csv(tmp_path, content)
    assert one == Article("a", 'One, "two"\r\nthree', "in.csv, line 3")
    assert reason(short) == "in.csv, line 5: the row has 2 fields, the text is number 3"
    assert reason(bad) == "in.csv, line 6: not valid UTF-8"
    assert isinstance(made, Article)
    assert str(made.id).startswith("text-")


def test_a_csv_file_without_the_column_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="no column 'text'; there are: id, body"):
        csv(tmp_path, b"id,body\na,x\n")
    with pytest.raises(Unusable, match="no column 'key'"):
        csv(tmp_path, b"id,text\na,x\n", id_field="key")
    assert csv(tmp_path, b"") == []
    assert jsonl(tmp_path, b"") == []


def test_a_folder_is_read_with_the_folders_below_it(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.TXT").write_bytes(b"\xef\xbb\xbfTwo.")
    (tmp_path / "one.txt").write_bytes(b"One.")
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    (tmp_path / "empty.txt").write_bytes(b" \n")
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "menu.html").write_text("<html><body></body></html>", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"x")
    found = {item.id: item for item in read(tmp_path)}
    assert found["one.txt"] == Article("one.txt", "One.", "one.txt")
    assert found["b/two.TXT"] == Article("b/two.TXT", "Two.", "b/two.TXT")
    assert reason(found["bad.txt"]) == "bad.txt: not valid UTF-8 at byte 3"
    assert reason(found["empty.txt"]) == "empty.txt: the file is empty"
    assert reason(found["menu.html"]) == "menu.html: no article was found in the page"
    page = found["page.html"]
    assert isinstance(page, Article)
    assert "14 million euros" in page.text
    assert "newsletter" not in page.text
    assert len(found) == 6
    (single,) = read(tmp_path / "one.txt")
    assert single == found["one.txt"]


def test_html_without_what_reads_it_ends_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trafilatura", None)
    (tmp_path / "page.html").write_text(PAGE, encoding="utf-8")
    with pytest.raises(Unusable) as raised:
        read(tmp_path)
    assert raised.value.lines == (folder_input.INSTALL,)


@given(content=st.binary(max_size=300))
def test_no_bytes_stop_the_reading(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    lines = jsonl(folder, content + b'\n{"id": "last", "text": "x"}\n')
    assert isinstance(lines[-1], Article)
    # A quote that is never closed takes in the rest.
    for item in csv(folder, b"id,text\n" + content):
        assert item.id
