"""What a person does at the desk, and what the service then says to somebody who asks it himself."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mutagen.mp3 import MP3
from playwright.sync_api import expect

from tests.web.desk import ARTICLE, Desk, done, stream

LABELS = ["Person", "Organization", "Location"]


def entities(url: str, text: str, labels: list[str], threshold: float) -> list[tuple[str, str]]:
    body = {"text": text, "labels": labels, "threshold": threshold}
    found: list[dict[str, Any]] = httpx.post(f"{url}/extract", json=body, timeout=60).json()["entities"]
    return [(entity["text"], entity["label"]) for entity in found]


def body(desk: Desk, path: str) -> Any:
    return json.loads(desk.sent(path)[-1].post_data or "")


def test_a_summary_is_written_word_by_word_by_the_model(desk: Desk) -> None:
    desk.write()
    desk.find("#summarize summary").first.click()
    desk.find("#max-tokens").fill("20")
    desk.find("#temperature").fill("0")
    desk.run("summarize")
    expect(desk.find("#licence")).to_have_text("SmolLM2, Apache-2.0")
    asked = {"text": ARTICLE, "max_tokens": 20, "temperature": 0}
    assert body(desk, "/summarize") == asked | {"stream": True, "progress": True}
    same = httpx.post(f"{desk.url}/summarize", json=asked, timeout=60).json()
    assert desk.text("#summary") == same["summary"]
    assert same["model"] in desk.text("#summary-facts")
    expect(desk.find("#said")).to_contain_text("Summary ready")


def test_it_says_what_it_does_before_the_first_word_and_which_sentences_were_read(desk: Desk) -> None:
    first = ARTICLE.index("The mayor")
    model = "SmolLM2-135M"
    states = ({"state": "waiting", "place": 2, "seconds": 14.0}, {"state": "reading", "tokens": 312, "read": 128})
    for state, sentence in zip(states, ("Place 2, about 14 s", "reads 128 of 312 tokens"), strict=True):
        with_model = ("status", {**state, "model": model})
        desk.answer("/summarize", stream(with_model, ("token", {"text": ""})))
        desk.write()
        desk.run("summarize")
        expect(desk.find("#summarize .problem")).to_contain_text("broke off")
        assert sentence in desk.page.evaluate("window.said.join()")
    desk.answer("/summarize", stream(("status", {"state": "new"}), done(condensed=True, read=[[0, first - 1]])))
    desk.run("summarize")
    expect(desk.find("#summary")).to_have_text("A library is built.")
    desk.find("#marked").click()
    assert desk.text("#view .read") == ARTICLE[: first - 1]
    assert "condensed" in desk.text("#summary-facts")
    assert "24 %" in desk.text("#count")


def test_a_summary_that_is_stopped_leaves_the_model_to_others(desk: Desk) -> None:
    desk.write(ARTICLE * 3)
    desk.find("#summarize summary").first.click()
    desk.find("#max-tokens").fill("1024")
    desk.run("summarize")
    expect(desk.find("#summary")).not_to_be_empty()
    desk.find("#summarize .stop").click()
    expect(desk.find("#summarize .what")).to_have_text("Stopped.")
    expect(desk.find("#summarize .run")).to_be_focused()
    expect(desk.find("#summarize .stop")).to_be_hidden()

    def is_idle() -> bool:
        return bool(httpx.get(f"{desk.url}/health").json()["queues"]["summarize"]["at_work"] == 0)

    for _ in range(200):
        if is_idle():
            break
        desk.page.wait_for_timeout(50)
    assert is_idle()


def test_the_threshold_acts_without_a_call_and_finds_what_the_service_finds(desk: Desk) -> None:
    desk.write()
    desk.find_entities()
    for threshold in (0.5, 0.1, 0.35, 0.8, 0.97):
        desk.find("#threshold").fill(str(threshold))
        expect(desk.find("#threshold-value")).to_have_text(f"{threshold:.2f}")
        assert desk.marks() == entities(desk.url, ARTICLE, LABELS, threshold)
    assert len(desk.sent("/extract")) == 1
    assert desk.text("#view").replace("Person", "").replace("Organization", "").replace("Location", "") == ARTICLE


def test_labels_are_added_removed_and_recoloured(desk: Desk) -> None:
    desk.write()
    desk.find_entities()
    desk.find("#label").fill("Date")
    desk.find("#label").press("Enter")
    expect(desk.find("#labels .chip")).to_have_text([*LABELS, "Date"])
    expect(desk.find("#extract .result")).to_be_visible()
    assert desk.marks() == entities(desk.url, ARTICLE, [*LABELS, "Date"], 0.5)
    desk.find("#labels button[aria-label='Remove Person']").click()
    expect(desk.find("#extract .result")).to_be_visible()
    assert desk.marks() == entities(desk.url, ARTICLE, ["Organization", "Location", "Date"], 0.5)
    assert len(desk.sent("/extract")) == 3
    desk.find("#labels input[aria-label='Colour of Location']").fill("#102030")
    mark = desk.find(
        "#view mark",
    ).filter(has_text="Paris")
    assert mark.evaluate("mark => getComputedStyle(mark).backgroundColor") == "rgb(16, 32, 48)"
    assert mark.evaluate("mark => getComputedStyle(mark).color") == "rgb(255, 255, 255)"
    desk.find("#label").fill("Date")
    desk.find("#add").click()
    expect(desk.find("#extract .problem")).to_contain_text("Date is there already.")


def test_the_counts_and_the_table_are_of_what_is_marked(desk: Desk) -> None:
    desk.write()
    desk.find_entities()
    marks = desk.marks()
    counts = [str(sum(label == one for _, label in marks)) for one in LABELS]
    expect(desk.find("#labels .small")).to_have_text(counts)
    desk.find("#extract details summary").first.click()
    expect(desk.find("#rows tr")).to_have_count(len(marks))


def test_entities_are_copied_as_csv_and_json_as_they_are(desk: Desk) -> None:
    text = 'The "Daily, News" met =SUM(A1) in Paris.'
    found = [
        {"text": '"Daily, News"', "label": "Organization", "score": 0.9, "start": 4, "end": 17},
        {"text": "=SUM(A1)", "label": "Person", "score": 0.8, "start": 22, "end": 30},
        {"text": "Paris", "label": "Location", "score": 0.3, "start": 34, "end": 39},
    ]
    answer = {"entities": found, "model": "m", "inference_time_ms": 1, "words": 9, "windows": 1, "cached_answer": False}
    desk.answer("/extract", lambda route: route.fulfill(json=answer))
    desk.context.grant_permissions(["clipboard-read", "clipboard-write"])
    desk.write(text)
    desk.find_entities()
    desk.find("#copy-csv").click()
    expect(desk.find("#copy-csv")).to_have_text("Copied")
    copied = desk.page.evaluate("navigator.clipboard.readText()")
    rows = list(csv.DictReader(io.StringIO(copied)))
    # What a spreadsheet would compute has an apostrophe before it.
    assert [row["text"] for row in rows] == ['"Daily, News"', "'=SUM(A1)"]
    assert rows[0]["start"] == "4"
    desk.find("#copy-json").click()
    expect(desk.find("#copy-json")).to_have_text("Copied")
    assert json.loads(desk.page.evaluate("navigator.clipboard.readText()")) == found[:2]


def test_it_reads_aloud_and_marks_the_word_that_is_heard(desk: Desk) -> None:
    desk.write()
    desk.run("audio")
    expect(desk.find("#engine")).to_contain_text("The speech cloud speaks (edge-tts), as en-US-ChristopherNeural.")
    expect(desk.find("#audio")).to_have_attribute("aria-busy", "false")
    words = desk.page.evaluate(
        """async () => {
            const player = document.getElementById("player"), heard = [];
            player.pause();
            for (let at = 0.05; at < player.duration; at += 0.25) {
                player.currentTime = at;
                await new Promise(resolve => player.addEventListener("seeked", resolve, { once: true }));
                for (const range of CSS.highlights.get("heard") ?? []) heard.push(range.toString().trim());
            }
            return heard;
        }"""
    )
    # Words of the double are what lies between spaces; each is heard for 60 ms a character.
    spoken = ARTICLE.split()
    assert [word for at, word in enumerate(words) if word != words[at - 1]] == [w for w in spoken if w in words]
    assert len(set(words)) > len(set(spoken)) * 0.6
    recordings = [request for request in desk.sent("/audio") if request.method == "POST"]
    assert [request.all_headers()["accept"] for request in recordings] == ["*/*", "text/vtt; timestamps=words"]
    assert recordings[0].post_data == recordings[1].post_data


def test_voices_are_searched_and_what_was_said_is_downloaded(desk: Desk, tmp_path: Path) -> None:
    desk.find("#search").fill("german (germany) female")
    expect(desk.find("#voice option")).to_have_count(1)  # the one that is chosen stays
    desk.find("#search").fill("german (germany)")
    desk.find("#voice").select_option("de-DE-KatjaNeural")
    desk.find("#rate").fill("25")
    desk.find("#pitch").fill("-10")
    desk.write("Guten Tag, Frau Merkel. Wie geht es Ihnen?")
    desk.run("audio")
    expect(desk.find("#save-mp3")).to_be_enabled()
    asked = {"voice": "de-DE-KatjaNeural", "rate": "+25%", "pitch": "-10Hz"}
    assert asked.items() <= body(desk, "/audio").items()
    for kind, opening in (("mp3", b""), ("vtt", b"WEBVTT"), ("srt", b"1\n00:00:00,000")):
        with desk.page.expect_download() as download:
            desk.find(f"#save-{kind}").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert path.suffix == f".{kind}"
        assert path.read_bytes().startswith(opening)
    assert MP3(tmp_path / "article.mp3").info.length > 1


def test_one_button_does_all_three(desk: Desk) -> None:
    desk.find("#sample").select_option("0")
    desk.find("#summarize summary").first.click()
    desk.find("#max-tokens").fill("12")
    desk.find("#all").click()
    expect(desk.find("#licence")).not_to_be_empty()
    expect(desk.find("#view mark").first).to_be_visible()
    expect(desk.find("#engine")).not_to_be_empty()
    assert [len(desk.sent(path)) for path in ("/summarize", "/extract", "/audio")] == [1, 1, 2]


@pytest.mark.parametrize("card", ["summarize", "extract", "audio"])
def test_the_calls_that_are_shown_are_those_that_were_made(desk: Desk, card: str, tmp_path: Path) -> None:
    desk.write("Tim O'Neill's \"plan\" costs $5 & more; he met Ann in Paris.\n\nIt's `late` \\ now.")
    desk.find("#summarize summary").first.click()
    desk.find("#max-tokens").fill("5")
    desk.run(card)
    expect(desk.find(f"#{card}")).to_have_attribute("aria-busy", "false")
    desk.find(f"#{card} .code summary").click()
    shown = desk.find(f"#{card} .code pre").all_inner_texts()
    assert len(shown) == (4 if card == "audio" else 2)
    made = [request.post_data_json for request in desk.sent(f"/{card}")]
    for number, text in enumerate(shown):
        command = [sys.executable, "-c", text] if number % 2 else ["bash", "-ec", text]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        if card == "extract":
            assert json.loads(printed)["entities"] == httpx.post(f"{desk.url}/extract", json=made[0]).json()["entities"]
        elif card == "summarize":
            assert re.search(r"event: done\n", printed)
        elif number > 1:
            assert "<00:00:" in (tmp_path / "article.vtt").read_text(encoding="utf-8")
        else:
            assert MP3(tmp_path / "article.mp3").info.length > 1
