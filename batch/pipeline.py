"""From the source to OUT: read, checked, sent to the functions, written down."""

import asyncio
from collections.abc import Callable, Iterable

from batch.articles import Article, Item, Source, digest
from batch.errors import BatchError, sentence
from batch.functions import Function
from batch.lanes import Lane
from batch.progress import Progress
from batch.reader import count, read
from batch.results import Results
from batch.tally import Tally
from batch.work import Desk, Pending

# Articles on their way, and their characters: what of the corpus is in memory, and what of the work a kill loses.
FEWEST_PENDING, MOST_PENDING, MOST_CHARACTERS = 16, 128, 4_000_000


class Room:
    """For `most` articles on their way; one that is too large by itself has it alone."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._articles = self._characters = 0
        self._changed = asyncio.Event()

    async def take(self, text: str) -> None:
        while self._articles >= self._most() or (self._articles and self._characters + len(text) > MOST_CHARACTERS):
            self._changed.clear()
            await self._changed.wait()
        self._articles += 1
        self._characters += len(text)

    def give(self, text: str) -> None:
        self._articles -= 1
        self._characters -= len(text)
        self._changed.set()

    async def empty(self) -> None:
        while self._articles:
            self._changed.clear()
            await self._changed.wait()


class Pipeline:
    def __init__(
        self, functions: Iterable[Function], desk: Desk, results: Results, progress: Progress, most_at_once: int
    ) -> None:
        self._lanes = [Lane(function, desk, most_at_once) for function in functions]
        self._desk = desk
        self._results = results
        self._progress = progress
        self._tally: Tally = desk.tally
        self._room = Room(self._wanted)
        # What had its turn in this run; `results.done` are those that it has not come to yet.
        self._seen: set[int] = set()

    async def run(self, source: Source) -> None:
        """All of it. Raises BatchError where it has to end early; what is done is written down then."""
        stop_counting = count(source, self._progress.expect)
        try:
            async with asyncio.TaskGroup() as tasks:
                lanes = [tasks.create_task(lane.run(tasks)) for lane in self._lanes]
                async for item in read(source):
                    await self._take(item)
                await self._room.empty()
                for lane in lanes:
                    lane.cancel()
        except BaseExceptionGroup as group:
            # One cause is enough: the others are of the same moment.
            if (found := group.subgroup(BatchError)) is None:
                raise
            raise _first(found) from None
        finally:
            stop_counting()
        if not self._seen:
            self._progress.say(f"{source.name}: there is no article in it")

    async def _take(self, item: Item) -> None:
        number = digest(item.id)
        if number in self._results.done:
            self._results.done.discard(number)
            self._seen.add(number)
            self._tally.kept += 1
            self._progress.step()
            return
        if number in self._seen:
            self._tally.duplicates += 1
            self._progress.say(f"{item.place}: the id {item.id!r} was there before: left out")
            self._progress.step()
            return
        self._seen.add(number)
        if not isinstance(item, Article):
            self._write({"id": item.id, "problem": item.problem}, [sentence(item.problem)])
            return
        await self._send(item)

    async def _send(self, article: Article) -> None:
        await self._room.take(article.text)
        pending = Pending(article, [lane.function.name for lane in self._lanes], self._done)
        for lane in self._lanes:
            problem = lane.function.problem_with(article.text, self._desk.fields[lane.function.name])
            if problem is not None:
                pending.fail(lane.function.name, problem)
            else:
                lane.put(pending)

    def _wanted(self) -> int:
        """Twice as many as the calls of one function take: while some are at work, others are read."""
        most = max(lane.slots.limiter.limit * lane.function.together for lane in self._lanes)
        return min(max(2 * most, FEWEST_PENDING), MOST_PENDING)

    def _done(self, pending: Pending) -> None:
        self._room.give(pending.article.text)
        place = pending.article.place
        self._write(
            pending.line(),
            [f"{place}: {name}: {sentence(problem)}" for name, problem in pending.problems.items()],
        )

    def _write(self, line: dict[str, object], complaints: list[str]) -> None:
        self._results.add(line)
        self._tally.failed += bool(complaints)
        self._tally.answered += not complaints
        for complaint in complaints:
            self._progress.say(complaint)
        self._progress.step()


def _first(group: BaseExceptionGroup[BatchError]) -> BatchError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
