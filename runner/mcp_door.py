"""The door for clients of the Model Context Protocol: /mcp, over streamable HTTP, with the functions as tools.

It is closed by default (setting `mcp`), and then nothing of the package `mcp` is imported.
"""

import importlib
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from common.settings import Settings, get_settings, variable

PACKAGE = "mcp"


def check(settings: Settings) -> None:
    """Import what the door needs, if it is to be open; ends the process with a line where its package is missing.

    To be called before there is an event loop: the import takes a second.
    """
    if not settings.mcp:
        return
    if importlib.util.find_spec(PACKAGE) is None:
        sys.exit(f"settings: {variable(('mcp',))}: the package {PACKAGE} is missing; requirements/mcp.txt has it")
    importlib.import_module("runner.mcp_server")


@asynccontextmanager
async def opened(app: FastAPI) -> AsyncIterator[None]:
    """The door is a route of `app` within the block, if the settings want that."""
    if not get_settings().mcp:
        yield
        return
    from runner.mcp_server import serving

    async with serving(app):
        yield
