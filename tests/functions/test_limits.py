"""Limits of each function: which of its calls and fields they count."""

from collections.abc import Iterator

import pytest

import local_runner
from common import quotas
from tests.conftest import SettingsEnv, call, problem

LONG = "The council met on Tuesday and voted for a new library near the old harbour. " * 2


@pytest.fixture(autouse=True)
def nobody_has_had_anything(settings_env: SettingsEnv) -> Iterator[None]:
    quotas.forget()
    settings_env(**{f"{name}__CHARACTERS_PER_MINUTE": 100 for name in ("SUMMARIZE", "EXTRACT", "AUDIO")})
    yield
    quotas.forget()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/summarize", {"text": LONG}, "text"),
        ("/extract", {"text": LONG}, "text"),
        ("/extract", {"texts": [LONG[:60], LONG[:60]]}, "texts"),
        ("/audio", {"text": LONG}, "text"),
        ("/v1/audio/speech", {"input": LONG}, "input"),
    ],
)
def test_a_text_that_is_more_than_a_minute_has_names_its_field(path: str, body: dict[str, object], field: str) -> None:
    answer = call(local_runner.app, "POST", path, body)
    assert answer.status_code == 422
    assert [error["field"] for error in problem(answer)["errors"]] == [field]


def test_recordings_of_both_doors_are_counted_together(settings_env: SettingsEnv) -> None:
    settings_env(AUDIO__REQUESTS_PER_MINUTE=1, AUDIO__CHARACTERS_PER_MINUTE="none")
    assert call(local_runner.app, "POST", "/audio", {"text": " "}).status_code == 422
    answer = call(local_runner.app, "POST", "/v1/audio/speech", {"input": "a"})
    assert answer.status_code == 429
    assert problem(answer)["error"]["code"] == "rate_limit_exceeded"
    for path in ("/v1/models", "/v1/audio/voices"):
        assert call(local_runner.app, "GET", path).status_code == 200


def test_one_function_does_not_count_for_another(settings_env: SettingsEnv) -> None:
    settings_env(AUDIO__REQUESTS_PER_MINUTE=1)
    for _ in range(2):
        assert call(local_runner.app, "POST", "/extract", {"text": " "}).status_code == 422
