"""Keyboard, screen reader, small and large screens, both colour schemes, and what the page does by itself."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.conftest import Runner
from tests.web.desk import ARTICLE, Desk, done, stream

CONDENSED = stream(done(condensed=True, read=[[0, 53]], unsupported=["14"], finish_reason="deadline"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, as_it_starts: Runner, scheme: str) -> None:
    desk = Desk(browser, as_it_starts.url, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    axe = Axe()
    for state in ("empty", "full", "failed"):
        if state == "full":
            desk.answer("/summarize", CONDENSED)
            desk.write()
            desk.find("#all").click()
            expect(desk.find("#engine")).not_to_be_empty()
            expect(desk.find("#audio")).to_have_attribute("aria-busy", "false")
            desk.unfold()
        elif state == "failed":
            desk.find("#clear").click()
            desk.find("#all").click()
            expect(desk.find("#audio .problem")).to_be_visible()
        results: dict[str, Any] = axe.run(desk.page).response
        found = [(item["id"], [node["html"] for node in item["nodes"]]) for item in results["violations"]]
        assert not found, (state, found)
    desk.close()


@pytest.mark.parametrize("width", [360, 1600])
def test_it_fits_the_screen(browser: Browser, as_it_starts: Runner, width: int) -> None:
    desk = Desk(browser, as_it_starts.url, viewport={"width": width, "height": 800})
    desk.answer("/summarize", CONDENSED)
    desk.write(f"{ARTICLE} {'long' * 100}")
    desk.find("#label").fill("A label of so many words that it has to be broken somewhere")
    desk.find("#add").click()
    desk.find("#all").click()
    expect(desk.find("#engine")).not_to_be_empty()
    expect(desk.find("#extract .result")).to_be_visible()
    desk.unfold()
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= width
    desk.close()


def test_it_is_used_by_keyboard_alone(desk: Desk) -> None:
    desk.answer("/summarize", CONDENSED)
    keyboard = desk.page.keyboard

    def tab_to(selector: str) -> None:
        for _ in range(40):
            if desk.find(selector).evaluate("element => element === document.activeElement"):
                return
            keyboard.press("Tab")
            # The browser's own player shows the focus inside of itself.
            hidden = desk.page.evaluate(
                "document.activeElement.matches('body, audio') || "
                "getComputedStyle(document.activeElement).outlineStyle !== 'none' "
                "? '' : document.activeElement.outerHTML"
            )
            assert not hidden, "focus is seen"
        raise AssertionError(f"{selector} is not reached")

    keyboard.press("Tab")
    expect(desk.find(".skip")).to_be_focused()
    keyboard.press("Enter")
    expect(desk.find("#text")).to_be_focused()
    keyboard.insert_text(ARTICLE)
    keyboard.press("Control+Enter")
    expect(desk.find("#summary")).not_to_be_empty()
    # The field has given way to the marked article, and the focus has gone there with it.
    expect(desk.find("#view")).to_be_focused()
    expect(desk.find("#view mark").first).to_be_visible()
    tab_to("#threshold")
    before = len(desk.marks())
    keyboard.press("End")
    expect(desk.find("#threshold-value")).to_have_text("0.99")
    assert len(desk.marks()) < before
    tab_to("#extract .code summary")
    keyboard.press("Enter")
    expect(desk.find("#extract .code pre").first).to_be_visible()
    tab_to("#audio .run")
    tab_to("#voice")


def test_the_desk_survives_a_reload(desk: Desk) -> None:
    desk.answer("/summarize", CONDENSED)
    desk.write()
    desk.find("#threshold").fill("0.35")
    desk.find("#search").fill("german")
    desk.find("#voice").select_option("de-DE-KatjaNeural")
    desk.find("#rate").fill("25")
    desk.find("#label").fill("Date")
    desk.find("#add").click()
    desk.run("summarize")
    desk.find_entities()
    expect(desk.find("#summary")).not_to_be_empty()
    desk.find("#labels input").first.fill("#123456")
    seen = ["#summary", "#summary-facts", "#extract-facts", "#labels", "#threshold-value", "#rate-value", "#view"]
    before = {selector: desk.text(selector) for selector in seen}
    calls = len(desk.sent("/extract"))
    desk.open()
    assert {selector: desk.text(selector) for selector in seen} == before
    assert desk.find("#voice").input_value() == "de-DE-KatjaNeural"
    assert desk.find("#labels input").first.input_value() == "#123456"
    assert len(desk.sent("/extract")) == calls
    for broken in ('{"text": "cut', "{}", "null"):
        desk.page.evaluate(
            "broken => { localStorage.setItem('factory-desk-1', broken); Storage.prototype.setItem = () => {}; }",
            broken,
        )
        desk.open()
        assert desk.find("#text").input_value() == ""
        expect(desk.find("#labels .chip")).to_have_count(3)


def test_health_is_not_asked_for_while_nobody_looks(desk: Desk) -> None:
    desk.page.clock.install()
    desk.open()
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true }); "
        "document.dispatchEvent(new Event('visibilitychange')); }"
    )
    expect(desk.find("#house-line")).to_have_text("Everything is ready")
    desk.page.evaluate(hide, True)
    before = len(desk.sent("/health"))
    desk.page.clock.run_for(60_000)
    assert len(desk.sent("/health")) == before
    with desk.page.expect_request("**/health"):
        desk.page.evaluate(hide, False)


class Prefixed(BaseHTTPRequestHandler):
    """A proxy that serves the service at `port` below /desk/."""

    port = 0

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def _forward(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not self.path.startswith("/desk/"):
            self.send_error(404)
            return
        connection.request(self.command, self.path.removeprefix("/desk"), body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def prefixed(as_it_starts: Runner) -> Iterator[str]:
    handler = type("Handler", (Prefixed,), {"port": as_it_starts.port})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/desk/"
        server.shutdown()


def test_it_works_below_a_path_of_a_proxy(browser: Browser, prefixed: str) -> None:
    desk = Desk(browser, prefixed)
    desk.write()
    desk.find_entities()
    assert desk.marks()
    desk.find("#extract .code summary").click()
    assert f"{prefixed}extract" in desk.text("#extract .code pre >> nth=0")
    desk.close()
