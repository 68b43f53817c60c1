"""An article on its way, and what each function is asked about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from batch.articles import Article
from batch.calls import Call, Failed, Service, json_of
from batch.errors import Problem, broken
from batch.functions import AUDIO, EXTRACT, SUMMARIZE, Fields, Function, apart, body
from batch.recordings import Recordings
from batch.slots import Slots
from batch.tally import Tally

# A call has work of its own beside its texts: what many characters of text take.
CALL_CHARACTERS = 500
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
SOUND = {"Content-Type": "application/json", "Accept": "audio/mpeg"}
CAPTIONS = {"Content-Type": "application/json", "Accept": "text/vtt"}


@dataclass
class Pending:
    """An article of which some functions have not answered. `done` is called when all have."""

    article: Article
    functions: list[str]
    done: Callable[["Pending"], None]
    answers: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)

    def answer(self, function: str, answer: Fields) -> None:
        self.answers[function] = answer
        self._end_if_all()

    def fail(self, function: str, problem: Problem) -> None:
        self.problems[function] = problem
        self._end_if_all()

    def line(self) -> dict[str, Any]:
        """As OUT has it."""
        line: dict[str, Any] = {"id": self.article.id}
        line |= {name: self.answers[name] for name in self.functions if name in self.answers}
        return line | ({"problems": self.problems} if self.problems else {})

    def _end_if_all(self) -> None:
        if len(self.answers) + len(self.problems) == len(self.functions):
            self.done(self)


@dataclass(frozen=True)
class Desk:
    """What all calls of a run have in common. `fields`: what was chosen, by function; `headers`: key and wait."""

    service: Service
    tally: Tally
    recordings: Recordings
    fields: dict[str, Fields]
    headers: dict[str, str]
    captions: bool

    async def do(self, function: Function, slots: Slots, began_at: float, some: list[Pending]) -> None:
        """Have `function` done for all of them: in one call, and in one for each where that could not be."""
        try:
            left = await self._done(function, slots, began_at, some)
        except Failed as failed:
            if len(some) == 1:
                some[0].fail(function.name, failed.problem)
                return
            left = some
        for pending in left:
            await self.do(function, slots, await slots.take(again=True), [pending])

    async def _done(self, function: Function, slots: Slots, began_at: float, some: list[Pending]) -> list[Pending]:
        """Those for which it could not be done beside the others, but may be alone."""
        if function is AUDIO:
            some[0].answer(function.name, await self._spoken(slots, began_at, some[0].article))
            return []
        texts = [pending.article.text for pending in some]
        call = self._call(function, texts, JSON, json_of)
        try:
            answers = apart(await self.service.ask(slots, began_at, call), len(texts))
        except ValueError as error:
            raise Failed(broken(str(error))) from None
        left = []
        for pending, answer in zip(some, answers, strict=True):
            if "error" in answer:
                left.append(pending)
                continue
            if function is SUMMARIZE:
                self.tally.count_summary(answer)
            elif function is EXTRACT:
                self.tally.count_entities(answer)
            pending.answer(function.name, answer)
        return left

    async def _spoken(self, slots: Slots, began_at: float, article: Article) -> Fields:
        """The recording, and its captions, which come of the recording that the service has kept."""
        path = self.recordings.path(article.id, ".mp3")

        async def keep(response: httpx2.Response) -> tuple[int, dict[str, str]]:
            size = await self.recordings.keep(path, response.aiter_bytes())
            return size, {name: response.headers.get(f"x-audio-{name}", "") for name in ("engine", "voice")}

        size, told = await self.service.ask(slots, began_at, self._call(AUDIO, [article.text], SOUND, keep))
        self.tally.count_sound(size)
        answer: Fields = {"file": self.recordings.told(path), **told}
        if self.captions:
            captions = self.recordings.path(article.id, ".vtt")

            async def keep_captions(response: httpx2.Response) -> int:
                return await self.recordings.keep(captions, response.aiter_bytes())

            call = self._call(AUDIO, [article.text], CAPTIONS, keep_captions)
            await self.service.ask(slots, await slots.take(again=True), call)
            answer["captions"] = self.recordings.told(captions)
        return answer

    def _call(self, function: Function, texts: list[str], headers: dict[str, str], take: Any) -> Call[Any]:
        work = sum(len(text) + CALL_CHARACTERS for text in texts)
        content = body(texts, self.fields[function.name])
        return Call(function.path, content, {**headers, **self.headers}, work, take)
