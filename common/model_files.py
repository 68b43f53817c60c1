"""The address of a model's file: what it names, and where that file is on this machine.

hf://owner/name/folder/file[@revision]      a file of the hub; without a file: the repository
https://example.com/file[#sha256=..]        a file at an address
models/mine.bin, models/my-model            a file, a folder; from the project's folder, if relative

Any other word is the name of a preset. Presets are known to the functions that have them.
"""

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urldefrag

from common.downloads import fetch, found, is_offline
from common.errors import ModelLoadFailed
from common.lazy import Report
from common.remote_files import HubFile, RemoteFile, UrlFile, origin
from common.settings import ROOT, Settings
from common.text import nearest

ModelFile = RemoteFile | Path

_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE | re.ASCII)


def parse(address: str, presets: Collection[str], what: str) -> ModelFile:
    """What `address` names; a HubFile's `file` is "" where only the repository is named.

    Raises ModelLoadFailed for an address that means nothing. Its message names the nearest of `presets`; `what` is what
    a path has to lead to, such as "a folder".
    """
    return _on_hub(address) or _at_url(address) or _local(address, presets, what)


def local(file: ModelFile, settings: Settings, report: Report) -> Path:
    """Where the file is on this machine; downloads it if it is not there. Raises ModelLoadFailed."""
    if (there := here(file, settings)) is not None:
        return there
    if isinstance(file, Path):
        raise ModelLoadFailed(f"there is no file {file}")
    return fetch(file, settings.models_folder, report, offline=is_offline(settings.offline))


def here(file: ModelFile, settings: Settings) -> Path | None:
    """The file, where it is on this machine already."""
    if isinstance(file, Path):
        return file if file.is_file() else None
    # An image may bring models along, whatever folder it keeps others in.
    brought = ROOT / "models" / file.place
    return brought if brought.is_file() else found(file, settings.models_folder)


def _on_hub(address: str) -> HubFile | None:
    if not address.startswith("hf://"):
        return None
    match = _HUB.fullmatch(address)
    if match is None or {"", ".", ".."} & {*(match["file"] or "file").split("/")}:
        raise ModelLoadFailed(f"{address} is no file of the hub; hf://owner/name/file@revision is")
    return HubFile(match["repo"], match["file"] or "", match["revision"] or "main")


def _at_url(address: str) -> UrlFile | None:
    if not address.startswith(("https://", "http://")):
        return None
    try:
        url, fragment = urldefrag(address)
        host = origin(url)[1]
    except ValueError as error:
        raise ModelLoadFailed(f"{address} is no address: {error}") from None
    if not host:
        raise ModelLoadFailed(f"{address} is no address: it names no host")
    match = _SHA256.fullmatch(fragment)
    if fragment and match is None:
        raise ModelLoadFailed(f"{UrlFile(url).name}: behind # there may be sha256= and 64 hexadecimal digits")
    return UrlFile(url, match[1].lower() if match else None)


def _local(address: str, presets: Collection[str], what: str) -> Path:
    path = Path(address).expanduser()
    if "/" not in address and not (path.name and (ROOT / path).exists()):
        near = nearest(address, presets)
        hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(sorted(presets))}"
        raise ModelLoadFailed(f"{address!r} is no preset ({hint}) and no path to {what}")
    return path if path.is_absolute() else ROOT / path
