"""What the desk says, and does by itself, when something is not as it should be."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.conftest import run_service
from tests.doubles.edge_server import Fault, SpeechCloud
from tests.web.desk import Desk, done, refuse, stream

KEY = "a-key-of-the-desk-123456"
LONG = "The city council met again on Tuesday. "


def forgive(desk: Desk, *what: str) -> None:
    """Chromium itself writes to the console that a request has failed."""
    desk.errors = [error for error in desk.errors if not any(word in error for word in what)]


def test_a_503_is_counted_down_and_tried_again(desk: Desk) -> None:
    desk.page.clock.install()
    desk.answer("/summarize", refuse(503, "summarize: the queue is full", **{"Retry-After": "7"}))
    desk.write()
    desk.run("summarize")
    doing = desk.find("#summarize .what")
    expect(doing).to_have_text("Summarize: the queue is full. Trying again in 7 s.")
    desk.page.clock.run_for(3000)
    expect(doing).to_have_text("Summarize: the queue is full. Trying again in 4 s.")
    desk.answer("/summarize", stream(done()))
    desk.page.clock.run_for(5000)
    expect(desk.find("#summary")).to_have_text("A library is built.")
    assert len(desk.sent("/summarize")) == 2
    # Those who hear the page are told once, not every second.
    assert sum("Trying again" in sentence for sentence in desk.page.evaluate("window.said")) == 1
    forgive(desk, "status of 503")


def test_a_countdown_is_cancelled(desk: Desk) -> None:
    desk.answer("/extract", refuse(429, "too many requests", **{"Retry-After": "60"}))
    desk.write()
    desk.run("extract")
    expect(desk.find("#extract .what")).to_contain_text("Trying again in")
    desk.find("#extract .stop").click()
    expect(desk.find("#extract .what")).to_have_text("Stopped.")
    expect(desk.find("#extract")).to_have_attribute("aria-busy", "false")
    forgive(desk, "status of 429")


def test_a_service_that_is_away_is_waited_for(desk: Desk) -> None:
    expect(desk.find("#house-line")).to_have_text("Everything is ready")
    desk.context.set_offline(True)
    desk.write()
    desk.run("extract")
    expect(desk.find("#extract .what")).to_contain_text("The service does not answer. Trying again in")
    expect(desk.find("#house-line")).to_have_text("The service does not answer; trying again")
    desk.context.set_offline(False)
    expect(desk.find("#view mark").first).to_be_visible()
    expect(desk.find("#house-line")).to_have_text("Everything is ready")
    forgive(desk, "ERR_INTERNET_DISCONNECTED")


def test_sound_is_heard_while_it_is_made_and_one_that_breaks_off_is_never_taken_for_the_whole(
    browser: Browser, tmp_path: Path
) -> None:
    settings = {"DRAIN_SECONDS": 0, "AUDIO__BETWEEN_AUDIO_SECONDS": 60}
    with SpeechCloud() as cloud, run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url, **settings) as runner:
        desk = Desk(browser, runner.url)
        cloud.fault, cloud.messages_before = Fault.STALL, 20
        desk.write()
        desk.run("audio")
        expect(desk.find("#audio .result")).to_be_visible()
        desk.page.evaluate(
            """async () => {
                const player = document.getElementById("player");
                while (player.currentTime < 0.2) await new Promise(requestAnimationFrame);
            }"""
        )
        assert not cloud.turns[0].ended.is_set()
        runner.process.terminate()
        expect(desk.find("#audio .problem")).to_contain_text("The connection broke before the end. Run it again.")
        expect(desk.find("#save-mp3")).to_be_disabled()
        expect(desk.find("#house-line")).to_have_text("The service does not answer; trying again")
        forgive(desk, "ERR_", "status of 503")
        desk.close()


def test_a_stand_in_for_the_cloud_is_named_with_the_reason(desk: Desk) -> None:
    def piper(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, headers=response.headers | {"x-audio-engine": "piper", "x-audio-voice": "joe"})

    cloud = {"speech cloud": {"state": "open", "failures": 5, "retry_in_seconds": 19.2}}
    desk.answer("/health", lambda route: route.fulfill(json=route.fetch().json() | {"upstreams": cloud}))
    desk.answer("/audio", piper)
    desk.write("Hello world.")
    desk.run("audio")
    expect(desk.find("#engine")).to_contain_text("Piper, a neural voice of this service, speaks, as joe")
    expect(desk.find("#engine")).to_contain_text("the speech cloud keeps failing and is left alone for 20 s more")
    expect(desk.find("#house-line")).to_contain_text("Speech cloud left alone for a while")


def test_a_key_is_asked_for_once_and_never_shown(browser: Browser, speech_cloud: SpeechCloud, tmp_path: Path) -> None:
    settings = {"API_KEYS": f"desk:{KEY}", "AUDIO__ENDPOINT": speech_cloud.url}
    with run_service(tmp_path / "log.txt", **settings) as runner:
        desk = Desk(browser, runner.url, has_voices=False)
        expect(desk.find("#house-line")).to_have_text("Everything is ready")
        expect(desk.find("#key-dialog")).to_be_hidden()
        desk.write()
        desk.page.evaluate("document.querySelectorAll('#extract .run, #audio .run').forEach(button => button.click())")
        expect(desk.find("#key-dialog")).to_be_visible()
        expect(desk.find("#key")).to_be_focused()
        desk.find("#key").fill("not-the-key-that-was-set")
        desk.find("#key").press("Enter")
        expect(desk.find("#key-why")).to_contain_text("The key was not taken.")
        desk.find("#key").fill(KEY)
        desk.find("#key-dialog .primary").click()
        expect(desk.find("#view mark").first).to_be_visible()
        expect(desk.find("#engine")).not_to_be_empty()
        expect(desk.find("#voice option")).not_to_have_count(1)
        desk.find("#extract .code summary").click()
        shown = desk.find("#extract .code pre").all_inner_texts()
        assert '-H "X-API-Key: $FACTORY_KEY"' in shown[0]
        assert 'os.environ["FACTORY_KEY"]' in shown[1]
        assert KEY not in desk.page.content()
        desk.open()
        desk.find_entities()
        desk.find("#forget").click()
        expect(desk.find("#forget")).to_be_hidden()
        desk.run("extract")
        expect(desk.find("#key-dialog")).to_be_visible()
        desk.page.keyboard.press("Escape")
        expect(desk.find("#extract .problem")).to_contain_text("A key is needed; send it as")
        expect(desk.find("#extract .problem")).to_contain_text("Run it again to give a key.")
        forgive(desk, "status of 401")
        desk.close()


def test_errors_are_sentences_that_say_what_to_do(desk: Desk) -> None:
    desk.run("summarize")
    expect(desk.find("#summarize .problem")).to_contain_text("There is no article. Write one")
    desk.write(LONG * 600)
    desk.run("audio")
    expect(desk.find("#audio .problem")).to_contain_text("At most 20,000 characters are read aloud")
    desk.find("#summarize summary").first.click()
    desk.find("#max-tokens").fill("5000")
    desk.run("summarize")
    expect(desk.find("#summarize .problem")).to_contain_text(
        "max_tokens: Input should be less than or equal to 1024.", ignore_case=True
    )
    expect(desk.find("#summarize .problem")).to_contain_text("Mend that and run it again.")
    desk.answer("/extract", refuse(500, "internal error"))
    desk.run("extract")
    expect(desk.find("#extract .problem")).to_contain_text("its log has the reason")
    forgive(desk, "status of 422", "status of 500")


def test_an_error_in_the_middle_of_a_stream_is_told(desk: Desk) -> None:
    error = ("error", {"title": "Internal error", "status": 500, "detail": "it went wrong"})
    desk.answer("/summarize", stream(("token", {"text": "A"}), error))
    desk.write()
    desk.run("summarize")
    expect(desk.find("#summarize .problem")).to_contain_text("It went wrong.")


def test_a_stand_in_that_takes_over_is_shown(desk: Desk) -> None:
    states = [
        {"state": "waiting", "place": 1, "seconds": None, "model": "Llama-3-8B"},
        {"state": "reading", "tokens": 9, "model": "Llama-3.2-1B"},
    ]
    desk.answer("/summarize", stream(*(("status", state) for state in states), done(model="Llama-3.2-1B-Q4")))
    desk.write()
    desk.run("summarize")
    expect(desk.find("#licence")).to_have_text("Built with Llama")
    assert "Llama-3.2-1B reads 9 tokens" in desk.page.evaluate("window.said.join()")


@pytest.mark.parametrize(("model", "words"), [("Llama-3-8B", "Built with Meta Llama 3"), ("gemma-3-1b", "")])
def test_the_licence_of_the_writer_is_told(desk: Desk, model: str, words: str) -> None:
    desk.answer("/summarize", stream(done(model=model)))
    desk.write()
    desk.run("summarize")
    expect(desk.find("#summary-facts")).to_contain_text(model)
    assert desk.text("#licence") == words


def test_models_that_are_on_their_way_are_shown_without_a_reload(desk: Desk) -> None:
    health = json.loads(desk.page.evaluate("fetch('health').then(answer => answer.text())"))
    health["models"]["llama"] = {"state": "downloading", "progress": 0.45, "detail": "2.2 of 4.9 GB"}
    health["models"]["stand-in"] = {"state": "failed", "progress": None, "detail": "no such file"}
    health["queues"]["summarize"] = {"at_work": 1, "waiting": 3}
    health.pop("upstreams")
    desk.answer("/health", lambda route: route.fulfill(json=health))
    expect(desk.find("#house-line")).to_have_text("Summaries, stand-in could not be loaded, Summaries downloading 45 %")
    expect(desk.find("#house-list progress")).to_have_attribute("value", "0.45")
    for words in ("2.2 of 4.9 GB", "no such file", "1 at work, 3 waiting", "3 for /summarize"):
        expect(desk.find("#house-list")).to_contain_text(words)


def test_a_desk_that_the_browser_cannot_keep_is_said(desk: Desk) -> None:
    desk.page.evaluate(
        "() => { const whole = Storage.prototype.setItem; Storage.prototype.setItem = "
        "function (name, value) { if (value.length > 1000) throw new DOMException('', 'QuotaExceededError'); "
        "whole.call(this, name, value); }; }"
    )
    desk.write(LONG * 50)
    expect(desk.find("#note")).to_contain_text("cannot keep so large a desk")
    desk.write("Short.")
    expect(desk.find("#note")).to_be_hidden()
