"""Other origins: what may be set, and answers that no route has given."""

import asyncio
import re

import httpx
import pytest
from fastapi import APIRouter

from common.http.app import create_app
from common.http.cors import exposed
from common.settings import ROOT, InvalidSettings, load_settings
from functions.audio.answers import AUDIO_HEADERS
from tests.conftest import SettingsEnv, problem

ORIGIN = "https://desk.example"
router = APIRouter()


@router.get("/broken")
async def broken() -> None:
    raise RuntimeError


app = create_app(router)


def ask(path: str, method: str = "GET") -> httpx.Response:
    async def request() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.request(method, path, headers={"Origin": ORIGIN})

    return asyncio.run(request())


@pytest.mark.parametrize("origins", ["*", ORIGIN])
@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/nowhere", 404)])
def test_errors_can_be_read_too(settings_env: SettingsEnv, origins: str, path: str, status: int) -> None:
    settings_env(CORS_ORIGINS=origins)
    answer = ask(path)
    assert problem(answer)["status"] == status
    assert answer.headers["access-control-allow-origin"] == origins
    assert "access-control-allow-credentials" not in answer.headers


def test_every_header_of_an_answer_that_is_documented_can_be_read() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    told = text.partition("| in an answer | |\n")[2].partition("\n\n")[0] + text.partition("| header | |\n")[2]
    rows = re.findall(r"^\| (`[A-Z].*?) \|", told.partition("\n\n")[0], re.MULTILINE)
    named = {name.partition(":")[0] for row in rows for name in re.findall("`([^`]+)`", row)}
    assert len(named) > 8
    assert named | set(AUDIO_HEADERS) <= exposed()


def test_without_the_setting_nothing_is_allowed() -> None:
    assert "access-control-allow-origin" not in ask("/broken").headers


@pytest.mark.parametrize(
    "origins",
    [
        "desk.example",
        "https://desk.example/",
        "https://desk.example/page",
        "https://",
        "https://Desk.example",
        "https://desk.example,",
        "https://desk.example *",
        "*,https://desk.example",
        "null",
        "https://user@desk.example",
        "https://desk.example:port",
    ],
)
def test_what_is_no_origin_ends_the_start(settings_env: SettingsEnv, origins: str) -> None:
    settings_env(CORS_ORIGINS=origins)
    with pytest.raises(InvalidSettings, match=r"FACTORY_CORS_ORIGINS: .*is no origin"):
        load_settings()


@pytest.mark.parametrize(
    "origins",
    ["", "*", "https://a.example,http://localhost:3000", "http://[::1]:8080", "chrome-extension://abcdefgh"],
)
def test_origins_as_browsers_send_them_are_taken(settings_env: SettingsEnv, origins: str) -> None:
    settings_env(CORS_ORIGINS=origins)
    assert load_settings().cors_origins == origins
