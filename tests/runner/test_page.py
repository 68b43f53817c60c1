"""The page and its files as they are served; tests/web looks at them in a browser."""

import re
from pathlib import Path

import httpx
import pytest

from local_runner import app
from runner.page import WEB
from tests.conftest import ROOT, Runner, call, problem

FILES = sorted(path.name for path in WEB.iterdir() if path.name != "index.html")
# All of it together, as it is: nothing is compressed.
MOST_BYTES = 60_000


def directives(response: httpx.Response) -> dict[str, str]:
    policy = response.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (directive.partition(" ") for directive in policy)}


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in WEB.iterdir()) < MOST_BYTES
    assert sum(path.suffix == ".js" for path in WEB.iterdir()) <= 4


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_its_media_type_and_is_sent_again_only_when_it_has_changed(name: str, runner: Runner) -> None:
    response = httpx.get(f"{runner.url}/web/{name}")
    kinds = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
    assert response.headers["content-type"].startswith({**kinds, ".svg": "image/svg+xml"}[Path(name).suffix])
    assert response.headers["cache-control"] == "no-cache"
    assert response.content == (WEB / name).read_bytes()
    for known in (response.headers["etag"], f'"other", W/{response.headers["etag"]}'):
        again = httpx.get(f"{runner.url}/web/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == response.headers["etag"]
    assert httpx.get(f"{runner.url}/web/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/web/desk.js", "/web/icon.svg"])
def test_nothing_but_what_is_its_own_may_run_in_the_page(path: str) -> None:
    response = call(app, "GET", path)
    found = directives(response)
    assert found["default-src"] == "'none'"
    assert found["script-src"] == found["style-src"] == found["connect-src"] == "'self'"
    assert found["require-trusted-types-for"] == "'script'"
    assert found["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


def test_only_the_hub_frames_it_and_only_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "somebody/segmento-factory")
    assert directives(call(app, "GET", "/"))["frame-ancestors"] == "https://huggingface.co"


@pytest.mark.parametrize(
    "name", ["..%2Flocal_runner.py", "%2E%2E/README.md", "index.html", "no.js", "", "desk.js%00", "%2Fetc%2Fpasswd"]
)
def test_no_other_file_is_served(name: str, runner: Runner) -> None:
    assert problem(httpx.get(f"{runner.url}/web/{name}"))["status"] == 404


def test_its_addresses_are_relative_and_nothing_in_it_is_inline() -> None:
    """Behind a proxy it may be below any path; the policy lets nothing inline run."""
    page = (WEB / "index.html").read_text(encoding="utf-8")
    addresses = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert addresses
    assert not [address for address in addresses if address.startswith("/") or ":" in address]
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=)", page)


def test_no_module_makes_markup_of_text() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacent|document\.write|createContextualFragment|eval\(|new Function|setHTML"
    for path in WEB.glob("*.js"):
        assert not re.findall(sinks, path.read_text(encoding="utf-8")), path


def test_modules_may_have_the_name_of_no_other_host() -> None:
    for path in WEB.iterdir():
        named = re.findall(r"https?://[^\s\"'`]+", path.read_text(encoding="utf-8"))
        assert set(named) <= {"http://www.w3.org/2000/svg"}, path
    assert (ROOT / "web").samefile(WEB)
