"""The three functions invoked directly, as a state machine does."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mutagen.mp3 import MP3

import functions.audio.handler
import functions.extract.handler
import functions.health.handler
import functions.summarize.handler
from common import object_store
from common.errors import Unavailable
from tests.conftest import ROOT, SettingsEnv
from tests.doubles import lead_model
from tests.doubles.edge_server import SpeechCloud
from tests.doubles.s3_folder import S3Folder, s3_folder

ARTICLE = "The harbour reopened on Monday. Ships came back within hours. Nobody was hurt."
pytestmark = pytest.mark.usefixtures("main_thread_loop")

HANDLERS = {
    "summarize": functions.summarize.handler.handler,
    "extract": functions.extract.handler.handler,
    "audio": functions.audio.handler.handler,
}


@pytest.fixture(autouse=True)
def quick_and_offline(settings_env: SettingsEnv, speech_cloud: SpeechCloud) -> None:
    settings_env(AUDIO__ENDPOINT=speech_cloud.url, **lead_model.SETTINGS)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings_env: SettingsEnv) -> Iterator[S3Folder]:
    with s3_folder(tmp_path) as store:
        for name, value in store.variables.items():
            monkeypatch.setenv(name, value)
        settings_env(AUDIO__BUCKET="recordings")
        object_store._client.cache_clear()
        yield store
        object_store._client().close()
        object_store._client.cache_clear()


def ask(name: str, *items: object, **shared: object) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = HANDLERS[name]({"Items": list(items), "BatchInput": shared}, None)
    return results


def test_summaries_of_several_articles_come_in_their_order() -> None:
    items = [{"id": number, "text": f"{ARTICLE} That was day {number}."} for number in range(9)]
    results = ask("summarize", *items, {"id": "bad", "text": " "}, max_tokens=40, temperature=0)
    assert [result["id"] for result in results] == [*range(9), "bad"]
    assert all(result["answer"]["summary"] for result in results[:-1])
    assert results[-1]["problem"]["errors"][0]["field"] == "text"


def test_there_are_no_streams() -> None:
    (result,) = ask("summarize", {"text": ARTICLE}, stream=True)
    assert result["problem"]["errors"] == [{"field": "stream", "detail": "a direct invocation answers all at once"}]


def test_numbers_of_csv_are_numbers_to_each_function() -> None:
    row = {"id": "1", "text": ARTICLE, "max_tokens": "20", "temperature": "0", "seed": "7"}
    assert "answer" in ask("summarize", row)[0]
    rows = [
        {"id": "1", "text": "Tim Cook is in Paris.", "threshold": "0.4", "flat_ner": "false", "labels": '["Person"]'}
    ]
    (result,) = ask("extract", *rows)
    assert [entity["text"] for entity in result["answer"]["entities"]] == ["Tim Cook"]
    assert "answer" in ask("audio", {"text": "Hello", "normalize": "false", "rate": "+10%"})[0]


def test_entities_of_several_texts_are_looked_for_at_once() -> None:
    texts = ["Tim Cook is in Paris.", "Apple Inc. is in London.", " "]
    results = ask("extract", *({"text": text} for text in texts), labels=["Location"])
    found = [[entity["text"] for entity in result["answer"]["entities"]] for result in results[:2]]
    assert found == [["Paris"], ["London"]]
    assert results[2]["problem"]["status"] == 422


def test_a_recording_comes_as_base64_and_plays() -> None:
    result = HANDLERS["audio"]({"id": "a", "text": "Hello world"}, None)
    assert (result["answer"]["content_type"], result["answer"]["engine"]) == ("audio/mpeg", "edge-tts")
    assert MP3(BytesIO(base64.b64decode(result["answer"]["base64"]))).info.length > 0.3


def test_a_recording_that_is_too_large_for_a_state_machine_says_what_to_set() -> None:
    short, long = ask("audio", {"text": "Hello world"}, {"text": "The ships came back. " * 150})
    assert "answer" in short
    assert long["problem"]["status"] == 413
    assert "FACTORY_AUDIO__BUCKET" in long["problem"]["detail"]


@pytest.mark.usefixtures("bucket")
def test_with_a_bucket_the_answer_is_where_the_recording_is(tmp_path: Path) -> None:
    results = ask("audio", {"id": "news/1", "text": "Hello world"}, {"id": 2, "text": "The ships came back. " * 150})
    for result in results:
        told = result["answer"]
        file = tmp_path / told["bucket"] / told["key"]
        assert (told["bucket"], file.stat().st_size) == ("recordings", told["bytes"])
        assert MP3(file).info.length > 0.3
        assert file.with_name(f"{file.name}.type").read_text(encoding="utf-8") == "audio/mpeg"
        assert "base64" not in told
    assert results[0]["answer"]["key"].startswith("audio/news-1-")
    assert ask("audio", {"id": "news/1", "text": "Hello world"}) == results[:1]


def test_a_bucket_that_takes_nothing_is_tried_again(bucket: S3Folder) -> None:
    bucket.refuse()
    with pytest.raises(Unavailable, match="could not be put into the bucket"):
        HANDLERS["audio"]({"Items": [{"text": "Hello world"}], "Results": []}, None)
    bucket.refuse(False)
    assert "key" in ask("audio", {"text": "Hello world"})[0]["answer"]


def test_boto3_is_imported_only_where_there_is_a_bucket() -> None:
    code = "import sys, functions.audio.handler; print('boto3' in sys.modules, 'botocore' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False"]


def test_health_is_not_invoked_directly() -> None:
    with pytest.raises(RuntimeError):
        functions.health.handler.handler({"text": "a"}, None)
