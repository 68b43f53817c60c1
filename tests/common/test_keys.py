"""Keys: how they are written, who is let in by them, and that nothing tells them."""

import asyncio
import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Scope

from common.callers import flow
from common.http.app import create_app
from common.http.keys import make_public
from common.keys import announce
from common.settings import ROOT, InvalidSettings, get_settings, load_settings
from common.settings.keys import BadKeys, keys_of
from tests.conftest import SettingsEnv, problem

DESK, PULSE = "desk-0123456789abcdef", "pulse/+=._~-0123456789"
PULSE_DIGEST = hashlib.sha256(PULSE.encode()).hexdigest()
KEYS = f"desk:{DESK},pulse:sha256={PULSE_DIGEST}"

router = APIRouter()
is_shown = [False]


@router.post("/work")
async def work(body: dict[str, int]) -> dict[str, object]:
    return {"caller": flow().caller, "holder": flow().holder, "weight": flow().weight, **body}


@router.get("/open")
@router.get("/open/below")
@router.get("/opened")
@router.get("/sometimes")
@router.get("/")
async def page() -> dict[str, str]:
    return {"caller": flow().caller}


make_public("/")
make_public("/open/")
make_public("/sometimes", lambda: is_shown[0])
app = create_app(router)


@pytest.fixture(autouse=True)
def keys_are_set(settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS=KEYS, API_KEY_WEIGHTS="pulse=2.5")


def ask(method: str, path: str, headers: dict[str, str] | None = None, host: str = "192.0.2.1") -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(host, 4711))
        async with httpx.AsyncClient(transport=transport) as client:
            body = {"n": 1} if method == "POST" else None
            return await client.request(method, f"http://test{path}", json=body, headers=headers)

    return asyncio.run(request())


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"Authorization": f"Bearer {DESK}"}, "desk"),
        ({"Authorization": f"bearer  {DESK} "}, "desk"),
        ({"X-API-Key": PULSE}, "pulse"),
        # On a private Space the first is the Hub's, on AWS Lambda a signature.
        ({"Authorization": "Bearer hf_0123456789abcdef", "X-API-Key": DESK}, "desk"),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20261128/eu/lambda", "X-API-Key": DESK}, "desk"),
        ({"Authorization": f"Bearer {DESK}", "X-API-Key": "not a key"}, "desk"),
        ({"Authorization": f"Bearer {DESK}", "X-API-Key": PULSE}, "pulse"),
    ],
)
def test_either_header_lets_in_by_the_name_of_the_key(headers: dict[str, str], caller: str) -> None:
    answer = ask("POST", "/work", headers)
    assert answer.status_code == 200
    assert answer.json()["caller"] == caller
    assert answer.json()["weight"] == (2.5 if caller == "pulse" else 1.0)


@pytest.mark.parametrize(
    ("headers", "is_wrong"),
    [
        ({}, False),
        ({"Authorization": "Bearer "}, False),
        ({"Authorization": f"Basic {DESK}"}, False),
        ({"Authorization": DESK}, False),
        ({"Authorization": f"Bearer {DESK}x"}, True),
        ({"X-API-Key": DESK[:-1]}, True),
        ({"X-API-Key": PULSE_DIGEST}, True),
        ({"X-API-Key": f"sha256={PULSE_DIGEST}"}, True),
        ({"X-API-Key": "desk"}, True),
        ({"X-API-Key": DESK + "x" * 30_000}, True),
        ({"Cookie": f"X-API-Key={DESK}"}, False),
    ],
)
def test_without_a_key_or_with_a_wrong_one_the_answer_is_401(headers: dict[str, str], is_wrong: bool) -> None:
    answer = ask("POST", "/work", headers)
    told = problem(answer)
    assert (answer.status_code, told["type"]) == (401, "urn:problem-type:factory:unauthorized")
    assert "Authorization: Bearer KEY" in told["detail"]
    assert "X-API-Key: KEY" in told["detail"]
    assert answer.headers["www-authenticate"].startswith('Bearer realm="factory"')
    assert ("invalid_token" in answer.headers["www-authenticate"]) == is_wrong


def test_one_key_on_two_addresses_is_one_caller_and_two_keys_on_one_address_are_two() -> None:
    one, other = (ask("POST", "/work", {"X-API-Key": DESK}, host).json() for host in ("192.0.2.1", "192.0.2.2"))
    assert one["caller"] == other["caller"] == "desk"
    # They are two clients of it.
    assert one["holder"] != other["holder"]
    assert ask("POST", "/work", {"X-API-Key": PULSE}).json()["caller"] == "pulse"


@pytest.mark.parametrize(
    "path",
    ["/open", "/open/", "/open/below", "/", "/open?x=1", "/%6fpen", "/open%2Fbelow"],
)
def test_what_is_public_needs_no_key(path: str) -> None:
    answer = ask("GET", path)
    assert (answer.status_code, answer.json()["caller"]) == (200, "192.0.2.1")
    assert ask("HEAD", path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/opened", "/work", "/nowhere", "//open", "/Open", "/openapi.json", "/ope%6e%65d", "/sometimes"]
)
def test_everything_else_needs_one_also_what_is_not_there(path: str) -> None:
    assert ask("GET", path).status_code == 401
    assert ask("HEAD", path).status_code == 401


def test_what_is_public_at_times_is_so_at_these_times() -> None:
    is_shown[0] = True
    assert ask("GET", "/sometimes").status_code == 200
    is_shown[0] = False
    assert ask("GET", "/sometimes").status_code == 401


def answer_to_path(path: str, raw_path: bytes, root_path: str = "", method: str = "POST") -> int:
    """The status for a path as a server hands it on, which httpx would have put in order before."""
    scope: Scope = {
        **{"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "query_string": b""},
        **{"path": path, "raw_path": raw_path, "root_path": root_path, "client": ("192.0.2.1", 1)},
        **{"headers": [(b"content-type", b"application/json")], "server": ("test", 80)},
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"n": 1}', "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(_run(app, scope, receive, send))
    return int(sent[0]["status"])


async def _run(of: ASGIApp, scope: Scope, receive: object, send: object) -> None:
    await of(scope, receive, send)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        ("/open/../work", ""),
        ("/open/../../work", ""),
        ("/open//work", ""),
        ("/./work", ""),
        ("/work\n", ""),
        ("/work", "/open"),
        ("/open/work", "/open"),
        ("/work;/open", ""),
    ],
)
def test_no_spelling_of_a_path_leads_past_the_door(path: str, root_path: str) -> None:
    assert answer_to_path(path, path.encode(), root_path) in (401, 404)


@given(st.text("/.%worken2F\\;?#\n\0 ", max_size=12), st.sampled_from(["", "/open", "/work"]))
def test_whatever_the_path_is_the_work_is_not_done_without_a_key(path: str, root_path: str) -> None:
    os.environ["FACTORY_API_KEYS"] = KEYS
    get_settings.cache_clear()
    assert answer_to_path("/" + path, b"/", root_path) != 200


def test_a_body_is_not_read_before_the_key_is_there() -> None:
    async def request() -> list[Message]:
        sent: list[Message] = []
        scope: Scope = {
            **{"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "query_string": b""},
            **{"path": "/work", "raw_path": b"/work", "client": ("192.0.2.1", 1), "server": ("test", 80)},
            **{"headers": [(b"content-length", b"2000000")]},
        }

        async def receive() -> Message:
            # All that is read after the answer is thrown away.
            assert sent[0]["status"] == 401
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await app(scope, receive, send)
        return sent

    started = asyncio.run(request())[0]
    assert (b"connection", b"close") in started["headers"]


def test_without_keys_everybody_may(settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS="none", API_KEY_WEIGHTS="")
    answer = ask("POST", "/work", {"X-API-Key": DESK})
    assert (answer.status_code, answer.json()["caller"]) == (200, "192.0.2.1")


def test_the_log_has_the_name_or_the_address_and_never_a_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask("POST", "/work", {"X-API-Key": DESK})
        ask("POST", "/work", {"Authorization": "Bearer wrong-key-0123456789"})
    lines = [record.getMessage() for record in caplog.records if record.name == "factory.access"]
    assert [("caller=desk" in line, "status=200" in line) for line in lines] == [(True, True), (False, False)]
    assert "caller=192.0.2.1" in lines[1]
    assert "status=401" in lines[1]
    assert DESK not in caplog.text
    assert "wrong-key" not in caplog.text


def test_a_short_key_counts_and_the_log_says_that_it_is_short(
    settings_env: SettingsEnv, caplog: pytest.LogCaptureFixture
) -> None:
    settings_env(API_KEYS=f"{KEYS},test:sesame", API_KEY_WEIGHTS="")
    announce()
    assert ask("POST", "/work", {"X-API-Key": "sesame"}).json()["caller"] == "test"
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "those of test have fewer than 16 characters" in line
    assert "sesame" not in caplog.text


BAD = [
    ("", "holds no key|must be NAME:KEY"),
    (DESK, "must be NAME:KEY"),
    (f"desk:{DESK},", "key 2: must be NAME:KEY"),
    (f"1desk:{DESK}", "must be NAME:KEY"),
    (f"192.0.2.1:{DESK}", "must be NAME:KEY"),
    (f"::1:{DESK}", "must be NAME:KEY"),
    (f"{'d' * 65}:{DESK}", "must be NAME:KEY"),
    ("desk:", "1 to 256"),
    (f"desk:{'k' * 257}", "1 to 256"),
    ("desk:0123456789 abcdef", "1 to 256"),
    ("desk:0123456789abcdefé", "1 to 256"),
    (f"desk:sha256={PULSE_DIGEST[:-1]}", "64 hex digits"),
    (f"desk:sha256={'g' * 64}", "64 hex digits"),
    (f"desk:{DESK},desk:{PULSE}", "the name desk is there more than once"),
    (f"desk:{DESK},other:{DESK}", "desk and other have the same key"),
    (f"pulse:{PULSE},other:sha256={PULSE_DIGEST.upper()}", "pulse and other have the same key"),
    (",".join(f"k{n}:{DESK}{n}" for n in range(1001)), "there may be 1000 keys"),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_bad_keys_end_the_start_with_a_line_that_holds_none(settings_env: SettingsEnv, value: str, reason: str) -> None:
    settings_env(API_KEYS=value, API_KEY_WEIGHTS="")
    with pytest.raises(InvalidSettings, match=reason) as error:
        load_settings()
    (line,) = error.value.lines
    assert line.startswith("FACTORY_API_KEYS: ")
    for secret in (DESK, PULSE, PULSE_DIGEST, "0123456789", "kkkk", "gggg"):
        assert secret not in line


def test_a_file_has_one_key_a_line_beside_those_of_the_variable(tmp_path: Path, settings_env: SettingsEnv) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(
        f"\ufeff# The night desk's.\n\n  night:{DESK}, with a comma? no\n".replace(", with a comma? no", "x")
    )
    settings_env(API_KEYS=KEYS, API_KEYS_FILE=file, API_KEY_WEIGHTS="night=0.5")
    assert {name: key.weight for name, key in get_settings().keys.items()} == {"desk": 1, "pulse": 1, "night": 0.5}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no key"),
        (b"# only this\n", "holds no key"),
        (b"\n\nnight 0123456789abcdef\n", "line 3: must be NAME:KEY"),
        (b"night:\xff0123456789abcdef", "not UTF-8"),
        (f"desk:{DESK}x".encode(), "the name desk is there more than once"),
        (b"#" * 1_100_000, "larger than"),
    ],
)
def test_a_bad_file_of_keys_ends_the_start(
    tmp_path: Path, settings_env: SettingsEnv, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    settings_env(API_KEYS=KEYS, API_KEYS_FILE=file)
    with pytest.raises(InvalidSettings, match=reason) as error:
        load_settings()
    assert [line.partition(":")[0] for line in error.value.lines] == ["FACTORY_API_KEYS_FILE"]
    assert "0123456789" not in str(error.value)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("desk", "must be NAME=WEIGHT"),
        ("nobody=2", "there is no key of the name nobody"),
        ("desk=0", "from 0.01 to 100"),
        ("desk=-1", "from 0.01 to 100"),
        ("desk=nan", "from 0.01 to 100"),
        ("desk=inf", "from 0.01 to 100"),
        ("desk=much", "from 0.01 to 100"),
        ("desk=1,desk=2", "desk has more than one weight"),
    ],
)
def test_bad_weights_end_the_start(settings_env: SettingsEnv, weights: str, reason: str) -> None:
    settings_env(API_KEY_WEIGHTS=weights)
    with pytest.raises(InvalidSettings, match=reason):
        load_settings()


def test_two_faults_are_two_lines() -> None:
    with pytest.raises(BadKeys) as error:
        keys_of("desk", None, "desk")
    assert [setting for setting, _ in error.value.found] == ["api_keys", "api_key_weights"]


def test_neither_the_list_of_settings_nor_a_bad_start_shows_a_key(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACTORY_API_KEYS": KEYS}
    settings = [sys.executable, "-m", "common.settings"]
    printed = subprocess.run(settings, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "FACTORY_API_KEYS " in printed.stdout
    started = subprocess.run(
        [sys.executable, str(ROOT / "local_runner.py")],
        env={**environment, "FACTORY_API_KEYS": f"desk:{DESK},{PULSE}", "FACTORY_PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 1
    for told in (printed.stdout, printed.stderr, started.stdout, started.stderr):
        assert DESK not in told
        assert PULSE not in told
        assert PULSE_DIGEST not in told
    assert not any(secret in json.dumps(repr(get_settings())) for secret in (DESK, PULSE_DIGEST))
