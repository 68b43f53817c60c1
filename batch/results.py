"""OUT: one line an article, appended whole, and what is in it already when a run begins."""

import errno
import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from batch.articles import digest
from batch.errors import Ended, Unusable

Line = dict[str, Any]

SECONDS_BETWEEN_SYNCS = 5.0
# How every line begins; what a run that was killed has left may be less.
_OPENING = b'{"id": '
_FAILED = ("problem", "problems")


class Results:
    """`done`: the digests of the ids that have a line of an earlier run; `failed`: how many of these have a problem."""

    def __init__(self, path: Path, done: set[int], failed: int) -> None:
        self.path = path
        self.done = done
        self.failed = failed
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._descriptor).st_size
        self._synced_at = time.monotonic()

    def add(self, line: Line) -> None:
        """Append it. It is written at once, so that a run that is killed loses nothing. Raises Ended on a full disk."""
        raw = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            rest = memoryview(raw)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._size += len(raw)
            if time.monotonic() > self._synced_at + SECONDS_BETWEEN_SYNCS:
                os.fsync(self._descriptor)
                self._synced_at = time.monotonic()
        except OSError as error:
            self._cut()
            raise Ended(cannot_be_written(self.path, error)) from None

    def close(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            # A pipe or a device has nothing to be synchronised.
            if error.errno != errno.EINVAL:
                raise Ended(cannot_be_written(self.path, error)) from None
        finally:
            os.close(self._descriptor)

    def _cut(self) -> None:
        """Take back what is there of a line that could not be written whole."""
        try:
            os.truncate(self.path, self._size)
        except OSError:
            # The next run does it.
            return


@contextmanager
def opened(path: Path, functions: Collection[str], *, retry_failed: bool) -> Iterator[Results]:
    """OUT, for this process alone. What a killed run has left of a line is cut off; with `retry_failed` so are the
    lines with a problem. Raises Unusable where it cannot be written, is in use, or holds something else."""
    if not path.parent.is_dir():
        # The lock would make the folder; more likely its name has a slip.
        raise Unusable(f"{path} cannot be written: there is no folder {path.parent}")
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Unusable(f"{path} is in use by another run") from None
    except OSError as error:
        raise Unusable(cannot_be_written(path, error)) from None
    try:
        try:
            results = _begun(path, functions, retry_failed)
        except OSError as error:
            raise Unusable(cannot_be_written(path, error)) from None
        try:
            yield results
        finally:
            results.close()
    finally:
        lock.release()


def cannot_be_written(path: Path, error: OSError) -> str:
    return f"{path} cannot be written: {error.strerror or error}"


def _begun(path: Path, functions: Collection[str], retry_failed: bool) -> Results:
    done: set[int] = set()
    failed, end = 0, 0
    # A device has nothing to go on from.
    if path.is_file():
        for number, (line, behind) in enumerate(_lines(path), 1):
            end = behind
            _check(path, number, line, functions)
            if _is_failed(line):
                failed += 1
                if retry_failed:
                    continue
            done.add(digest(line["id"]))
        os.truncate(path, end)
    if failed and retry_failed:
        _leave_out_failed(path)
        failed = 0
    return Results(path, done, failed)


def _lines(path: Path) -> Iterator[tuple[Line, int]]:
    """Each whole line, and where it ends in the file. Raises Unusable for anything that is no line of a run."""
    end = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                if raw[: len(_OPENING)] != _OPENING[: len(raw)]:
                    raise _foreign(path, number)
                return
            try:
                line = json.loads(raw)
            except ValueError:
                raise _foreign(path, number) from None
            if not isinstance(line, dict) or not isinstance(line.get("id"), str | int):
                raise _foreign(path, number)
            end += len(raw)
            yield line, end


def _check(path: Path, number: int, line: Line, functions: Collection[str]) -> None:
    if "problem" in line:
        return
    missing = [name for name in functions if name not in line and name not in line.get("problems", {})]
    if missing:
        raise Unusable(f"{path}, line {number} has no {', '.join(missing)}: for another --do give another OUT")


def _is_failed(line: Line) -> bool:
    return any(name in line for name in _FAILED)


def _leave_out_failed(path: Path) -> None:
    """In one step: a run that is killed meanwhile leaves OUT as it was."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        for line, _ in _lines(path):
            if not _is_failed(line):
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _foreign(path: Path, number: int) -> Unusable:
    return Unusable(f"{path}, line {number} is no line of a run like this: give another OUT")
