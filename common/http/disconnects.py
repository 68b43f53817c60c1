"""A client that leaves ends the work for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from common import logs
from common.errors import ClientDisconnected


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the client goes away; it then raises ClientDisconnected.

    The request's body must have been read before.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
        if gone:
            # It left in the very last step: its cancellation has been asked for and comes with the next one.
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        logs.trace().left = True
        raise ClientDisconnected("the client closed the connection") from None
    finally:
        # Not waited for, as that would cost a turn of the event loop: a watcher that is cancelled here goes no further.
        watcher.cancel()
