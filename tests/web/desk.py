"""What the tests do with a desk: open it, put an article on it, and look at what it has sent and shown."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Route, expect

ARTICLE = (
    "Apple Inc. announced that Tim Cook will visit Paris. The mayor, Jane Doe of Berlin, met him at the Louvre.\n\n"
    "She had asked Microsoft for a new library. Construction will begin next spring, said Angela Merkel in Hamburg."
)
SECONDS = 30
# As milliseconds; models and the browser share two cores with other tests.
expect.set_options(timeout=SECONDS * 1000)


class Desk:
    """One page in a context of its own. `errors` are what its console tells; whoever expects some clears them."""

    def __init__(self, browser: Browser, url: str, *, has_voices: bool = True, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.errors: list[str] = []
        self.requests: list[Request] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))
        # What those hear who hear the page.
        self.context.add_init_script(
            "window.said = []; addEventListener('DOMContentLoaded', () => new MutationObserver(() => "
            "said.push(document.getElementById('said').textContent)).observe("
            "document.getElementById('said'), { childList: true }))"
        )
        self.open(has_voices=has_voices)

    def open(self, *, has_voices: bool = True) -> None:
        """Or open it again."""
        self.page.goto(self.url)
        expect(self.page.locator("#sample option")).to_have_count(5)
        if has_voices:
            expect(self.page.locator("#voice option")).not_to_have_count(1)

    def close(self) -> None:
        foreign = [request.url for request in self.requests if not request.url.startswith((self.url, "blob:", "data:"))]
        self.context.close()
        assert not self.errors, self.errors
        assert not foreign, foreign

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url')}")

    def find(self, selector: str) -> Locator:
        return self.page.locator(selector)

    def write(self, article: str = ARTICLE) -> None:
        self.find("#write").click()
        self.find("#text").fill(article)

    def run(self, card: str) -> None:
        self.find(f"#{card} .run").click()

    def text(self, selector: str) -> str:
        return self.find(selector).inner_text()

    def sent(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.url == self.url + path]

    def marks(self) -> list[tuple[str, str]]:
        """The entities that are marked: text and label."""
        return [
            tuple(pair)
            for pair in self.page.evaluate(
                "[...document.querySelectorAll('#view mark')].map(mark => "
                "[mark.textContent.slice(0, -mark.lastChild.textContent.length), mark.lastChild.textContent])"
            )
        ]

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")

    def find_entities(self) -> None:
        self.run("extract")
        expect(self.find("#extract")).to_have_attribute("aria-busy", "false")
        expect(self.find("#extract .result")).to_be_visible()

    def answer(self, path: str, handler: Callable[[Route], None]) -> None:
        """`handler` answers what is sent to `path` from now on."""
        self.page.route(re.compile(re.escape(self.url + path) + "$"), handler)


def events(*pairs: tuple[str, dict[str, Any]]) -> str:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in pairs)


def done(**fields: Any) -> tuple[str, dict[str, Any]]:
    usage = {"prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 7, "cached_answer": False}
    answer = {"summary": "A library is built.", "model": "SmolLM2-135M", "inference_time_ms": 1200}
    return "done", answer | {"finish_reason": "stop", "usage": usage, "condensed": False, "input_tokens": 60} | fields


def stream(*pairs: tuple[str, dict[str, Any]]) -> Callable[[Route], None]:
    return lambda route: route.fulfill(content_type="text/event-stream", body=events(*pairs))


def refuse(status: int, detail: str, **headers: str) -> Callable[[Route], None]:
    problem = {"type": "about:blank", "title": detail, "status": status, "detail": detail, "instance": "1"}
    return lambda route: route.fulfill(
        status=status, headers=headers, content_type="application/problem+json", body=json.dumps(problem)
    )
