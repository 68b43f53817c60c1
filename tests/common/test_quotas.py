"""Limits of a caller: what is counted, what is told, and what is not charged."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from common import quotas, windows
from common.errors import QueueFull
from common.http.app import create_app
from common.http.keys import make_public
from common.settings import ROOT, get_settings
from tests.conftest import SettingsEnv, problem

router = APIRouter()
release = asyncio.Event()
quotas.metered("work", "/work", "/other", limits=lambda: get_settings().summarize)


@router.post("/work")
@router.post("/other")
async def work(body: dict[str, str]) -> dict[str, int]:
    quotas.charge_characters("work", len(body["text"]), "text")
    if body["text"] == "busy":
        raise QueueFull("work: full", 3)
    return {"characters": len(body["text"])}


@router.get("/work/list")
@router.get("/open")
async def listed() -> dict[str, str]:
    return {}


@router.get("/work/slow")
async def slow() -> StreamingResponse:
    async def sound() -> object:
        yield b"a"
        await release.wait()

    return StreamingResponse(sound())  # type: ignore[arg-type]


make_public("/open")
app = create_app(router)


class Clock:
    now = 6_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Windows begin when the test does."""
    clock = Clock()
    quotas.forget()
    kept = windows.Windows(clock=clock)
    monkeypatch.setattr(windows, "Windows", lambda: kept)
    yield clock
    quotas.forget()


def ask(text: str = "text", path: str = "/work", host: str = "192.0.2.1", method: str = "POST") -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(host, 1))) as client:
            body = {"text": text} if method == "POST" else None
            return await client.request(method, f"http://test{path}", json=body)

    return asyncio.run(request())


def test_one_request_too_many_is_a_429_that_tells_when_to_come_back(settings_env: SettingsEnv, clock: Clock) -> None:
    settings_env(SUMMARIZE__REQUESTS_PER_MINUTE=3)
    answers = [ask() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"work";q=3;w=60'}
    assert [answer.headers["ratelimit"] for answer in answers[:2]] == ['"work";r=2;t=61', '"work";r=1;t=61']
    refused = answers[3]
    assert problem(refused)["type"] == "urn:problem-type:factory:too-many-requests"
    assert refused.headers["ratelimit"] == f'"work";r=0;t={refused.headers["retry-after"]}'
    clock.now += int(refused.headers["retry-after"]) - 1.01
    assert ask().status_code == 429
    clock.now += 1.01
    assert ask().status_code == 200


def test_each_caller_has_its_own_and_a_key_goes_before_the_address(settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__REQUESTS_PER_MINUTE=1)
    assert [ask(host=host).status_code for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]
    # Of IPv6 a network is a caller.
    assert [ask(host=f"2001:db8::{n}").status_code for n in range(1, 3)] == [200, 429]


def test_all_paths_of_a_function_count_together_and_its_lists_not(settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__REQUESTS_PER_MINUTE=2)
    assert [ask(path=path).status_code for path in ("/work/", "/other", "/work")] == [200, 200, 429]
    for path in ("/work/list", "/open"):
        answer = ask(path=path, method="GET")
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


def test_characters_count_and_a_text_that_is_never_let_in_is_told_so(settings_env: SettingsEnv, clock: Clock) -> None:
    settings_env(SUMMARIZE__CHARACTERS_PER_MINUTE=100)
    assert ask("x" * 60).headers["ratelimit"].startswith('"work-characters";r=40;t=')
    assert ask("x").headers["ratelimit-policy"] == '"work-characters";q=100;qu="characters";w=60'
    refused = ask("x" * 60)
    assert refused.status_code == 429
    clock.now += int(refused.headers["retry-after"])
    assert ask("x" * 60).status_code == 200
    never = ask("x" * 101)
    assert never.status_code == 422
    assert problem(never)["errors"][0]["field"] == "text"


def test_what_was_refused_or_could_not_be_served_is_not_charged(settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__REQUESTS_PER_MINUTE=3, SUMMARIZE__CHARACTERS_PER_MINUTE=100)
    assert ask("x" * 90).status_code == 200
    for _ in range(20):
        # Refused for its characters: not charged as a request either.
        assert ask("x" * 20).status_code == 429
        assert ask("busy").status_code == 503
    assert ask("x" * 10).headers["ratelimit"].startswith('"work";r=1;t=')
    # A wrong request is: else it could be sent as often as anybody likes.
    assert ask("x" * 101).status_code == 422
    assert ask("x").status_code == 429


def test_requests_at_work_are_counted_over_all_and_given_back(settings_env: SettingsEnv) -> None:
    settings_env(REQUESTS_AT_WORK=2)
    release.clear()

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("192.0.2.1", 1))) as client:
            held = [asyncio.create_task(client.get("http://test/work/slow")) for _ in range(2)]
            while client.is_closed or (await client.get("http://test/work/list")).status_code != 429:
                await asyncio.sleep(0)
            refused = await client.post("http://test/other", json={"text": "a"})
            public = await client.get("http://test/open")
            release.set()
            return [refused, public, *await asyncio.gather(*held), await client.get("http://test/work/list")]

    refused, public, *others = asyncio.run(crowd())
    assert problem(refused)["detail"] == "2 requests of this caller are at work already"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-policy"] == '"at-work";q=2;qu="concurrent-requests"'
    assert refused.headers["ratelimit"] == '"at-work";r=0'
    assert public.status_code == 200
    assert [answer.status_code for answer in others] == [200, 200, 200]


def test_fields_are_structured_as_the_draft_has_them(settings_env: SettingsEnv) -> None:
    settings_env(SUMMARIZE__REQUESTS_PER_MINUTE=3, SUMMARIZE__CHARACTERS_PER_MINUTE=100, REQUESTS_AT_WORK=5)
    headers = ask().headers
    policy = r'"[a-z-]+";q=[0-9]+(;qu="[a-z-]+")?(;w=[1-9][0-9]*)?'
    assert re.fullmatch(rf"{policy}(, {policy})*", headers["ratelimit-policy"])
    assert re.fullmatch(r'"[a-z-]+";r=[0-9]+(;t=[0-9]+)?(, "[a-z-]+";r=[0-9]+(;t=[0-9]+)?)*', headers["ratelimit"])


def test_without_a_limit_nothing_is_told() -> None:
    assert "ratelimit" not in ask().headers


def test_without_a_limit_the_library_is_not_imported() -> None:
    code = "import sys, local_runner; print('limits' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_a_space_lets_each_address_have_64_at_work(settings_env: SettingsEnv) -> None:
    settings_env(PROFILE="space")
    assert get_settings().requests_at_work == 64
    settings_env(PROFILE="space", REQUESTS_AT_WORK="none")
    assert get_settings().requests_at_work is None
