"""OUT: whole lines only, one run at a time, and nothing done twice."""

import json
from pathlib import Path

import pytest

from batch.articles import digest
from batch.errors import Unusable
from batch.results import opened

DONE = b'{"id": "a", "summarize": {}}\n'
FAILED = b'{"id": "b", "problems": {"summarize": {"title": "no"}}}\n'
UNREAD = b'{"id": 3, "problem": {"title": "no"}}\n'


def begin(out: Path, content: bytes, *, retry_failed: bool = False) -> tuple[set[int], int, bytes]:
    """What a run finds in an OUT with `content`, and what it leaves of it."""
    out.write_bytes(content)
    with opened(out, ["summarize"], retry_failed=retry_failed) as results:
        return results.done, results.failed, out.read_bytes()


@pytest.mark.parametrize("torn", [b"", b"{", b'{"id": "x', b'{"id": "x", "summarize": {"summary": "\xc3', FAILED[:-1]])
def test_what_a_killed_run_has_left_of_a_line_is_cut_off(torn: bytes, tmp_path: Path) -> None:
    done, failed, left = begin(tmp_path / "out", DONE + FAILED + UNREAD + torn)
    assert left == DONE + FAILED + UNREAD
    assert done == {digest("a"), digest("b"), digest("3")}
    assert failed == 2


@pytest.mark.parametrize(
    "content", [b"my notes", b"my notes\n", b"[1]\n", b'{"text": "x"}\n', DONE + b"\n", b"\xff\xfe\n"]
)
def test_a_file_that_is_no_output_of_a_run_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="no line of a run"):
        begin(tmp_path / "out", content)
    assert (tmp_path / "out").read_bytes() == content


def test_what_failed_is_done_once_more_if_that_is_asked_for(tmp_path: Path) -> None:
    done, failed, left = begin(tmp_path / "out", FAILED + DONE + UNREAD + b'{"id', retry_failed=True)
    assert left == DONE
    assert (done, failed) == ({digest("a")}, 0)


def test_an_output_of_fewer_functions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(DONE)
    with pytest.raises(Unusable, match="line 1 has no extract: for another --do give another OUT"):
        opened(tmp_path / "out", ["summarize", "extract"], retry_failed=False).__enter__()


def test_a_second_run_on_the_same_output_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "out", ["summarize"], retry_failed=False) as results:
        results.add({"id": "a", "summarize": {"summary": "Zürich"}})
        with pytest.raises(Unusable, match="in use"):
            opened(tmp_path / "out", ["summarize"], retry_failed=False).__enter__()
    with opened(tmp_path / "out", ["summarize"], retry_failed=False) as results:
        assert results.done == {digest("a")}
    assert json.loads((tmp_path / "out").read_bytes()) == {"id": "a", "summarize": {"summary": "Zürich"}}


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot be written: there is no folder"):
        opened(tmp_path / "nowhere" / "out", ["summarize"], retry_failed=False).__enter__()
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unusable, match="cannot be written: Is a directory"):
        opened(tmp_path / "folder", ["summarize"], retry_failed=False).__enter__()
