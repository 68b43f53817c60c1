"""What the header of a GGUF says: its values, and the shapes of its tensors. No weights are read.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

# Whatever `read` may raise for a file that is none, or damaged.
UNREADABLE = (OSError, ValueError, KeyError, struct.error)

_MAGIC = b"GGUF"
# A longer array means a damaged file: the largest vocabularies have a quarter of a million words.
_LONGEST = 1 << 22
# An array of numbers up to this length is returned: one number for each layer, not one for each word.
_LISTED = 4096
_MOST_VALUES, _MOST_TENSORS, _MOST_DIMENSIONS = 10_000, 100_000, 4
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


@dataclass(frozen=True)
class Tensor:
    """`shape`: rows first, as GGUF has it; `kind` is one of ggml.h's enum ggml_type; `offset` counts from `data`."""

    shape: tuple[int, ...]
    kind: int
    offset: int = 0


@dataclass(frozen=True)
class Header:
    """`values` by name: numbers, texts, lists of numbers; None for an array of texts or of very many numbers."""

    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    # Where the data begins in the file.
    data: int = 0

    def text(self, name: str) -> str:
        """The value of this name if it is a text, else an empty one."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    @property
    def architecture(self) -> str:
        return self.text("general.architecture")

    def of_architecture(self, name: str) -> Any:
        """The value that belongs to the architecture, such as `block_count` of `llama.block_count`; else None."""
        return self.values.get(f"{self.architecture}.{name}")


def read(path: Path) -> Header:
    """The header of a GGUF. Raises one of UNREADABLE for what is none."""
    status = path.stat()
    return _parsed(path, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _parsed(path: Path, _state: tuple[int, int]) -> Header:
    # A vocabulary takes a tenth of a second to go through, and several ask for the same file.
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError("no GGUF")
        _read(file, "I")
        tensors, count = _read(file, "Q"), _read(file, "Q")
        values: dict[str, Any] = {}
        for _ in range(min(count, _MOST_VALUES)):
            name = _string(file)
            values[name] = _value(file, _read(file, "I"))
        found = dict(_tensor(file) for _ in range(min(tensors, _MOST_TENSORS)))
        alignment = values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise ValueError("a damaged header")
        return Header(values, found, -(-file.tell() // alignment) * alignment)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _ARRAY:
        return _array(file)
    return _string(file) if kind == _STRING else _read(file, _NUMBERS[kind])


def _tensor(file: BinaryIO) -> tuple[str, Tensor]:
    name = _string(file)
    dimensions = _read(file, "I")
    if dimensions > _MOST_DIMENSIONS:
        raise ValueError("a damaged header")
    shape = tuple(_read(file, "Q") for _ in range(dimensions))
    kind = _read(file, "I")
    return name, Tensor(shape, kind, _read(file, "Q"))


def _read(file: BinaryIO, kind: str) -> Any:
    return struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]


def _string(file: BinaryIO) -> str:
    return file.read(_length(file)).decode(errors="replace")


def _length(file: BinaryIO) -> int:
    length: int = _read(file, "Q")
    if length > _LONGEST:
        raise ValueError("a damaged header")
    return length


def _array(file: BinaryIO) -> list[Any] | None:
    kind = _read(file, "I")
    count = _length(file)
    if kind in _NUMBERS:
        size = count * struct.calcsize(_NUMBERS[kind])
        if count <= _LISTED:
            return list(struct.unpack(f"<{count}{_NUMBERS[kind]}", file.read(size)))
        file.seek(size, 1)
    elif kind == _STRING:
        for _ in range(count):
            file.seek(_length(file), 1)
    else:
        raise ValueError("an array of arrays")
    return None
