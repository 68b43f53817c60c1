"""The handler for AWS Lambda: the app behind Mangum, and direct invocations beside it.

An answer that Lambda would not take becomes a clear error.
"""

import asyncio
import json
import logging
import os
from typing import Any

from fastapi import FastAPI
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from common import keys, logs
from common.errors import AnswerTooLarge
from common.http import tracing
from common.http.problems import PROBLEM_JSON
from common.invocations import Batch, Invocation, Pace
from common.items import Direct
from common.settings import load_settings

# Lambda takes an answer of 6 MB. In JSON one character becomes six at most.
MAX_ANSWER_BYTES = 6 * 1024 * 1024
LONGEST_ESCAPE = 6
# Less than the time that an invocation is given to send its answer.
TRACES_SECONDS = 0.5


class LambdaHandler:
    """`handler` of one function: takes an event of any front door, and answers in its terms; or items, directly."""

    def __init__(self, app: FastAPI, direct: Direct | None = None) -> None:
        """On Lambda, reads the settings: bad ones fail the start with their reason (InvalidSettings). Begins traces.

        With `direct` it can be invoked directly as well.
        """
        if "AWS_LAMBDA_RUNTIME_API" in os.environ:
            load_settings()
            keys.announce()
            tracing.start()
        # Problem details travel as text: not every gateway decodes base64 by itself. `lifespan` would run on every
        # invocation.
        # It has a log line of its own for each request, beside ours.
        logging.getLogger("mangum.http").setLevel(logging.WARNING)
        self._app, self._direct, self._pace = app, direct, Pace()
        self._mangum = Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, PROBLEM_JSON])

    def __call__(self, event: Any, context: Any) -> Any:
        if self._direct is not None and self._direct.is_meant(event):
            try:
                # The loop that Mangum runs the app on: models and queues belong to it.
                return asyncio.get_event_loop().run_until_complete(self._answered(event, context, self._direct))
            finally:
                tracing.flush(TRACES_SECONDS)
        answer: dict[str, Any] = self._mangum(event, context)
        # With the answer the process is frozen.
        tracing.flush(TRACES_SECONDS)
        # Most answers are far from the limit and need no count.
        if len(answer.get("body") or "") * LONGEST_ESCAPE < MAX_ANSWER_BYTES:
            return answer
        size = len(json.dumps(answer))
        if size <= MAX_ANSWER_BYTES:
            return answer
        error = AnswerTooLarge(
            f"the answer would have {size} bytes, AWS Lambda sends {MAX_ANSWER_BYTES} at most: "
            f"send the text in {size // MAX_ANSWER_BYTES + 1} parts"
        )
        # A load balancer may want, and then gets, each header as a list.
        lists = answer.get("multiValueHeaders") or {}
        told = answer.get("headers") or {name: values[0] for name, values in lists.items()}
        request_id = next((value for name, value in told.items() if name.lower() == "x-request-id"), "")
        logs.access.warning("request %s: %s", request_id, error)
        headers = {"content-type": PROBLEM_JSON, "x-request-id": request_id}
        problem: dict[str, Any] = {"statusCode": error.status, "body": json.dumps(error.problem(request_id))}
        if "headers" in answer:
            problem["headers"] = headers
        if lists:
            problem["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        return {**answer, **problem, "isBase64Encoded": False}

    async def _answered(self, event: dict[str, Any], context: Any, direct: Direct) -> Any:
        invocation = Invocation(self._app, direct, context, MAX_ANSWER_BYTES)
        if "Items" in event:
            batch = Batch.of(event, invocation, self._pace)
            return await (batch.progress() if "Results" in event else batch.answer())
        return await invocation.one(event)
