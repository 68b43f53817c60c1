"""Downloads from the double of the hub: whole and right, or an error that says what to do, and nothing in between."""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from huggingface_hub import constants

from common import downloads, progress
from common.downloads import DownloadFailed, fetch
from common.lazy import ModelStatus
from common.remote_files import HubFile, Version
from tests.common.download_matrix import BOUND_SECONDS, LARGE, REPO, SMALL, Row, download, rows, serve
from tests.conftest import ROOT, wait_until
from tests.doubles.hub_server import HubFault, HubServer, commit_of

MODEL, CONFIG = HubFile(REPO, "model.gguf"), HubFile(REPO, "config.json")
BUFFER_BYTES = 1 << 20


def silent(_: ModelStatus) -> None:
    pass


def content_requests(hub: HubServer) -> list[str | None]:
    """The Range of each GET."""
    return [request.range for request in hub.requests if request.method == "GET"]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def faulty_hub() -> Iterator[HubServer]:
    with serve() as running:
        yield running


@pytest.mark.usefixtures("quick")
def test_no_fault_is_forgotten_here() -> None:
    assert {row.faults[-1] for row in rows()} == set(HubFault)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.kind}-{row.name}")
def test_a_fault(faulty_hub: HubServer, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", faulty_hub.url)
    for name, value in row.constants.items():
        monkeypatch.setattr(downloads, name, value)
    outcome = download(faulty_hub, row, tmp_path / "models")
    assert outcome.is_as_expected(row), outcome
    assert outcome.seconds < BOUND_SECONDS
    assert outcome.attempts <= downloads.FRUITLESS + row.size // BUFFER_BYTES
    assert outcome.bytes_sent <= row.most_bytes


def test_what_an_error_left_is_gone_on_from(hub: HubServer, tmp_path: Path) -> None:
    hub.fault, hub.cut_after = HubFault.CUT, 100_000
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1 broke off .*; the next start goes on at 500 kB"):
        fetch(MODEL, tmp_path, silent)
    hub.fault = HubFault.NONE
    assert fetch(MODEL, tmp_path, silent).read_bytes() == LARGE
    assert content_requests(hub)[-1] == "bytes=500000-"
    assert hub.bytes_sent == len(LARGE)
    assert names_in(tmp_path) == {"model.gguf", "model.gguf.part.lock"}


@pytest.mark.parametrize(
    ("part", "noted", "ranges"),
    [
        (LARGE[:1000], {}, ["bytes=1000-"]),
        # Complete, but the process died before it had its name.
        (LARGE, {}, []),
        (LARGE[::-1][:1000], {"etag": '"old"'}, [None]),
        (LARGE + b"more", {}, [None]),
        (LARGE[:1000], None, [None]),
        # Of the right version and yet damaged.
        (b"x" * 1000, {}, ["bytes=1000-", None]),
        (b"", {}, [None]),
    ],
)
def test_what_an_earlier_process_left_is_used_where_it_fits(
    hub: HubServer, tmp_path: Path, part: bytes, noted: dict[str, str] | None, ranges: list[str | None]
) -> None:
    final = tmp_path / MODEL.place
    final.parent.mkdir(parents=True)
    sha256 = hub.add(REPO, MODEL.file, LARGE).sha256
    final.with_name("model.gguf.part").write_bytes(part)
    notes = final.with_name("model.gguf.part.json")
    notes.write_text("{" if noted is None else json.dumps(asdict(Version(f'"{sha256}"', len(LARGE), sha256)) | noted))
    assert fetch(MODEL, tmp_path, silent).read_bytes() == LARGE
    assert content_requests(hub) == ranges
    assert names_in(tmp_path) == {"model.gguf", "model.gguf.part.lock"}


def test_no_byte_is_hashed_twice_or_in_vain(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    make = Version.hasher

    class Counting:
        def __init__(self, version: Version) -> None:
            self._real = make(version)

        def update(self, chunk: bytes) -> None:
            hashed.append(len(chunk))
            self._real.update(chunk)

        def hexdigest(self) -> str:
            return self._real.hexdigest()

    monkeypatch.setattr(Version, "hasher", lambda version: Counting(version))
    hub.cut_after = 1_200_000
    hub.upcoming.extend([HubFault.CUT, HubFault.CUT])
    fetch(MODEL, tmp_path / "a", silent)
    assert sum(hashed) == len(LARGE)
    hub.fault, hub.cut_after = HubFault.CUT, 1000
    with pytest.raises(DownloadFailed):
        fetch(MODEL, tmp_path / "b", silent)
    hashed.clear()
    hub.fault = HubFault.RANGE_IGNORED
    fetch(MODEL, tmp_path / "b", silent)
    assert sum(hashed) == len(LARGE)


def test_a_file_of_300_mb_that_is_cut_five_times(hub: HubServer, tmp_path: Path) -> None:
    size, source = 300_000_000, tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(size)
        # No two parts of it are equal.
        for at in range(0, size, 1_000_000):
            file.seek(at)
            file.write(at.to_bytes(8))
    hub.add(REPO, "large.gguf", source)
    hub.cut_after = 47_000_000
    hub.upcoming.extend([HubFault.CUT] * 5)
    seen: list[ModelStatus] = []
    begun = time.monotonic()
    path = fetch(HubFile(REPO, "large.gguf"), tmp_path / "models", seen.append)
    print(f"{hub.bytes_sent} bytes for {size}, {time.monotonic() - begun:.1f} s")
    assert hub.bytes_sent <= size + 5 * BUFFER_BYTES
    assert (path.stat().st_size, len(content_requests(hub))) == (size, 6)
    shares = [status.progress or 0.0 for status in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


def environment(hub: HubServer, folder: Path, **variables: str) -> dict[str, str]:
    """Of a process of its own that fetches model.gguf into `folder`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FACTORY_", "HF_"))}
    ours |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home"), "FACTORY_MODELS_FOLDER": str(folder / "models")}
    return ours | {"FACTORY_SUMMARIZE__MODEL": f"hf://{REPO}/model.gguf", "FACTORY_LOG_STYLE": "text"} | variables


def prefetch(env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "runner.downloads"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def test_after_a_kill_the_next_process_goes_on(hub: HubServer, tmp_path: Path) -> None:
    hub.pace_bytes_per_second = 1_000_000
    final = tmp_path / "models" / MODEL.place
    part = final.with_name("model.gguf.part")
    with prefetch(environment(hub, tmp_path)) as first:
        wait_until(lambda: part.exists() and part.stat().st_size > 500_000, "some of it is there", 30)
        assert not final.exists()
        first.kill()
    there = part.stat().st_size
    hub.pace_bytes_per_second = 0
    with prefetch(environment(hub, tmp_path)) as second:
        output, log = second.communicate(timeout=60)
    assert (second.returncode, final.read_bytes()) == (0, LARGE), log
    assert output.splitlines()[0] == str(final)
    assert content_requests(hub) == [None, f"bytes={there}-"]
    assert hub.bytes_sent <= len(LARGE) + BUFFER_BYTES


def test_the_stand_in_is_fetched_before_the_model_that_it_stands_in_for(hub: HubServer, tmp_path: Path) -> None:
    hub.add(REPO, "other.gguf", LARGE)
    env = environment(hub, tmp_path, FACTORY_SUMMARIZE__STAND_IN=f"hf://{REPO}/other.gguf")
    with prefetch(env) as process:
        output, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert [Path(line).name for line in output.splitlines()[:2]] == ["other.gguf", "model.gguf"]


def test_four_processes_at_once_download_once(hub: HubServer, tmp_path: Path) -> None:
    hub.pace_bytes_per_second = 1_500_000
    processes = [prefetch(environment(hub, tmp_path)) for _ in range(4)]
    ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ends
    assert (hub.downloads("model.gguf"), hub.bytes_sent) == (1, len(LARGE))
    assert (tmp_path / "models" / MODEL.place).read_bytes() == LARGE
    assert sum("by another process" in log for _, log in ends) >= 1


def test_the_command_says_in_one_line_what_is_wrong(hub: HubServer, tmp_path: Path) -> None:
    hub.required_token = "right"
    env = environment(hub, tmp_path, HF_TOKEN="wrong")
    with prefetch(env) as process:
        output, log = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert log.splitlines()[-1].startswith("downloads: owner/name is gated: accept its licence on the hub")


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_whoever_waits_for_another_tells_how_far_it_is(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "WAIT_SECONDS", 0.05)
    hub.pace_bytes_per_second = 3_000_000
    seen: dict[str, list[ModelStatus]] = {"one": [], "other": []}
    threads = [in_thread(partial(fetch, MODEL, tmp_path, reports.append)) for reports in seen.values()]
    for thread in threads:
        thread.join(30)
    assert hub.downloads("model.gguf") == 1
    waiting = [status for reports in seen.values() for status in reports if "by another process" in status.detail]
    shares = [status.progress for status in waiting if status.progress is not None]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[-1]
    assert any("of 3 MB" in status.detail and status.seconds_left for status in waiting)


def test_a_file_that_appears_while_one_waits_is_taken(hub: HubServer, tmp_path: Path) -> None:
    final = tmp_path / MODEL.place
    final.parent.mkdir(parents=True)
    lock = FileLock(f"{final}.part.lock")
    lock.acquire()
    found: list[Path] = []
    thread = in_thread(lambda: found.append(fetch(MODEL, tmp_path, silent)))
    final.write_bytes(b"put there by hand")
    lock.release()
    thread.join(30)
    assert (found, hub.requests) == ([final], [])


def test_a_full_disk_is_told_before_the_first_byte(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(DownloadFailed, match=r"model\.gguf@main needs 70 MB more in .*, 5 MB are free"):
        fetch(MODEL, tmp_path, silent)
    assert (content_requests(hub), hub.bytes_sent) == ([], 0)


def test_a_disk_that_fills_up_meanwhile(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode == "ab":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(DownloadFailed, match=r"cannot be kept in .*: No space left on device, .* are free"):
        fetch(CONFIG, tmp_path, silent)
    assert len(hub.requests) == 1


def test_a_folder_that_cannot_be_written_to(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadFailed, match=r"cannot be kept in .*/file/models: Not a directory"):
        fetch(CONFIG, tmp_path / "file" / "models", silent)
    assert hub.requests == []


@pytest.mark.parametrize("variable", ["1", "ON", "yes", "True"])
def test_offline_nothing_is_asked(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", variable)
    assert downloads.is_offline(False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert (downloads.is_offline(True), downloads.is_offline(False)) == (True, False)
    with pytest.raises(DownloadFailed, match="downloads are off"):
        fetch(MODEL, tmp_path, silent, offline=True)
    assert hub.requests == []
    fetch(MODEL, tmp_path, silent)
    hub.requests.clear()
    assert fetch(MODEL, tmp_path, silent, offline=True).read_bytes() == LARGE
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["main", commit_of(REPO)])
def test_the_hubs_own_cache_is_used_without_a_request(hub: HubServer, tmp_path: Path, revision: str) -> None:
    repo = Path(constants.HF_HUB_CACHE) / "models--owner--name"
    cached = repo / "snapshots" / commit_of(REPO) / "model.gguf"
    for path, content in ((cached, b"cached"), (repo / "refs" / "main", commit_of(REPO).encode())):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert fetch(HubFile(REPO, "model.gguf", revision), tmp_path / "models", silent, offline=True) == cached
    assert (hub.requests, (tmp_path / "models").exists()) == ([], False)
    assert fetch(CONFIG, tmp_path / "models", silent).read_bytes() == SMALL


@pytest.mark.parametrize("redirects", [False, True])
def test_the_token_is_for_the_hub_only(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redirects: bool
) -> None:
    hub.required_token, hub.redirect_small = "secret", redirects
    with pytest.raises(DownloadFailed, match="set HF_TOKEN to a token of that account"):
        fetch(MODEL, tmp_path, silent)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch(MODEL, tmp_path, silent).read_bytes() == LARGE
    assert fetch(CONFIG, tmp_path, silent).read_bytes() == SMALL
    assert hub.leaked_tokens == []
    assert all(request.authorization == "Bearer secret" for request in hub.requests[1:] if "/cdn/" not in request.path)


def test_a_link_that_expired_is_asked_for_again(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    check = downloads._Download._check_disk

    def expire(download: Any, missing: int) -> None:
        if len(hub.requests) == 1:
            hub.expire_links()
        check(download, missing)

    monkeypatch.setattr(downloads._Download, "_check_disk", expire)
    assert fetch(MODEL, tmp_path, silent).read_bytes() == LARGE
    assert [request.status for request in hub.requests] == [302, 403, 302, 200]
    assert "127.0.0.1 answers HTTP 403, as if the hub's link had expired; again in" in caplog.text


def test_a_dead_server_is_told_within_five_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubServer() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    begun = time.monotonic()
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1 cannot be reached .*Connection refused"):
        fetch(MODEL, tmp_path, silent)
    assert time.monotonic() - begun < 5


def test_the_log_tells_the_progress_and_no_signature(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    fetch(MODEL, tmp_path, silent)
    assert "owner/name/model.gguf@main: 3 MB of 3 MB, " in caplog.text
    assert "owner/name/model.gguf@main is complete, 3 MB" in caplog.text
    assert "Signature" not in caplog.text
    assert hub.requests[1].status == 200
