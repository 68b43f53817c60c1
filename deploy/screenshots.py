"""Pictures of the desk for README, and what a browser says of its weight; `make screenshots`, with a chromium.

    python -m deploy.screenshots                            docs/desk-light.png and docs/desk-dark.png
    python -m deploy.screenshots --all FOLDER               every state, at 360 and 1280 pixels, light and dark
    python -m deploy.screenshots --figures                  bytes, requests and the first paint, as medians

The service runs with the models of `make run` and a speech cloud on the loopback, which says a tone. What it cannot be
brought to here, a model that loads and errors, is answered in its place.
"""

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from benchmarks.harness import service
from benchmarks.harness.browser import executable, launch
from common.settings import ROOT
from tests.doubles.edge_server import SpeechCloud

DOCS = ROOT / "docs"
SECONDS = 60
HEIGHTS = {360: 780, 1280: 1010}
SCHEMES = ("light", "dark")
HEARD_AT_SECONDS = 5.2
LOADS = 11
# What the browser measures of itself, in milliseconds and bytes as they were sent, headers included.
FIGURES = """() => {
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    const own = all.filter(entry => !/health|voices/.test(entry.name));
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return {
        requests: own.length, requests_with_health_and_voices: all.length,
        bytes: own.reduce((sum, entry) => sum + entry.encodedBodySize, 0),
        bytes_sent: own.reduce((sum, entry) => sum + entry.transferSize, 0),
        first_contentful_paint_ms: paint.startTime, loaded_ms: all[0].loadEventEnd,
    };
}"""


def problem(status: int, detail: str, **headers: str) -> Callable[[Route], None]:
    body = json.dumps({"type": "about:blank", "title": detail, "status": status, "detail": detail})
    return lambda route: route.fulfill(
        status=status, headers=headers, content_type="application/problem+json", body=body
    )


def empty(_: Page) -> None:
    pass


def loading(page: Page) -> None:
    def on_their_way(route: Route) -> None:
        health = route.fetch().json()
        state = {"state": "downloading", "progress": 0.62, "detail": "3.1 of 4.9 GB"}
        stand_in = {"state": "ready", "progress": 1.0, "detail": ""}
        rates = {"reading_tokens_per_second": 96.0, "writing_tokens_per_second": 14.2}
        health["models"] |= {"llama": state, "stand-in": stand_in | {"rates": rates}}
        health["models"]["gliner"] = {"state": "loading", "progress": 0.4, "detail": "the graph is rebuilt"}
        route.fulfill(json=health)

    page.route("**/health", on_their_way)
    page.reload()
    if not page.locator("#house").evaluate("house => house.open"):
        page.locator("#house > summary").click()
    expect(page.locator("#house-list progress")).to_have_count(2)


def summary(page: Page) -> None:
    page.locator("#sample").select_option("0")
    page.locator("#summarize .run").click()
    expect(page.locator("#summary")).to_have_text(re.compile(".{70}"))


def entities(page: Page) -> None:
    page.locator("#sample").select_option("1")
    page.locator("#label").fill("Money")
    page.locator("#add").click()
    page.locator("#extract .run").click()
    expect(page.locator("#view mark").first).to_be_visible()
    page.locator("#table-box summary").click()


def listening(page: Page) -> None:
    page.locator("#sample").select_option("1")
    page.locator("#temperature").evaluate("field => { field.value = 0; }")
    page.locator("#all").click()
    for card in ("summarize", "extract", "audio"):
        expect(page.locator(f"#{card}")).to_have_attribute("aria-busy", "false")
    page.evaluate(
        """async at => {
            const player = document.getElementById("player");
            player.pause();
            player.currentTime = at;
            await new Promise(resolve => player.addEventListener("seeked", resolve, { once: true }));
        }""",
        HEARD_AT_SECONDS,
    )


def error(page: Page) -> None:
    busy = problem(503, "summarize: there is no time before the deadline", **{"Retry-After": "14"})
    page.route("**/summarize", busy)
    page.route("**/extract", problem(422, "labels[3]: must not contain '<<ENT>>', which the model reserves"))
    page.route("**/audio", problem(502, "the speech cloud failed, and no other voice may speak"))
    page.locator("#sample").select_option("2")
    page.locator("#all").click()
    for selector in ("#summarize .what", "#extract .problem", "#audio .problem"):
        expect(page.locator(selector)).not_to_be_empty()
    expect(page.locator("#summarize .what")).to_contain_text("Trying again")


STATES = {state.__name__: state for state in (empty, loading, summary, entities, listening, error)}


@contextmanager
def desk(browser: Browser, url: str, width: int, scheme: str) -> Iterator[Page]:
    options: Any = {"color_scheme": scheme, "reduced_motion": "reduce"}
    context = browser.new_context(viewport={"width": width, "height": HEIGHTS[width]}, **options)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(url)
    expect(page.locator("#sample option")).to_have_count(5)
    expect(page.locator("#house-line")).to_have_text("Everything is ready")
    yield page
    context.close()


def take(browser: Browser, url: str, state: str, width: int, scheme: str, path: Path) -> None:
    with desk(browser, url, width, scheme) as page:
        STATES[state](page)
        page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        page.screenshot(path=path, full_page=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def figures(browser: Browser, url: str) -> dict[str, float]:
    """Medians over loads without a cache, each in a context of its own."""
    found: list[dict[str, float]] = []
    for _ in range(LOADS):
        with desk(browser, url, 1280, "light") as page:
            found.append(page.evaluate(FIGURES))
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of the desk, and what a browser says of its weight.")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every state, width and colour scheme")
    parser.add_argument("--figures", action="store_true", help="bytes, requests and the first paint instead")
    options = parser.parse_args()
    if executable() is None:
        parser.exit(1, "there is no browser: install chromium\n")
    expect.set_options(timeout=SECONDS * 1000)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cloud = stack.enter_context(SpeechCloud())
        program = service.factory({"PROFILE": "embedded", "AUDIO__ENDPOINT": cloud.url}, folder=folder)
        running = stack.enter_context(
            service.run(program, folder / "log.txt", start_seconds=SECONDS, stop_seconds=SECONDS)
        )
        browser = launch(stack.enter_context(sync_playwright()))
        if options.figures:
            print(json.dumps(figures(browser, running.url), indent=2))
        elif options.all:
            options.all.mkdir(parents=True, exist_ok=True)
            for state, width, scheme in product(STATES, HEIGHTS, SCHEMES):
                take(browser, running.url, state, width, scheme, options.all / f"{state}-{width}-{scheme}.png")
        else:
            for scheme in SCHEMES:
                take(browser, running.url, "listening", 1280, scheme, DOCS / f"desk-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
