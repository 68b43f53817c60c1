"""An answer that Lambda would not take is a 413 that says what to do, in the form of each kind of event."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from common.aws_lambda import MAX_ANSWER_BYTES, LambdaHandler
from common.http.app import create_app
from tests.conftest import lambda_event

KINDS = ["api_gateway_v1", "api_gateway_v2", "function_url", "alb"]
router = APIRouter()


@router.get("/letters/{count}")
async def letters(count: int) -> PlainTextResponse:
    return PlainTextResponse("x" * count)


handler = LambdaHandler(create_app(router))


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """Mangum runs the app on the event loop that it finds on the thread."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
        asyncio.set_event_loop(None)


def ask(kind: str, count: int, *, lists: bool = False) -> dict[str, Any]:
    event = lambda_event(kind, "GET", f"/letters/{count}")
    if lists:
        event["multiValueHeaders"] = {name: [value] for name, value in event.pop("headers").items()}
    answer: dict[str, Any] = handler(event, None)
    return answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, MAX_ANSWER_BYTES // 6, MAX_ANSWER_BYTES - 1000])
def test_what_fits_is_sent(kind: str, count: int) -> None:
    answer = ask(kind, count)
    assert (answer["statusCode"], len(answer["body"])) == (200, count)


@pytest.mark.parametrize(("kind", "lists"), [*((kind, False) for kind in KINDS), ("alb", True)])
def test_what_does_not_fit_is_a_413(kind: str, lists: bool) -> None:
    answer = ask(kind, 2 * MAX_ANSWER_BYTES, lists=lists)
    problem = json.loads(answer["body"])
    assert answer["statusCode"] == problem["status"] == 413
    assert "send the text in 3 parts" in problem["detail"]
    assert not answer["isBase64Encoded"]
    headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()} if lists else answer["headers"]
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["instance"] != ""
    assert len(json.dumps(answer)) < 2000
