"""All four functions as one ASGI app: what runs on the Space, in Docker and with `make run`.

python local_runner.py [--host HOST] [--port PORT] [--profile PROFILE] [--reload]
"""

import signal
import sys

if __name__ in ("__main__", "__mp_main__"):  # the second is the process that --reload starts
    # Before the other imports, which take a second: a container's first process has no default action for SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))

import argparse
import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import ChangeReload

from common import keys, logs
from common.http import tracing
from common.http.app import create_app
from common.lazy import models
from common.loop_lag import loop_lag
from common.memory import give_back_after_peaks, keep_together
from common.settings import PREFIX, PROFILE_NAMES, get_settings
from functions.audio.routes import router as audio
from functions.audio.routes import warm_up as warm_up_audio
from functions.extract.routes import router as extract
from functions.health.routes import router as health
from functions.summarize.routes import router as summarize
from runner import mcp_door
from runner.connections import Connections, limits
from runner.metrics import router as metrics
from runner.metrics import watch
from runner.page import router as page
from runner.protocol import ACCEPTED_AT_ONCE, BoundedProtocol, BoundedServer
from runner.proxies import TrustedProxies

SEND_BUFFER_BYTES = 256 * 1024
LAST_TRACES_SECONDS = 2.0


@asynccontextmanager
async def warm_up(app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    logs.configure(settings.log_style, settings.log_level)
    keys.announce()
    tracing.start()
    async with mcp_door.opened(app):
        loop_lag.watch(asyncio.get_running_loop())
        give_back_after_peaks()
        if settings.warm_up:
            for model in models().values():
                model.warm()
            threading.Thread(target=warm_up_audio, name="warm-up-audio", daemon=True).start()
        yield
    # Nobody is answered any more: nothing waits for this.
    tracing.stop(LAST_TRACES_SECONDS)


app = create_app(summarize, extract, audio, health, metrics, page, lifespan=warm_up)
# Outermost: who the caller is has to be known before anything is done for it.
app.add_middleware(TrustedProxies)


def listen(config: uvicorn.Config) -> socket.socket:
    """The bound socket; exits when the address cannot be had."""
    listener = config.bind_socket()
    # Connections inherit it. Without it an answer's body waits on a connection that is used again for the client to
    # confirm the headers, which takes it 40 ms; asyncio sets it on sockets that it has opened itself only.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Else the kernel takes megabytes for each listener who reads nothing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener


def serve(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """Serve until a signal says to end and what was running then has ended; it does not return from that."""
    connections = Connections(limits(get_settings()))
    watch(connections)
    config.http = partial(BoundedProtocol, connections=connections)  # type: ignore[assignment]
    try:
        BoundedServer(config, connections).run(sockets)
    except SystemExit:
        # uvicorn has raised the signal again. The interpreter's clean-up is left out: while it runs, each thread that
        # comes back to Python is ended there, and a model's loader in C++ answers that with abort().
        os._exit(0)
    sys.exit("the service could not be started")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Serve /summarize, /extract, /audio and /health as one app.")
    parser.add_argument("--host", help="address to listen on (FACTORY_HOST)")
    parser.add_argument("--port", help="port to listen on, 0 for a free one (FACTORY_PORT)")
    parser.add_argument("--profile", choices=PROFILE_NAMES, help="defaults to start from (FACTORY_PROFILE)")
    parser.add_argument("--reload", action="store_true", help="start again when a source file changes")
    options = parser.parse_args(arguments)
    # As variables, so that they reach the process that --reload starts, by the one way settings are read.
    for name in ("host", "port", "profile"):
        if getattr(options, name) is not None:
            os.environ[PREFIX + name.upper()] = getattr(options, name)
    settings = get_settings()
    logs.configure(settings.log_style, settings.log_level)
    mcp_door.check(settings)
    keep_together()
    config = uvicorn.Config(
        "local_runner:app" if options.reload else app,
        host=settings.host,
        port=settings.port,
        reload=options.reload,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=settings.drain_seconds,
        timeout_keep_alive=settings.server.keep_alive_seconds,
        ws="none",
        backlog=ACCEPTED_AT_ONCE,
        # uvicorn trusts 127.0.0.1, and with `*` the first address that a caller claims.
        proxy_headers=False,
    )
    # Bound here, so that a port in use ends the start and port 0 is printed as the port it became.
    try:
        listener = listen(config)
    except SystemExit:
        # uvicorn has logged why.
        sys.exit(f"cannot listen on {settings.host}:{settings.port}; --port or FACTORY_PORT picks another port")
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{shown}:{listener.getsockname()[1]}"
    print(
        f"The Factory, profile {settings.profile}: {url} (documentation and a page to try it: {url}/docs)", flush=True
    )
    if options.reload:
        ChangeReload(config, target=partial(serve, config), sockets=[listener]).run()
    else:
        serve(config, [listener])


if __name__ == "__main__":
    main()
