"""What becomes of calls that a service refuses, breaks off or cannot take: against its double."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

import pytest
from tenacity import wait_none

from batch import calls
from batch.run import main
from tests.batch.command import articles, lines_of
from tests.conftest import wait_until
from tests.doubles.factory_double import (
    FactoryDouble,
    Reply,
    Request,
    Rule,
    answer,
    places,
    problem,
    refuse_every_second,
)

Run = Callable[..., int]


@pytest.fixture
def double() -> Iterator[FactoryDouble]:
    with FactoryDouble() as factory:
        yield factory


@pytest.fixture
def run(tmp_path: Path, double: FactoryDouble) -> Run:
    """Runs the command on `in.jsonl`, and returns its exit status."""

    def command(*arguments: str, do: str = "summarize") -> int:
        named = [str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--do", do, "--url", double.url]
        return main([*named, *arguments])

    return command


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_back_off", wait_none())


def once(number: int, reply: Reply) -> Rule:
    return lambda request: reply if request.number == number else None


@pytest.mark.parametrize("do", ["summarize", "extract", "audio", "summarize,extract,audio"])
def test_each_article_is_answered_once(do: str, run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    ids = articles(tmp_path / "in.jsonl", 40)
    assert run(do=do) == 0
    lines = lines_of(tmp_path / "out.jsonl")
    assert set(lines) == set(ids)
    assert all(set(line) == {"id", *do.split(",")} for line in lines.values())
    # Of a recording the captions are a call of their own.
    assert set(double.texts.values()) <= {1, 2}
    for line in lines.values():
        if "audio" in line:
            assert (tmp_path / line["audio"]["file"]).stat().st_size == 6000
            assert (tmp_path / line["audio"]["captions"]).read_text(encoding="utf-8").startswith("WEBVTT")


def test_texts_for_entities_go_together(run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    articles(tmp_path / "in.jsonl", 200)
    double.rules.append(places(64, 0.02))
    assert run(do="extract") == 0
    assert double.calls["/extract"] <= 100


@pytest.mark.usefixtures("no_back_off")
def test_a_bad_text_among_others_loses_none_of_them(run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    ids = articles(tmp_path / "in.jsonl", 60)

    def rule(request: Request) -> Reply | None:
        texts = request.fields.get("texts", [request.fields.get("text")])
        bad = [index for index, text in enumerate(texts) if "Article a5 " in text]
        if not bad:
            return None
        if "text" in request.fields:
            return problem(413, "it has too many entities")
        results = json.loads(answer(request).body)["results"]
        results[bad[0]] = {"error": {"status": 413, "title": "no", "type": "x", "detail": "y"}}
        return Reply(body=json.dumps({"results": results, "model": "double"}).encode())

    double.rules.append(rule)
    assert run(do="extract") == 1
    lines = lines_of(tmp_path / "out.jsonl")
    assert set(lines) == set(ids)
    assert [name for name, line in lines.items() if "problems" in line] == ["a5"]
    assert lines["a5"]["problems"]["extract"]["detail"] == "it has too many entities"


def test_all_is_done_where_half_of_the_calls_are_refused(
    run: Run, double: FactoryDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service refuses each second call, whatever comes: so twice as many are needed."""
    articles(tmp_path / "in.jsonl", 60)
    double.rules.append(refuse_every_second)
    assert run() == 0
    assert len(lines_of(tmp_path / "out.jsonl")) == 60
    assert double.calls.total() <= 1.3 * 120
    assert re.search(r"\b(59|60) refused", capsys.readouterr().err)


def test_a_service_with_few_places_is_asked_little_more_than_is_needed(
    run: Run, double: FactoryDouble, tmp_path: Path
) -> None:
    """Of the first calls half are refused; from then on it keeps to what the service has places for."""
    articles(tmp_path / "in.jsonl", 300)
    double.rules.append(places(1, 0.005, retry_after="0"))
    assert run() == 0
    assert len(lines_of(tmp_path / "out.jsonl")) == 300
    assert double.calls.total() <= 1.3 * 300


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_all_callers_wait_until_the_time_that_one_was_told(
    kind: str, run: Run, double: FactoryDouble, tmp_path: Path
) -> None:
    articles(tmp_path / "in.jsonl", 40)
    times: list[float] = []

    def rule(request: Request) -> Reply | None:
        times.append(time.monotonic())
        if request.number != 12:
            return None
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return problem(429, "enough", Retry_After="1" if kind == "seconds" else until)

    double.rules.append(rule)
    assert run() == 0
    # Only those that were under way already came after it.
    gaps = [after - before for before, after in pairwise(times[12:])]
    assert max(gaps) >= 0.9
    assert gaps.index(max(gaps)) <= 4


def test_what_cannot_be_done_is_not_tried_again(run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    articles(tmp_path / "in.jsonl", 10)
    double.rules.append(once(4, problem(422, "text: too much of it")))
    assert run() == 1
    assert double.calls.total() == 10
    (failed,) = [line for line in lines_of(tmp_path / "out.jsonl").values() if "problems" in line]
    assert failed["problems"]["summarize"]["status"] == 422
    # Nor by another run, unless that is asked for.
    assert run() == 1
    assert double.calls.total() == 10
    assert run("--retry-failed") == 0
    assert double.calls.total() == 11
    assert len(lines_of(tmp_path / "out.jsonl")) == 10


@pytest.mark.usefixtures("no_back_off")
@pytest.mark.parametrize(
    "reply", [problem(500), problem(502), problem(504), Reply(cut=1)], ids=["500", "502", "504", "cut"]
)
def test_a_moments_trouble_is_tried_again_and_lasting_trouble_given_up(
    reply: Reply, run: Run, double: FactoryDouble, tmp_path: Path
) -> None:
    articles(tmp_path / "in.jsonl", 10)
    double.rules += [once(4, reply), lambda request: reply if "a7 " in request.fields["text"] else None]
    assert run() == 1
    assert double.calls.total() == 9 + 1 + calls.MOST_TRIES
    (failed,) = [name for name, line in lines_of(tmp_path / "out.jsonl").items() if "problems" in line]
    assert failed == "a7"


@pytest.mark.usefixtures("no_back_off")
def test_a_recording_that_is_cut_is_made_again_and_leaves_no_part(
    run: Run, double: FactoryDouble, tmp_path: Path
) -> None:
    articles(tmp_path / "in.jsonl", 5)

    def rule(request: Request) -> Reply | None:
        reply = answer(request)
        reply.cut = 3000 if request.number == 2 else None
        return reply

    double.rules.append(rule)
    assert run("--no-captions", do="audio") == 0
    files = list((tmp_path / "out-audio").iterdir())
    assert [file.stat().st_size for file in files] == [6000] * 5
    assert all(file.suffix == ".mp3" for file in files)


def test_a_service_that_dies_is_waited_for(
    run: Run, double: FactoryDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_back_off", lambda _: 0.05)
    articles(tmp_path / "in.jsonl", 100)
    double.rules.append(places(64, 0.01))

    def die_and_come_back() -> None:
        wait_until(lambda: double.calls.total() > 20, "it is at work")
        double.go()
        threading.Event().wait(0.3)
        double.come()

    thread = threading.Thread(target=die_and_come_back)
    thread.start()
    try:
        assert run() == 0
    finally:
        thread.join()
    assert len(lines_of(tmp_path / "out.jsonl")) == 100


def test_a_service_that_stays_away_ends_the_run_and_nothing_is_called_failed(
    run: Run, double: FactoryDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_back_off", lambda _: 0.05)
    articles(tmp_path / "in.jsonl", 30)
    double.rules.append(lambda request: double_goes(request, double))
    assert run("--patience", "1") == 3
    told = capsys.readouterr().err
    assert "nothing was answered for 1 s" in told
    assert "Traceback" not in told
    lines = lines_of(tmp_path / "out.jsonl")
    assert 0 < len(lines) < 30
    assert not any("problems" in line for line in lines.values())
    double.rules.clear()
    double.come()
    assert run() == 0
    assert len(lines_of(tmp_path / "out.jsonl")) == 30
    assert double.texts.total() <= 31


def double_goes(request: Request, double: FactoryDouble) -> Reply | None:
    if request.number == 15:
        threading.Thread(target=double.go).start()
        return Reply(seconds=5)
    return None


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (problem(401, "bring a key"), "/summarize: bring a key"),
        (problem(404, "there is no such path"), "/summarize: there is no such path"),
        (Reply(307, b"", {"Location": "https://elsewhere.example/summarize"}), "leads to https://elsewhere.example"),
    ],
)
def test_what_is_wrong_with_every_call_ends_the_run(
    reply: Reply, told: str, run: Run, double: FactoryDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    articles(tmp_path / "in.jsonl", 50)
    double.rules.append(lambda _: reply)
    assert run() == 3
    assert told in capsys.readouterr().err
    assert double.calls.total() <= 4
    assert lines_of(tmp_path / "out.jsonl") == {}


def test_an_answer_that_is_no_factorys_is_told(run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    articles(tmp_path / "in.jsonl", 2)
    double.rules.append(lambda _: Reply(body=b"<html>"))
    assert run() == 1
    (first, _) = lines_of(tmp_path / "out.jsonl").values()
    assert "is a Factory at this address?" in first["problems"]["summarize"]["detail"]


def test_fields_key_and_wait_are_sent(
    run: Run, double: FactoryDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    articles(tmp_path / "in.jsonl", 1)
    seen: dict[str, Request] = {}
    double.rules.append(lambda request: seen.update({request.path: request}))
    monkeypatch.setenv("FACTORY_KEY", "secret")
    fields = "--max-tokens 40 --temperature 0 --seed 7 --labels Person,City --threshold 0.3 --rate=-10% --wait 20"
    assert run("--voice", "en-GB-SoniaNeural", *fields.split(), "--no-normalize", do="summarize,extract,audio") == 0
    assert {"max_tokens": 40, "temperature": 0, "seed": 7}.items() <= seen["/summarize"].fields.items()
    assert {"labels": ["Person", "City"], "threshold": 0.3}.items() <= seen["/extract"].fields.items()
    spoken = {"voice": "en-GB-SoniaNeural", "rate": "-10%", "normalize": False}
    assert spoken.items() <= seen["/audio"].fields.items()
    for request in seen.values():
        assert (request.headers["x-api-key"], request.headers["prefer"]) == ("secret", "wait=20")


def test_connections_are_kept(run: Run, double: FactoryDouble, tmp_path: Path) -> None:
    articles(tmp_path / "in.jsonl", 300)
    double.rules.append(places(64, 0.002))
    assert run("--at-once", "8") == 0
    assert double.connections <= 8
    assert double.most_at_work <= 8
