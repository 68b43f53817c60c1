"""One run, from the arguments to the exit status."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from batch import estimate, inputs, inside
from batch.arguments import Options, parse
from batch.articles import Source
from batch.calls import Service
from batch.errors import BatchError, Exit, Unusable
from batch.pipeline import Pipeline
from batch.progress import Progress
from batch.recordings import Recordings
from batch.results import opened
from batch.tally import Tally
from batch.work import Desk
from common.settings import InvalidSettings, load_settings

CONNECT_SECONDS = 10.0
# The service ends what takes too long; this is for one that never says anything.
ANSWER_SECONDS = 900.0
# The service keeps an idle connection longer than that, and knows who was refused by it.
KEEP_ALIVE_SECONDS = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """The exit status. What is wrong is told on standard error, a line for each."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        options = parse(arguments)
        if options.url is None:
            inside.prepare()
        _check_settings()
        source = inputs.source(options.source, options.text_field, options.id_field)
        return asyncio.run(_interruptible(options, source))
    except BatchError as error:
        for line in error.lines:
            print(f"batch: {line}", file=sys.stderr)
        return error.status


async def _interruptible(options: Options, source: Source) -> int:
    """SIGINT and SIGTERM end the run at once; a second one ends the process."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    received: list[signal.Signals] = []
    assert task is not None

    def end(number: signal.Signals) -> None:
        received.append(number)
        loop.remove_signal_handler(number)
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        return await (estimate.tell(options, source) if options.dry_run else _run(options, source))
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def _run(options: Options, source: Source) -> int:
    if options.source != inputs.STANDARD_INPUT and _is_same(options.source, options.out):
        raise Unusable("IN and OUT are the same file")
    with opened(options.out, options.names, retry_failed=options.retry_failed) as results:
        tally = Tally(failed_before=results.failed)
        progress = Progress(tally)
        try:
            async with client(options) as http:
                desk = _desk(options, http, tally)
                await Pipeline(options.functions, desk, results, progress, options.most_at_once).run(source)
        finally:
            progress.close()
            print(f"batch: {tally.summary()}", file=sys.stderr)
    return Exit.DONE if tally.is_all_well else Exit.SOME_FAILED


@asynccontextmanager
async def client(options: Options) -> AsyncIterator[httpx2.AsyncClient]:
    if options.url is None:
        async with inside.client(options.names) as http:
            yield http
        return
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS)
    answer = ANSWER_SECONDS if options.wait is None else options.wait + CONNECT_SECONDS
    timeout = httpx2.Timeout(max(answer, ANSWER_SECONDS), connect=CONNECT_SECONDS, pool=None)
    async with httpx2.AsyncClient(base_url=options.url, timeout=timeout, limits=limits) as http:
        yield http


def _desk(options: Options, http: httpx2.AsyncClient, tally: Tally) -> Desk:
    service = Service(http, tally, options.patience_seconds)
    return Desk(service, tally, Recordings(options.out), options.fields, options.headers, options.captions)


def _check_settings() -> None:
    try:
        load_settings()
    except InvalidSettings as error:
        raise Unusable(*(f"settings: {line}" for line in error.lines)) from None


def _is_same(source: str, out: os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(source, out)
    except OSError:
        return False
