"""Prepares a GLiNER export for this engine: its graph is rebuilt once, proved, and kept beside the file.

`normal/` brings the exported graph to one form. `read.py` takes the parts (`parts.py`) out of that, over which
`walk.py` goes. `write/` makes a new graph of them. `convert.py` does all of it, in another process, and compares. An
export that is not recognised, or whose rebuilt graph does not give the same logits, is left as it is; that is kept as
well.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.child import waiting_for_child
from common.settings import ROOT, Precision
from functions.extract.graph.identity import FOLDER, digest, weights

logger = logging.getLogger(__name__)

# The version of the rebuilding. Count up when it makes another graph: kept ones are then made anew.
VERSION = 2
MODEL = "model.onnx"
LEFT_ALONE = "left-alone.txt"
MAKING = ".making-"
LOCK = ".lock"
# The exit code that says: not recognised or not equal, and why. Any other but 0 is no answer: a crash, a full disk.
NOT_REBUILT = 3
TIME_LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Prepared:
    """`path` is the file to load; `state` is "rebuilt", or "as exported: " and the reason."""

    path: Path
    state: str = "rebuilt"


def prepared(source: Path, precision: Precision, cache_folder: Path, *, make: bool) -> Prepared:
    """What to load for `source`: its rebuilt graph, or itself where it cannot be rebuilt.

    What was made before is found by the content of `source` and its weights, in `prepared/` beside it or in
    `cache_folder`; else, when `make` is true, it is made by another process, whose memory is gone with it.
    """
    beside = source.parent / FOLDER
    places = [beside, cache_folder / "extract"]
    name = f"{digest(source, beside)[:16]}-{precision}-{VERSION}"
    for place in places:
        if (found := _kept(source, place / name)) is not None:
            return found
    if not make:
        return _as_exported(source, "it has not been rebuilt, and is not to be here")
    for place in places:
        if (found := _make(source, place / name, precision)) is not None:
            return found
    return _as_exported(source, "no folder for the rebuilt graph can be written")


def _as_exported(source: Path, reason: str) -> Prepared:
    logger.warning("%s is used as it is: %s", source, reason)
    return Prepared(source, f"as exported: {reason}")


def _kept(source: Path, folder: Path) -> Prepared | None:
    if (folder / MODEL).is_file():
        return Prepared(folder / MODEL)
    if (folder / LEFT_ALONE).is_file():
        return _as_exported(source, (folder / LEFT_ALONE).read_text(encoding="utf-8").strip())
    return None


def _make(source: Path, folder: Path, precision: Precision) -> Prepared | None:
    """None where `folder` cannot be written: elsewhere it may be. `source` itself where the other process failed."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Services that start together make it once, since it takes a multiple of the model's memory.
        with FileLock(folder.parent / LOCK):
            if (found := _kept(source, folder)) is not None:
                return found
            for left_behind in folder.parent.glob(f"{MAKING}*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=MAKING) as temporary:
                made = Path(temporary) / "made"
                made.mkdir()
                done = _run(_without_links(source, Path(temporary) / "plain"), made / MODEL, precision)
                if done.returncode == NOT_REBUILT:
                    (made / LEFT_ALONE).write_text(done.stdout, encoding="utf-8")
                elif done.returncode != 0:
                    reason = (done.stderr.strip() or f"exit code {done.returncode}").rpartition("\n")[2]
                    return _as_exported(source, f"rebuilding failed: {reason}")
                made.rename(folder)
    except subprocess.TimeoutExpired as error:
        return _as_exported(source, f"rebuilding failed: {error}")
    except OSError as error:
        logger.info("%s cannot be prepared in %s: %s", source, folder.parent, error)
        return None
    return _kept(source, folder)


def _without_links(source: Path, folder: Path) -> Path:
    """`source`, or a copy in `folder` where its weights are links, as in the hub's cache: onnx reads none."""
    names = weights(source, source.parent / FOLDER)
    places = [source.parent / name for name in names]
    if not any(place.is_symlink() or place.stat().st_nlink > 1 for place in places):
        return source
    for name in (source.name, *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, folder / name)
    return folder / source.name


def _run(source: Path, target: Path, precision: Precision) -> "subprocess.CompletedProcess[str]":
    """`convert` as a process of its own. Raises TimeoutExpired and OSError."""
    files = [str(source), str(target)]
    command = [sys.executable, "-m", "functions.extract.graph", *files, "--precision", precision, "--child"]
    with waiting_for_child() as pipe:
        return subprocess.run(
            command, cwd=ROOT, stdin=pipe, capture_output=True, text=True, timeout=TIME_LIMIT_SECONDS, check=False
        )
