"""The double under httpx and the real huggingface_hub: healthy downloads are whole, and what comes of each fault."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.doubles.hub_server import REFUSALS, HubFault, HubServer, commit_of

REPO = "owner/name"
SMALL, LARGE = bytes(range(250)) * 20, bytes(range(240)) * 5000
FILES = {"config.json": SMALL, "onnx/model.onnx": LARGE}
BOTH = pytest.mark.parametrize("path", FILES)
# By itself the library writes pieces of 10 MB, and throws away what it has of one when the connection breaks.
LIBRARY = """
import sys, time
from huggingface_hub import constants, hf_hub_download
constants.DOWNLOAD_CHUNK_SIZE, constants.HF_HUB_DOWNLOAD_TIMEOUT, time.sleep = 500, 0.5, lambda seconds: None
for path in sys.argv[1:]:
    try:
        print(hf_hub_download("owner/name", path, token="secret", etag_timeout=0.5))
    except Exception as error:
        print(type(error).__name__)
"""
# The faults that huggingface_hub 2.4.0 meets in one download after the other, and what it makes of them.
LIBRARY_CASES = [
    ([HubFault.TOO_MANY, HubFault.CUT, HubFault.CUT, HubFault.RANGE_IGNORED], "whole"),
    ([HubFault.SERVER_ERROR, HubFault.HANG, HubFault.NONE], "whole"),
    ([HubFault.MUTE, HubFault.CUT, HubFault.SERVER_ERROR], "HfHubHTTPError"),
    ([HubFault.RESET], "ReadError"),
    ([HubFault.UNAUTHORIZED], "HfHubHTTPError"),
    ([HubFault.GATED], "GatedRepoError"),
    ([HubFault.NO_FILE], "RemoteEntryNotFoundError"),
    ([HubFault.NO_REVISION], "RevisionNotFoundError"),
    ([HubFault.NO_REPO], "RepositoryNotFoundError"),
    ([HubFault.WRONG_SIZE, HubFault.NONE], "HfHubHTTPError"),  # a 416, as it asks for more
    ([HubFault.FLIPPED], "spoilt"),
    ([HubFault.CUT, HubFault.CHANGED], "spoilt"),  # it sends no If-Range
]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer({REPO: FILES}) as running:
        yield running


def ask(hub: HubServer, path: str, method: str = "GET", token: str = "", **headers: str) -> httpx.Response:
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    url = path if path.startswith("http") else f"{hub.url}/{REPO}/resolve/main/{path}"
    with httpx.Client(verify=False, trust_env=False, follow_redirects=True, timeout=0.5) as client:
        return client.request(method, url, headers={name.replace("_", "-"): headers[name] for name in headers})


def test_a_small_file_comes_at_once(hub: HubServer) -> None:
    hub.add(REPO, "hello world.txt", b"hello\n")
    for method, content in (("HEAD", b""), ("GET", b"hello\n")):
        answer = ask(hub, "hello%20world.txt", method)
        assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, content, "6")
        assert answer.headers["ETag"] == '"ce013625030ba8dba906f756967f9e9ca394464a"'  # git hash-object
        assert (answer.headers["X-Repo-Commit"], answer.headers["Accept-Ranges"]) == (commit_of(REPO), "bytes")
    assert (hub.downloads("hello world.txt"), hub.bytes_sent) == (1, 6)


def test_a_large_file_comes_from_the_cdn(hub: HubServer) -> None:
    answer = ask(hub, "onnx/model.onnx", token="secret")
    [step] = answer.history
    assert (step.headers["X-Linked-Size"], step.headers["X-Repo-Commit"]) == (str(len(LARGE)), commit_of(REPO))
    assert step.headers["X-Linked-Etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"' != answer.headers["ETag"]
    assert (answer.content, hub.leaked_tokens) == (LARGE, [])
    again = ask(hub, str(answer.url), "HEAD", "secret")
    assert (again.headers["Content-Length"], hub.leaked_tokens) == (str(len(LARGE)), ["Bearer secret"])
    hub.expire_links()
    assert ask(hub, str(answer.url)).status_code == 403
    assert [record.status for record in hub.requests] == [302, 200, 200, 403]
    assert (hub.downloads("onnx/model.onnx", REPO), hub.downloads("onnx/model.onnx", "other/name")) == (1, 0)


def test_what_is_missing_or_forbidden(hub: HubServer) -> None:
    hub.required_token = "secret"
    hub.add("other/name", "new.txt", b"new", revision="v2")
    for path, token, status, code in (
        (f"{REPO}/resolve/main/config.json", "", 401, "GatedRepo"),
        (f"{REPO}/resolve/main/config.json", "wrong", 403, "GatedRepo"),
        (f"{REPO}/resolve/{commit_of(REPO)}/config.json", "secret", 200, None),
        (f"{REPO}/resolve/main/model.onnx", "secret", 404, "EntryNotFound"),
        (f"{REPO}/resolve/v2/config.json", "secret", 404, "RevisionNotFound"),
        ("other/name/resolve/v2/new.txt", "secret", 200, None),
        ("owner/other/resolve/main/config.json", "", 401, "RepoNotFound"),
        ("owner/other/resolve/main/config.json", "secret", 404, "RepoNotFound"),
    ):
        answer = ask(hub, f"{hub.url}/{path}", token=token)
        assert (answer.status_code, answer.headers.get("X-Error-Code")) == (status, code)


@BOTH
def test_ranges(hub: HubServer, path: str) -> None:
    hub.redirect_small = True
    content, answer = FILES[path], ask(hub, path)
    end, etag = len(content) - 1, answer.headers["ETag"]
    assert [step.status_code for step in answer.history] == [307 if path == "config.json" else 302]
    for wish, first, last in (("10-", 10, end), ("0-0", 0, 0), ("-7", end - 6, end), ("1-9999999", 1, end)):
        answer = ask(hub, path, Range=f"bytes={wish}", If_Range=etag)
        assert (answer.status_code, answer.content) == (206, content[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"
    assert ask(hub, path, Range="bytes=10-", If_Range='"other"').content == content
    answer = ask(hub, path, Range=f"bytes={end + 1}-")
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    assert (hub.requests[-1].range, hub.downloads(path)) == (f"bytes={end + 1}-", 6)


def test_the_hub_refuses(hub: HubServer) -> None:
    for fault, (status, code, message) in REFUSALS.items():
        hub.upcoming.extend([fault, fault, HubFault.NONE])
        for method in ("HEAD", "GET"):
            answer = ask(hub, "onnx/model.onnx", method, "secret")
            assert (answer.status_code, answer.headers.get("X-Error-Code", "")) == (status, code)
            assert (answer.headers["X-Error-Message"], "Retry-After" in answer.headers) == (message, status == 429)
        assert ask(hub, "onnx/model.onnx", "HEAD").status_code == 200  # which leaves NONE to the next download
        assert (len(hub.upcoming), ask(hub, "onnx/model.onnx").content, len(hub.upcoming)) == (1, LARGE, 0)


@BOTH
def test_a_download_breaks(hub: HubServer, path: str) -> None:
    hub.only = "GET /cdn/" if path.startswith("onnx") else path
    for fault, error, length in (
        (HubFault.CUT, httpx.RemoteProtocolError, 1000),
        (HubFault.WRONG_SIZE, httpx.RemoteProtocolError, len(FILES[path])),
        (HubFault.HANG, httpx.ReadTimeout, 0),
        (HubFault.MUTE, httpx.ReadTimeout, 0),
        (HubFault.RESET, httpx.ReadError, 0),
    ):
        hub.upcoming.append(fault)
        with pytest.raises(error):
            ask(hub, path)
        assert (hub.requests[-1].bytes_sent, hub.requests[-1].finished) == (length, False)
        assert ask(hub, path).content == FILES[path]


@BOTH
def test_a_download_is_not_what_was_promised(hub: HubServer, path: str) -> None:
    content, etag = FILES[path], ask(hub, path).headers["ETag"]
    hub.upcoming.extend([HubFault.FLIPPED, HubFault.RANGE_IGNORED, HubFault.CHANGED, HubFault.CHANGED])
    flipped = ask(hub, path).content
    assert [at for at in range(len(content)) if flipped[at] != content[at]] == [len(content) // 2]
    assert ask(hub, path).content == content  # without a Range
    assert ask(hub, path, Range="bytes=10-", If_Range=etag).content == content
    changed = ask(hub, path, Range="bytes=10-", If_Range=etag)
    assert (changed.status_code, len(changed.content), changed.headers["ETag"] == etag) == (200, len(content), False)
    assert ask(hub, path, Range="bytes=10-").content == changed.content[10:] != content[10:]
    hub.fault = HubFault.WRONG_SIZE
    told = ask(hub, path, "HEAD")
    sizes = {told.headers["Content-Length"], *(step.headers["X-Linked-Size"] for step in told.history)}
    assert sizes == {str(len(content) + 1000)}


def test_bytes_come_slowly_from_a_file_on_disk(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(SMALL)
    hub.add(REPO, "slow", tmp_path / "local", lfs=True)
    hub.drip_bytes, hub.drip_seconds = 2000, 0.1
    for hub.fault, hub.pace_bytes_per_second in ((HubFault.DRIP, 0), (HubFault.NONE, 25_000)):
        begun = time.monotonic()
        answer = ask(hub, "slow")
        assert (answer.content, 0.19 < time.monotonic() - begun < 2) == (SMALL, True)
    with httpx.stream("GET", answer.url, trust_env=False) as left:
        next(left.iter_raw())
    assert (hub.requests[-1].finished, hub.requests[-1].bytes_sent < 5000) == (False, True)


def test_what_the_library_makes_of_it(hub: HubServer, tmp_path: Path) -> None:
    contents = [SMALL[1:] + bytes([number]) for number in range(len(LIBRARY_CASES))]
    for number, (faults, _) in enumerate(LIBRARY_CASES):
        hub.add(REPO, str(number), contents[number], lfs=number % 2 == 1)
        hub.upcoming.extend(faults)
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", LIBRARY, *map(str, range(len(LIBRARY_CASES)))]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    for line, content, (_, result) in zip(done.stdout.splitlines(), contents, LIBRARY_CASES, strict=True):
        assert result == (line if "/" not in line else "whole" if Path(line).read_bytes() == content else "spoilt")
    ranges = [record.range for record in hub.requests if record.file == "0"]
    assert ranges == [None, None, None, "bytes=1000-", "bytes=2000-"]
    assert (list(hub.upcoming), hub.leaked_tokens) == ([], [])


def test_it_runs_from_a_shell(tmp_path: Path) -> None:
    (tmp_path / "b=c").write_bytes(SMALL)
    command = [sys.executable, "-m", "tests.doubles.hub_server", "--fault=cut", f"--file={REPO}:a={tmp_path}/b=c"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{process.stdout.readline().strip()}/{REPO}/resolve/main/a", trust_env=False)
        # Not by SIGINT, which a process that was started in the background ignores.
        process.terminate()
        assert process.wait(5) == -signal.SIGTERM
