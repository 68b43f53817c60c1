"""Articles out of a CSV file with a header row (RFC 4180)."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from batch.articles import MOST_BYTES, Item, article, bad
from batch.errors import Unusable

DEFAULT_ID_FIELD = "id"


@dataclass(frozen=True)
class CsvFile:
    """`text` and `id` are the columns' positions; no `id`: each article has one made of its text."""

    name: str
    path: Path
    text: int
    id: int | None

    @classmethod
    def of(cls, path: Path, text_field: str, id_field: str | None) -> Self:
        """Raises Unusable where the header lacks a column, and OSError. An empty file has no article."""
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            try:
                header = next(csv.reader(file), None)
            except csv.Error as error:
                raise Unusable(f"{path.name}: no CSV: {error}") from None
        if header is None:
            return cls(path.name, path, 0, None)
        for name in filter(None, (text_field, id_field)):
            if name not in header:
                shown = ", ".join(header)[:200].encode("utf-8", "replace").decode()
                raise Unusable(f"{path.name}: no column {name!r}; there are: {shown}")
        wanted = id_field or DEFAULT_ID_FIELD
        return cls(path.name, path, header.index(text_field), header.index(wanted) if wanted in header else None)

    def items(self) -> Iterator[Item]:
        for line, row in self._rows():
            place = f"{self.name}, line {line}"
            if isinstance(row, csv.Error):
                # With its number: there is nothing else that it could be known by.
                yield bad(place.encode(), place, f"no CSV: {row}")
            elif row:
                yield self._item(row, place)

    def count(self, is_wanted: Callable[[], bool]) -> int | None:
        number = 0
        for _, row in self._rows():
            number += bool(row)
            if not is_wanted():
                return None
        return number

    def _rows(self) -> Iterator[tuple[int, list[str] | csv.Error]]:
        """The rows below the header, each with the number of its last line. Bad UTF-8 becomes surrogates."""
        csv.field_size_limit(MOST_BYTES)
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            while True:
                try:
                    row: list[str] | csv.Error | None = next(rows, None)
                except csv.Error as error:
                    row = error
                if row is None:
                    return
                yield rows.line_num, row

    def _item(self, row: list[str], place: str) -> Item:
        raw = "\0".join(row).encode("utf-8", "surrogateescape")
        if self.text >= len(row):
            return bad(raw, place, f"the row has {len(row)} fields, the text is number {self.text + 1}")
        try:
            row[self.text].encode()
        except UnicodeEncodeError:
            return bad(raw, place, "not valid UTF-8")
        identity = row[self.id] if self.id is not None and self.id < len(row) else None
        return article(identity, row[self.text], place, raw)
