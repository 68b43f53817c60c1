"""What is read: JSON lines from a file or standard input, a CSV file, or text and HTML files."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from batch.articles import MOST_BYTES, Item, Source, article, bad
from batch.csv_input import CsvFile
from batch.errors import Unusable
from batch.folder_input import SUFFIXES, Folder

STANDARD_INPUT = "-"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def source(path: str, text_field: str, id_field: str | None) -> Source:
    """The source that `path` names. Raises Unusable if there is none."""
    if path == STANDARD_INPUT:
        return JsonLines("standard input", None, text_field, id_field or "id")
    file = Path(path)
    try:
        if file.is_dir():
            return Folder(file.name or str(file), file)
        if file.suffix.lower() in SUFFIXES:
            file.open("rb").close()
            return Folder(file.name, file)
        if file.suffix.lower() == ".csv":
            return CsvFile.of(file, text_field, id_field)
        file.open("rb").close()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    return JsonLines(file.name, file, text_field, id_field or "id")


@dataclass(frozen=True)
class JsonLines:
    """A JSON object in each line; of its fields two are read. `path` None: standard input."""

    name: str
    path: Path | None
    text_field: str
    id_field: str

    def items(self) -> Iterator[Item]:
        with self._opened() as file:
            for number, line in enumerate(_lines(file), 1):
                if line.strip():
                    yield self._item(line, f"{self.name}, line {number}")

    def count(self, is_wanted: Callable[[], bool]) -> int | None:
        if self.path is None:
            return None
        number = 0
        with self.path.open("rb") as file:
            for line in _lines(file):
                number += bool(line.strip())
                if not is_wanted():
                    return None
        return number

    def _opened(self) -> IO[bytes]:
        return sys.stdin.buffer if self.path is None else self.path.open("rb")

    def _item(self, line: bytes, place: str) -> Item:
        if len(line) > MOST_BYTES:
            return bad(line, place, f"it is longer than {MOST_BYTES >> 20} MiB")
        try:
            record = json.loads(line.decode())
        except UnicodeDecodeError as error:
            return bad(line, place, f"not valid UTF-8 at byte {error.start + 1}")
        except json.JSONDecodeError as error:
            return bad(line, place, f"no JSON: {error.msg} at character {error.pos + 1}")
        except (ValueError, RecursionError):
            return bad(line, place, "no JSON that can be read: nested too deeply, or a number of too many digits")
        if not isinstance(record, dict):
            return bad(line, place, "no JSON object")
        identity = record.get(self.id_field)
        if self.text_field not in record:
            # Known by its own id, where it has a good one.
            named = None if identity in (None, "") else article(identity, "", place, line)
            return bad(line, place, f"no field {self.text_field!r}", named.id if named else None)
        return article(identity, record[self.text_field], place, line)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Each line without its end; of one that is too long its beginning, which is longer than MOST_BYTES."""
    mark = _BYTE_ORDER_MARK
    while line := file.readline(MOST_BYTES + 1):
        yield line.rstrip(b"\r\n").removeprefix(mark)
        mark = b""
        while len(line) > MOST_BYTES and not line.endswith(b"\n"):
            line = file.readline(MOST_BYTES + 1)
