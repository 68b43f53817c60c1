import time

import pytest
from fastapi import Request

from common.errors import InvalidInput
from common.http.deadlines import LAMBDA_MARGIN_SECONDS, MAX_SECONDS, deadline, preferred_wait


class LambdaContext:
    """What Mangum puts into the scope, as far as it counts here."""

    def __init__(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self._milliseconds


def request(*prefer: str, lambda_milliseconds: int | None = None) -> Request:
    headers = [(b"prefer", line.encode("latin-1")) for line in prefer]
    scope: dict[str, object] = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    if lambda_milliseconds is not None:
        scope["aws.context"] = LambdaContext(lambda_milliseconds)
    return Request(scope)


def seconds_left(asked: Request, default: float | None = None) -> float:
    now = time.monotonic()
    until = deadline(asked, default)
    assert until is not None
    return until - now


@pytest.mark.parametrize(
    ("lines", "wait"),
    [
        ([], None),
        ([""], None),
        (["respond-async"], None),
        (["waiting=5, xwait=5, wait-for=5"], None),
        (["wait=1"], 1),
        ([f"wait={MAX_SECONDS}"], MAX_SECONDS),
        (["wait=028"], 28),
        (['wait="5"'], 5),
        (["WAIT=5"], 5),
        ([" Wait = 5 "], 5),
        (["respond-async, wait=5"], 5),
        (["wait=5, respond-async"], 5),
        (["wait=5; unit=seconds"], 5),
        (['wait="5" ;x="y"'], 5),
        (["respond-async; wait=9, wait=5"], 5),
        (["return=minimal", "wait=5"], 5),
        # RFC 7240, section 2: of a preference that is there more than once the first one counts.
        (["wait=5, wait=9"], 5),
        (["wait=5", "wait=9"], 5),
    ],
)
def test_the_wait_is_found_among_the_preferences(lines: list[str], wait: int | None) -> None:
    assert preferred_wait(request(*lines)) == wait


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "+5", "abc", "1.5", "1e3", "0x5", "", '""', "5 6", "1000000000", "86401", "9" * 4000, "\xb2", "NaN"],
    ids=lambda value: ascii(value)[:20],
)
def test_a_wait_that_is_no_whole_number_of_seconds_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidInput) as error:
        preferred_wait(request(f"respond-async, wait={value}"))
    assert [named.field for named in error.value.errors] == ["Prefer"]
    assert str(MAX_SECONDS) in error.value.detail


def test_a_header_of_hostile_length_is_read_at_once() -> None:
    begun = time.monotonic()
    for line in ("wait" + " " * 60_000 + "=", "wait=5" + " " * 60_000 + "x", "," * 60_000, "wait=5" + ";" * 60_000):
        try:
            preferred_wait(request(line))
        except InvalidInput:
            continue
    assert time.monotonic() - begun < 5


def test_without_any_bound_there_is_no_deadline() -> None:
    assert deadline(request(), None) is None


@pytest.mark.parametrize(
    ("asked", "default", "seconds"),
    [
        (request(), 28.0, 28),
        (request("wait=5"), None, 5),
        # What the client wants counts more than the setting, in both directions.
        (request("wait=5"), 28.0, 5),
        (request("wait=90"), 28.0, 90),
        (request(lambda_milliseconds=30_000), None, 30 - LAMBDA_MARGIN_SECONDS),
        (request(lambda_milliseconds=10_000), 28.0, 10 - LAMBDA_MARGIN_SECONDS),
        (request(lambda_milliseconds=60_000), 28.0, 28),
        (request("wait=90", lambda_milliseconds=30_000), 28.0, 30 - LAMBDA_MARGIN_SECONDS),
        (request("wait=5", lambda_milliseconds=30_000), 28.0, 5),
        # An invocation that is as good as over.
        (request(lambda_milliseconds=0), None, -LAMBDA_MARGIN_SECONDS),
    ],
)
def test_the_deadline_is_the_wait_or_the_default_and_never_after_the_invocation(
    asked: Request, default: float | None, seconds: float
) -> None:
    assert seconds_left(asked, default) == pytest.approx(seconds, abs=0.5)


def test_a_malformed_wait_is_refused_on_lambda_too() -> None:
    with pytest.raises(InvalidInput):
        deadline(request("wait=soon", lambda_milliseconds=30_000), 28.0)
