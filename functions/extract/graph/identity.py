"""What a model file is known by: its content, and that of the files beside it that hold its weights."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

logger = logging.getLogger(__name__)

# Beside a model; what is noted of it is there, and what is made of it.
FOLDER = "prepared"


def digest(source: Path, folder: Path) -> str:
    """SHA-256 of the model `source` with its weights, in hexadecimal.

    It is noted in `folder`, since large files take a while to read, until the size or time of one changes. Raises
    OSError for a file that is not there, ValueError as `weights` does.
    """
    noted = _noted(source, folder)
    names = [source.name, *weights(source, folder)]
    facts = {name: _size_and_time(source.parent / name) for name in names}
    if noted.get("files") == facts:
        return str(noted["sha256"])
    found = _sha256(source)
    if names[1:]:
        whole = "\n".join([found, *(f"{name} {_sha256(source.parent / name)}" for name in names[1:])])
        found = hashlib.sha256(whole.encode()).hexdigest()
    try:
        folder.mkdir(exist_ok=True)
        _note(source, folder).write_text(json.dumps({"files": facts, "sha256": found}), encoding="utf-8")
    except OSError:
        logger.debug("nothing can be noted in %s", folder)
    return found


def weights(source: Path, folder: Path) -> list[str]:
    """The files that hold weights of the model `source`, from its folder; none where it holds them all itself.

    What is noted in `folder` is taken, unless `source` has changed. Raises ValueError for a file outside of the
    model's folder, OSError when `source` is not there, and what onnx raises for a damaged one.
    """
    files = _noted(source, folder).get("files", {})
    if files.get(source.name) == _size_and_time(source):
        return sorted(files.keys() - {source.name})
    import onnx

    model = onnx.load(str(source), load_external_data=False)
    locations = {entry.value for tensor in _tensors(model) for entry in tensor.external_data if entry.key == "location"}
    for location in locations:
        path = PurePosixPath(location)
        if path.is_absolute() or ".." in path.parts or path == PurePosixPath():
            raise ValueError(f"it names weights outside of its folder: {location!r}")
    return sorted(PurePosixPath(location).as_posix() for location in locations)


def _tensors(model: "ModelProto") -> "Iterator[TensorProto]":
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: "GraphProto") -> "Iterator[TensorProto]":
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: "Iterable[NodeProto]") -> "Iterator[TensorProto]":
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size_and_time(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _note(source: Path, folder: Path) -> Path:
    return folder / f"{source.name}.sha256.json"


def _noted(source: Path, folder: Path) -> dict[str, Any]:
    """What was noted; empty where nothing was, or nothing of this form."""
    try:
        noted = json.loads(_note(source, folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_whole = isinstance(noted, dict) and isinstance(noted.get("files"), dict) and "sha256" in noted
    return noted if is_whole else {}
