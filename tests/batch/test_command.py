"""The command as its users have it: arguments, odd inputs, a full disk, signals, and the models in its own process."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.run import main
from tests.batch.command import articles, ended, lines_of, run, started, write
from tests.conftest import ROOT, Runner, wait_until
from tests.doubles import lead_model
from tests.doubles.factory_double import FactoryDouble, places


@pytest.fixture
def double() -> Iterator[FactoryDouble]:
    with FactoryDouble() as factory:
        yield factory


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--do sing", "--do: there is no sing; there are summarize, extract, audio"),
        ("--do ,", "--do: name one of summarize, extract, audio"),
        ("--do summarize --max-tokens 0", "summarize: max_tokens: Input should be greater than or equal to 1"),
        ("--do summarize --temperature nan", "summarize: temperature: "),
        ("--do extract --labels A,A", "extract: labels: has the label 'A' more than once"),
        ("--do audio --voice nobody", "audio: voice: unknown voice"),
        ("--do audio --rate 10", "audio: rate: must be a sign, digits and %"),
        ("--do extract --voice en-GB-SoniaNeural", "--voice: for a function that --do does not name"),
        ("--do extract --url localhost:7860", "--url: 'localhost:7860' is no address such as http://localhost:7860"),
        ("--do extract --key schlüssel", "--key: a key has printable characters of ASCII only"),
    ],
)
def test_what_the_functions_would_refuse_is_told_before_anything_is_read(
    arguments: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "in.jsonl"), str(tmp_path / "out"), *arguments.split()]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_arguments_that_are_missing_or_no_numbers_are_told_by_argparse(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["in", "out"], ["in", "out", "--do", "extract", "--wait", "0"]):
        with pytest.raises(SystemExit) as ended_with:
            main(arguments)
        assert ended_with.value.code == 2
    assert "--wait: invalid number from 1 on value: '0'" in capsys.readouterr().err


def test_an_input_that_is_not_there_or_is_the_output_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], double: FactoryDouble
) -> None:
    path = str(tmp_path / "in.jsonl")
    assert main([path, str(tmp_path / "out"), "--do", "extract", "--url", double.url]) == 2
    assert "in.jsonl: No such file or directory" in capsys.readouterr().err
    articles(tmp_path / "in.jsonl", 1)
    assert main([path, path, "--do", "extract", "--url", double.url]) == 2
    assert "IN and OUT are the same file" in capsys.readouterr().err


def test_a_bad_setting_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_PROFIL", "space")
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--do", "extract", "--url", "http://127.0.0.1:9"]) == 2
    assert "FACTORY_PROFIL: unknown setting; did you mean FACTORY_PROFILE?" in capsys.readouterr().err


def test_of_odd_articles_each_has_its_line_and_the_others_go_on(
    tmp_path: Path, double: FactoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        b'{"id": "long", "text": "' + b"x" * 10_000_000 + b'"}',
        b'{"id": "utf", "text": "\xff"}',
        b"no json",
        b'{"id": "column"}',
        b'{"id": "blank", "text": " "}',
        b'{"id": "good", "text": "It is said that all is well."}',
        b'{"id": "good", "text": "Said twice."}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(records))
    out = tmp_path / "out.jsonl"
    assert main([str(tmp_path / "in.jsonl"), str(out), "--do", "summarize,extract", "--url", double.url]) == 1
    told = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("batch: in")]
    for number, reason in [
        (1, "summarize: text: String should have at most 200000 characters"),
        (1, "extract: text: String should have at most 200000 characters"),
        (2, "not valid UTF-8 at byte 24"),
        (3, "no JSON: Expecting value at character 1"),
        (4, "no field 'text'"),
        (5, "summarize: text: must not be blank"),
        (5, "extract: text: must not be blank"),
        (7, "the id 'good' was there before: left out"),
    ]:
        assert f"batch: in.jsonl, line {number}: {reason}" in told
    assert len(told) == 8
    lines = lines_of(out)
    assert len(lines) == 6
    assert set(lines["good"]) == {"id", "summarize", "extract"}
    assert lines["long"]["problems"]["extract"]["status"] == 422
    assert "problem" in lines["column"]


def test_an_empty_input_is_told_and_is_done(
    tmp_path: Path, double: FactoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").touch()
    assert main([str(tmp_path / "in.jsonl"), str(tmp_path / "out"), "--do", "extract", "--url", double.url]) == 0
    assert "batch: in.jsonl: there is no article in it" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_with_one_line(
    tmp_path: Path, double: FactoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    articles(tmp_path / "in.jsonl", 50)
    (tmp_path / "out").symlink_to("/dev/full")
    assert main([str(tmp_path / "in.jsonl"), str(tmp_path / "out"), "--do", "extract", "--url", double.url]) == 3
    told = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    assert told == [f"batch: {tmp_path}/out cannot be written: No space left on device"]


def test_standard_input_is_read(tmp_path: Path, double: FactoryDouble) -> None:
    process = started("-", tmp_path / "out", "--do", "extract", "--url", double.url, stdin=-1)
    outcome = ended(process, b'{"id": "a", "text": "One."}\n{"id": "b", "text": "Two."}')
    assert outcome.status == 0, outcome.shown
    assert set(lines_of(tmp_path / "out")) == {"a", "b"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_is_done_written(
    number: signal.Signals, status: int, tmp_path: Path, double: FactoryDouble
) -> None:
    ids = articles(tmp_path / "in.jsonl", 600)
    double.rules.append(places(64, 0.02))
    arguments = (tmp_path / "in.jsonl", tmp_path / "out", "--do", "summarize", "--url", double.url)
    process = started(*arguments)
    wait_until(lambda: double.calls.total() > 50, "it is at work", 20)
    process.send_signal(number)
    outcome = ended(process)
    assert outcome.status == status
    assert " answered" in outcome.summary
    written = lines_of(tmp_path / "out")
    assert len(written) >= 30
    assert run(*arguments).status == 0
    assert set(lines_of(tmp_path / "out")) == set(ids)
    assert lines_of(tmp_path / "out").items() >= written.items()


def test_the_bar_and_the_summary_tell_what_was_done(tmp_path: Path, double: FactoryDouble) -> None:
    articles(tmp_path / "in.jsonl", 30)
    outcome = run(tmp_path / "in.jsonl", tmp_path / "out", "--do", "summarize,audio", "--url", double.url)
    assert outcome.status == 0
    assert re.search(r"100%\|█+\| 30/30 \[.*, .*30 answered, 0 condensed, 0 failed, 0 refused\]", outcome.shown)
    assert re.fullmatch(
        r"batch: 30 answered \(0 condensed\), 0 failed, 0 left out as duplicates, 0 done before; [\d.]+ s, "
        r"[\d,.]+ articles a minute; 90 calls, 0 refused, 0 tried again; \d+ tokens read, 150 written; "
        r"30.0 s of speech",
        outcome.summary,
    )


def test_a_dry_run_tells_what_there_is_to_do_and_sends_nothing(
    tmp_path: Path, double: FactoryDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "word " * 300
    write(tmp_path / "in.jsonl", ({"id": number, "text": text + str(number)} for number in range(100)))
    rates = {"reading_tokens_per_second": 100.0, "writing_tokens_per_second": 10.0}
    double.health["models"] = {"llama": {"rates": rates}, "gliner": {"rates": {"reading_tokens_per_second": 1000.0}}}
    arguments = [str(tmp_path / "in.jsonl"), str(tmp_path / "out"), "--do", "summarize,extract", "--url", double.url]
    assert main([*arguments, "--max-tokens", "50", "--dry-run", "--usd-per-hour", "0.9"]) == 0
    told = re.sub(" +", " ", capsys.readouterr().out)
    assert "articles 100\n" in told
    assert "tokens to read about 40,133" in told
    assert "tokens to write 5,000 at most" in told
    # (40,133 / 100 + 5,000 / 10) and 40,133 / 1,000 seconds.
    assert "/summarize 15.0 min at most" in told
    assert "/extract 0.7 min" in told
    assert "cost 0.24 USD, at 0.9 an hour" in told
    assert "llama-3-8b 0.28 USD at most" in told
    assert not double.calls
    assert not (tmp_path / "out").exists()


def news(number: int) -> list[dict[str, object]]:
    lines = (ROOT / "tests/data/articles.jsonl").read_text(encoding="utf-8").splitlines()
    return [{"id": index, **json.loads(line)} for index, line in enumerate(lines[:number])]


def test_a_live_service_answers_all_of_it(tmp_path: Path, runner: Runner) -> None:
    write(tmp_path / "in.jsonl", news(12))
    arguments = [str(tmp_path / "in.jsonl"), str(tmp_path / "out"), "--do", "summarize,extract,audio"]
    assert main([*arguments, "--url", runner.url]) == 0
    lines = lines_of(tmp_path / "out")
    assert set(lines) == set(range(12))
    for line in lines.values():
        assert line["summarize"]["model"] == lead_model.NAME
        assert line["extract"]["entities"] is not None
        assert (tmp_path / line["audio"]["file"]).stat().st_size > 1000
        assert (tmp_path / line["audio"]["captions"]).read_text(encoding="utf-8").startswith("WEBVTT")


def test_without_a_url_the_models_are_in_the_process(tmp_path: Path) -> None:
    """With the same routes: what the functions refuse, and how they answer, is the same."""
    write(tmp_path / "in.jsonl", [*news(5), {"id": "long", "text": "x" * 20_001}])
    settings = {**lead_model.SETTINGS, "EXTRACT__MODEL": "embedded", "AUDIO__ENGINE": "espeak-ng"}
    arguments = (tmp_path / "in.jsonl", tmp_path / "out", "--do", "summarize,extract,audio", "--temperature", 0)
    outcome = run(*arguments, settings=settings)
    assert outcome.status == 1, outcome.shown
    lines = lines_of(tmp_path / "out")
    assert len(lines) == 6
    assert set(lines.pop("long")["problems"]) == {"audio"}
    for record in news(5):
        line = lines[record["id"]]
        assert str(record["text"]).lstrip().startswith(line["summarize"]["summary"][:30])
        assert line["audio"]["engine"] == "espeak-ng"
        assert (tmp_path / line["audio"]["file"]).stat().st_size > 1000
