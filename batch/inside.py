"""The functions in this process, behind the same routes as in a service; no port is opened."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import httpx2

from common.settings import PREFIX, get_settings

# What fits a batch better than a service, unless the environment says otherwise.
DEFAULTS = {
    # A line for each request would be a second output.
    "LOG_LEVEL": "WARNING",
    # Only the models that are needed, when they are.
    "WARM_UP": "false",
}
BASE_URL = "http://in-this-process"


class Transport(httpx2.ASGITransport):
    """An answer that breaks off is one here too, and not whatever the app has raised."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except httpx2.HTTPError:
            raise
        except Exception as error:
            raise httpx2.ReadError(f"{type(error).__name__} in the service", request=request) from error


def prepare() -> None:
    """To be called before anything reads the settings."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(PREFIX + name, value)
    get_settings.cache_clear()


@asynccontextmanager
async def client(functions: Collection[str]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the app, whose models are loaded by the first call that needs them."""
    import local_runner
    from common.memory import keep_together
    from functions.audio.routes import warm_up

    keep_together()
    async with local_runner.warm_up(local_runner.app):
        if "audio" in functions:
            await asyncio.to_thread(warm_up)
        transport = Transport(local_runner.app)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, timeout=None) as http:
            yield http
