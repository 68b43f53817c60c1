"""One client of every side: asks for a summary and notes when each piece of it came."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import httpx

from functions.summarize.prompt import INSTRUCTION

Dialect = Literal["factory", "openai"]


@dataclass
class Answer:
    """Times are of `time.perf_counter`. `tokens` is what the side counted, or else how many pieces it sent.

    `writer` and `input_tokens`, those of the whole article as the writer counts them, are known of our own sides.
    """

    sent: float
    ended: float = 0.0
    pieces: list[float] = field(default_factory=list)
    text: str = ""
    status: int = 0
    error: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    condensed: bool = False
    writer: str | None = None
    input_tokens: int | None = None
    finish_reason: str | None = None
    retry_after: float | None = None
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def latency(self) -> float:
        return self.ended - self.sent

    @property
    def first(self) -> float | None:
        """Seconds until the first piece."""
        return self.pieces[0] - self.sent if self.pieces else None

    def problem(self, tokens: int) -> str | None:
        """Why this is not the answer that was asked for."""
        if self.error:
            return self.error
        if self.tokens != tokens:
            return f"{self.tokens} tokens instead of {tokens}"
        return "the article was condensed" if self.condensed else None

    def raw(self) -> dict[str, Any]:
        return asdict(self)


class Client:
    def __init__(self, http: httpx.AsyncClient, dialect: Dialect) -> None:
        self.http = http
        self._factory = dialect == "factory"

    async def stream(self, text: str, max_tokens: int, on_piece: Callable[[int], None] = lambda _: None) -> Answer:
        """`on_piece` is told each time how many pieces there are."""
        answer = Answer(time.perf_counter())
        try:
            path, body = self._request(text, max_tokens, streams=True)
            async with self.http.stream("POST", path, json=body) as response:
                if self._head(answer, response):
                    async for event, data in _events(response):
                        self._take(answer, event, data)
                        on_piece(len(answer.pieces))
                else:
                    answer.error = f"{response.status_code} {(await response.aread())[:200].decode(errors='replace')}"
        except httpx.HTTPError as error:
            answer.error = repr(error)
        answer.ended = time.perf_counter()
        answer.tokens = answer.tokens or len(answer.pieces)
        return answer

    async def whole(
        self, text: str, max_tokens: int, *, wait: float | None = None, give_up: float | None = None
    ) -> Answer:
        """An answer in one piece; `wait` is sent as a preference, after `give_up` seconds the client goes away."""
        answer = Answer(time.perf_counter())
        path, body = self._request(text, max_tokens, streams=False)
        headers = {} if wait is None else {"Prefer": f"wait={wait:g}"}
        try:
            response = await self.http.post(path, json=body, headers=headers, timeout=give_up)
            if self._head(answer, response):
                self._body(answer, response.json())
            else:
                answer.error = f"{response.status_code} {response.text[:200]}"
        except httpx.HTTPError as error:
            answer.error = repr(error)
        answer.ended = time.perf_counter()
        return answer

    def _request(self, text: str, max_tokens: int, *, streams: bool) -> tuple[str, dict[str, Any]]:
        common: dict[str, Any] = {"max_tokens": max_tokens, "temperature": 0, "stream": streams}
        if self._factory:
            return "/summarize", {"text": text, **common}
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}]
        if streams:
            common["stream_options"] = {"include_usage": True}
        return "/v1/chat/completions", {"messages": messages, **common}

    def _head(self, answer: Answer, response: httpx.Response) -> bool:
        answer.status = response.status_code
        timing = response.headers.get("server-timing", "")
        answer.phases = {name: float(value) for name, value in re.findall(r"([\w-]+);dur=([\d.]+)", timing)}
        if retry := response.headers.get("retry-after"):
            answer.retry_after = float(retry)
        return response.status_code == 200

    def _take(self, answer: Answer, event: str, data: dict[str, Any]) -> None:
        if "error" in data or event == "error":
            answer.error = json.dumps(data)[:300]
        elif self._factory and event == "done":
            self._body(answer, data)
        else:
            choice: dict[str, Any] = next(iter(data.get("choices") or []), {})
            piece = data.get("text", "") if self._factory else choice.get("delta", {}).get("content")
            if piece:
                answer.pieces.append(time.perf_counter())
                answer.text += piece
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
            self._usage(answer, data)

    def _body(self, answer: Answer, data: dict[str, Any]) -> None:
        if self._factory:
            answer.text, answer.finish_reason = data["summary"], data["finish_reason"]
            answer.condensed, answer.writer = data["condensed"], data["model"]
            answer.input_tokens = data["input_tokens"]
        else:
            choice = data["choices"][0]
            answer.text, answer.finish_reason = choice["message"]["content"], choice["finish_reason"]
        self._usage(answer, data)

    def _usage(self, answer: Answer, data: dict[str, Any]) -> None:
        if usage := data.get("usage"):
            answer.tokens, answer.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
            details = usage.get("prompt_tokens_details") or {}
            answer.cached_tokens = usage.get("cached_tokens", details.get("cached_tokens", 0))


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    event = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: ") and line != "data: [DONE]":
            yield event, json.loads(line.removeprefix("data: "))
