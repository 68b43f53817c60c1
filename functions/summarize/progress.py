"""Tells who waits for the first word how far it is."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from functions.summarize.outputs import Status
from functions.summarize.tickets import Completion

# Most answers of a small model are begun before the first look.
FIRST_LOOK_SECONDS = 0.1
LOOK_SECONDS = 0.5

Piece = str | Completion


async def watched(stream: AsyncGenerator[Piece], look: Callable[[], Status | None]) -> AsyncGenerator[Piece | Status]:
    """What `stream` yields, and before its first text what `look` tells now and then, where that is news."""
    async with aclosing(stream):
        coming = asyncio.create_task(_next(stream))
        try:
            async for news in _looks(coming, look):
                yield news
            first = await coming
        finally:
            # Nothing else may be asked of the stream while this is.
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if isinstance(first, str) and (status := look()) is not None:
            yield status
        if first is not None:
            yield first
        async for piece in stream:
            yield piece


async def _looks(coming: "asyncio.Task[Piece | None]", look: Callable[[], Status | None]) -> AsyncGenerator[Status]:
    told: Status | None = None
    pause = FIRST_LOOK_SECONDS
    while not (await asyncio.wait([coming], timeout=pause))[0]:
        pause = LOOK_SECONDS
        if (status := look()) is not None and status != told:
            told = status
            yield status


async def _next(stream: AsyncGenerator[Piece]) -> Piece | None:
    return await anext(stream, None)
