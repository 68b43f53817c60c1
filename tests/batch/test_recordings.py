"""Files of sound: whole, in their folder, and one for each id."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.errors import Ended
from batch.recordings import Recordings

IDS = st.text(st.characters(exclude_categories=["Cs"])) | st.integers()


async def chunks(*some: bytes) -> AsyncIterator[bytes]:
    for one in some:
        yield one


@given(identity=IDS, other=IDS)
def test_the_name_of_any_id_is_a_file_name_of_its_own(identity: str | int, other: str | int) -> None:
    recordings = Recordings(Path("news/out.jsonl"))
    path = recordings.path(identity, ".mp3")
    assert path.parent == Path("news/out-audio")
    assert path.name.isascii()
    assert "/" not in path.name
    assert not path.name.startswith((".", "-"))
    assert len(path.name) <= 120
    assert recordings.told(path) == f"out-audio/{path.name}"
    if str(identity) != str(other):
        assert path.name.lower() != recordings.path(other, ".mp3").name.lower()


@pytest.mark.parametrize(
    "identity", ["../../etc/passwd", "/etc/passwd", "..", "", "a\0b", "CON", "a" * 500, "Zürich ☂"]
)
def test_an_odd_id_leads_nowhere_else(identity: str, tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "out.jsonl")
    path = recordings.path(identity, ".mp3")
    assert asyncio.run(recordings.keep(path, chunks(b"one", b"two"))) == 6
    assert [file.read_bytes() for file in (tmp_path / "out-audio").iterdir()] == [b"onetwo"]


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path / "out.jsonl")

    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(recordings.keep(recordings.path("a", ".mp3"), broken()))
    assert list((tmp_path / "out-audio").iterdir()) == []


def test_a_folder_that_cannot_be_made_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "out-audio").touch()
    recordings = Recordings(tmp_path / "out.jsonl")
    with pytest.raises(Ended, match="cannot be written"):
        asyncio.run(recordings.keep(recordings.path("a", ".mp3"), chunks(b"x")))
