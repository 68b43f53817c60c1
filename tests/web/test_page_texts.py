"""Articles that are markup, run from right to left, or lie outside of 16 bits."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.web.desk import Desk, done, refuse, stream

HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror=\"window.hit = 2\"> Tim Cook of <b>Apple</b> & 'Co'\n"
    "<svg onload=window.hit=3></svg><iframe srcdoc='<script>parent.hit=4</script>'></iframe>"
    '<a href="javascript:window.hit=5">Paris</a> </textarea></div><style>body{display:none}</style> ${7*7} {{7*7}}'
)
PAGE = """<!doctype html><html><head><title>T</title><script>window.hit = 6</script><style>p {}</style></head><body>
<nav><a href=/>Home</a></nav><article><h1>Harbour &amp; town</h1><p>The   mayor, <b>Jane</b> Doe,<br>spoke.</p>
<img src=x onerror="window.hit = 7"><script>window.hit = 8</script><ul><li>One</li><li>Two</li></ul></article>
<footer>Imprint</footer></body></html>"""


def test_an_article_of_markup_and_script_is_text_and_nothing_runs(desk: Desk) -> None:
    elements = desk.page.evaluate("document.querySelectorAll('script, img, svg, iframe, style, a').length")
    desk.answer(
        "/summarize", stream(("token", {"text": HOSTILE}), done(summary=HOSTILE, model=HOSTILE, read=[[0, 40]]))
    )
    desk.write(HOSTILE)
    desk.find("#label").fill("<img src=x onerror=hit=9>")
    desk.find("#add").click()
    desk.find_entities()
    desk.run("summarize")
    expect(desk.find("#summary")).to_have_text(HOSTILE)
    for card in ("summarize", "extract"):
        desk.find(f"#{card} .code summary").click()
    desk.answer("/extract", refuse(422, HOSTILE))
    desk.run("extract")
    expect(desk.find("#extract .problem")).to_contain_text("onerror")
    shown = desk.page.evaluate(
        "[...document.getElementById('view').querySelectorAll('mark > :last-child')].forEach(tag => tag.remove()) "
        "|| document.getElementById('view').textContent"
    )
    assert shown == HOSTILE
    assert desk.page.evaluate("window.hit") is None
    assert desk.page.evaluate("document.querySelectorAll('script, img, svg, iframe, style, a').length") == elements
    desk.errors = [error for error in desk.errors if "status of 422" not in error]


def test_a_file_of_html_is_read_for_its_text(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE, encoding="utf-8")
    desk.find("#file").set_input_files(path)
    expect(desk.find("#text")).to_have_value("Harbour & town\n\nThe mayor, Jane Doe,\nspoke.\n\nOne\n\nTwo")
    assert desk.page.evaluate("window.hit") is None
    # The policy holds in the parsed document as well: its style and its handlers are refused, and that is told.
    refused = ("Applying inline style", "Executing inline event handler")
    desk.errors = [error for error in desk.errors if not error.startswith(refused)]


@pytest.mark.parametrize("encoding", ["utf-8", "windows-1252"])
def test_a_file_is_dropped_anywhere(desk: Desk, encoding: str) -> None:
    article = "Der Bürgermeister von Köln.\r\nEnde."
    transfer = desk.page.evaluate_handle(
        "bytes => { const data = new DataTransfer(); "
        "data.items.add(new File([new Uint8Array(bytes)], 'a.txt', { type: 'text/plain' })); return data; }",
        list(article.encode(encoding)),
    )
    desk.page.dispatch_event("#cards", "drop", {"dataTransfer": transfer})
    expect(desk.find("#text")).to_have_value(article.replace("\r\n", "\n"))


def test_a_file_without_text_is_refused_in_a_sentence(desk: Desk) -> None:
    desk.find("#file").set_input_files({"name": "photo.txt", "mimeType": "text/plain", "buffer": b"\x89PNG\0\0\0"})
    expect(desk.find("#note")).to_contain_text("photo.txt holds no text that can be read.")
    assert desk.find("#text").input_value() == ""


def test_offsets_are_right_where_characters_are_outside_of_16_bits(desk: Desk) -> None:
    text = "🏭🏭 Tim Cook 𝒜 visited 🇫🇷 Paris with Angela Merkel 👩‍👩‍👧. 🏭"
    desk.write(text)
    desk.find_entities()
    found = httpx.post(f"{desk.url}/extract", json={"text": text}).json()["entities"]
    assert found
    assert desk.marks() == [(entity["text"], entity["label"]) for entity in found]
    assert f"{len(text)} characters" in desk.text("#count")
    desk.answer("/summarize", stream(done(condensed=True, read=[[3, 11], [len(text) - 1, len(text)]])))
    desk.run("summarize")
    expect(desk.find("#licence")).not_to_be_empty()
    read = desk.page.evaluate(
        "[...document.querySelectorAll('#view .read')].map(span => span.firstChild.data).join('|')"
    )
    assert read == f"{text[3:11]}|{text[-1]}"


def test_words_that_are_heard_are_found_where_characters_are_outside_of_16_bits(desk: Desk) -> None:
    text = "🏭 Hello & <bold> world 𝒜 again"
    desk.write(text)
    desk.run("audio")
    expect(desk.find("#audio")).to_have_attribute("aria-busy", "false")
    desk.page.evaluate(
        """async at => {
        const player = document.getElementById("player");
        player.pause();
        player.currentTime = at;
        await new Promise(resolve => player.addEventListener("seeked", resolve, { once: true }));
        while (!CSS.highlights.has("heard")) await new Promise(requestAnimationFrame);
    }""",
        text.index("world") * 0.06 + 0.1,
    )
    heard = "[...(CSS.highlights.get('heard') ?? [])].join()"
    assert desk.page.evaluate(heard).strip() == "world"


def test_text_from_right_to_left_is_shown_so_paragraph_by_paragraph(desk: Desk) -> None:
    desk.write("التقى Tim Cook رئيس البلدية في Paris.\n\nHe came from Berlin.")
    desk.find_entities()
    lines = desk.page.evaluate(
        """() => {
            const view = document.getElementById("view"), frame = view.getBoundingClientRect(), found = [];
            for (const word of ["التقى", "He came"]) {
                const walker = document.createTreeWalker(view, NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const at = walker.currentNode.data.indexOf(word);
                    if (at < 0) continue;
                    const range = document.createRange();
                    range.setStart(walker.currentNode, at);
                    range.setEnd(walker.currentNode, at + word.length);
                    const box = range.getBoundingClientRect();
                    found.push(box.left - frame.left < frame.right - box.right ? "left" : "right");
                }
            }
            return found;
        }"""
    )
    assert lines == ["right", "left"]
    assert ("Paris", "Location") in desk.marks()
