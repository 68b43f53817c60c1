"""Continuous batching: one thread owns the context and works on several requests at once, step by step.

A step decodes one token for every sequence that has read its prompt and, in the same batch, reads a slice of the first
prompt that is not read yet. Requests are served in the order in which they were given their places: fairly among
callers and their requests, as far as nobody is made late by it.

After a failure of the context those that write read their prompts, and what they wrote, once more.
"""

import logging
import threading
import time
from collections.abc import Sequence
from math import inf

from common.callers import flow
from common.errors import ModelLoadFailed
from common.fair import FairQueue
from functions.summarize.context import (
    BATCH_ROWS,
    SHARED_SEQUENCE,
    DecodeAborted,
    DecodeFailed,
    LlamaContext,
    Row,
    Sampling,
)
from functions.summarize.planning import Job
from functions.summarize.rates import Rates
from functions.summarize.tickets import Completion, DeadlineExpired, Emit, Event, FinishReason, State, Ticket

logger = logging.getLogger(__name__)

CALIBRATION_STEPS = 3
# Most rows of a batch that cannot be broken off: whoever leaves is waited for.
WHOLE_ROWS = 64


class Scheduler:
    """The one thread that calls llama.cpp. Every method may be called from any thread."""

    def __init__(self, context: LlamaContext, opening: Sequence[int], parallel: int, rates: Rates) -> None:
        """`opening` are the tokens with which every prompt begins; they are read once, here, if that can be shared."""
        self.parallel = parallel
        self.rates = rates
        self._context = context
        self._opening = list(opening)
        # Tokens of the opening that a prompt need not read: all or none.
        self._shared = 0
        self._most_rows = BATCH_ROWS if context.can_cut_back else WHOLE_ROWS
        self._changed = threading.Condition()
        # In the order of service; those at work come first.
        self._tickets: list[Ticket] = []
        # The fair place of a newcomer among those that wait.
        self._fair: FairQueue[Ticket] = FairQueue()
        self._batch: list[Ticket] = []
        # After an aborted step those that write come first: clients that come and go must not keep them waiting.
        self._owed = False
        self._calibrate()
        self._thread = threading.Thread(target=self._run, name="llama", daemon=True)
        self._thread.start()

    @property
    def opening_tokens(self) -> int:
        """Tokens that a prompt need not read, as they are read already."""
        return self._shared

    def jobs(self) -> list[Job]:
        """What is left of every request that has a place, in the order of service."""
        now = time.monotonic()
        with self._changed:
            return [ticket.left(now, self._shared) for ticket in self._tickets]

    def streams(self) -> bool:
        with self._changed:
            return any(ticket.streams for ticket in self._tickets)

    def fair_place(self, cost: float) -> int:
        """Where work of this cost (tokens to read, without the opening, and to write) belongs among `jobs`, for the
        request at hand."""
        with self._changed:
            waiting = self._fair.before(flow(), cost)
            return max((self._tickets.index(ticket) for ticket in waiting), default=len(self._admitted()) - 1) + 1

    def reserve(self, ticket: Ticket, place: int) -> None:
        """`place` is one among `jobs`, as they were a moment ago; those at work stay first."""
        with self._changed:
            self._tickets.insert(max(place, len(self._admitted())), ticket)
            # The opening is read already.
            reading = max(0, ticket.prompt_tokens - self._shared)
            self._fair.push(ticket, ticket.flow, reading + ticket.output_tokens)

    def submit(self, ticket: Ticket, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> None:
        """Start work on a reserved ticket. `emit` gets pieces of text and a Completion or an exception at last, on the
        scheduler's thread. Raises DecodeFailed for what would never fit, as it would hold up all others."""
        output = sampling.max_tokens + sampling.thinking_tokens
        cells = len(prompt) + output
        if cells > self._context.cells:
            raise DecodeFailed(f"{cells} tokens do not fit the context of {self._context.cells}")
        ticket.prompt, ticket.sampling, ticket.emit = prompt, sampling, emit
        ticket.prompt_tokens, ticket.output_tokens = len(prompt), output
        ticket.submitted_at = time.monotonic()
        with self._changed:
            if ticket.state is State.RESERVED:
                ticket.state = State.WAITING
            self._changed.notify()

    def cancel(self, ticket: Ticket, expired: bool = False) -> None:
        """Take a ticket out, in the middle of a prefill if need be; its slot is free within a step."""
        with self._changed:
            if ticket not in self._tickets:
                return
            ticket.expired = ticket.expired or expired
            ticket.cancelled = True
            if ticket.state is State.RESERVED:
                self._forget(ticket)
            elif ticket in self._batch and ticket.state is State.READING and self._context.can_cut_back:
                self._context.abort()
            self._changed.notify()

    def _forget(self, ticket: Ticket) -> None:
        ticket.state = State.ENDED
        self._tickets.remove(ticket)
        self._fair.remove(ticket, ticket.flow)

    def _free_cells(self) -> int:
        """Cells of the cache that no request at work holds or will need."""
        return self._context.cells - self._shared - sum(self._cells(ticket) for ticket in self._admitted())

    def _cells(self, ticket: Ticket) -> int:
        return len(ticket.prompt) + ticket.output_tokens - self._shared

    def _admitted(self) -> list[Ticket]:
        return [ticket for ticket in self._tickets if ticket.state in (State.READING, State.WRITING)]

    def _read_opening(self) -> None:
        rows = [Row(token, position, SHARED_SEQUENCE, False) for position, token in enumerate(self._opening)]
        while True:
            self._context.allow()
            self._context.forget(SHARED_SEQUENCE)
            try:
                for start in range(0, len(rows), self._most_rows):
                    self._context.decode(rows[start : start + self._most_rows])
                return
            except DecodeAborted:
                # Somebody has left meanwhile. The opening is for all.
                continue

    def _calibrate(self) -> None:
        """Read the opening and draw a few tokens, so that the first request is planned with measured rates."""
        # The first pass reads the weights from the disk; it says nothing about the others.
        self._context.decode([Row(self._opening[0], 0, SHARED_SEQUENCE, False)])
        begun = time.monotonic()
        self._read_opening()
        self.rates.observe(len(self._opening), 0, False, time.monotonic() - begun)
        sequence = SHARED_SEQUENCE + 1
        self._shared = self._context.share(sequence, len(self._opening))
        if not self._shared:
            logger.info("this model's memory cannot share the opening of the prompt: each request reads it")
            self._context.forget(SHARED_SEQUENCE)
        for position in range(self._shared, self._shared + CALIBRATION_STEPS):
            begun = time.monotonic()
            self._context.decode([Row(self._opening[0], position, sequence, True)])
            self.rates.observe(0, 1, False, time.monotonic() - begun)
        self._context.forget(sequence)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._drop_cancelled()
                self._admit()
                while not self._admitted():
                    self._changed.wait()
                    self._drop_cancelled()
                    self._admit()
                rows, self._batch = self._next_batch()
            try:
                self._step(rows, self._batch)
            except Exception as error:
                # Whatever it was: these requests are answered, the others and the thread go on.
                logger.exception("a step of the engine failed")
                self._fail(self._batch, error)
                self._start_over()

    def _drop_cancelled(self) -> None:
        for ticket in [ticket for ticket in self._tickets if ticket.cancelled]:
            if ticket.expired:
                self._finish(ticket, self._at_deadline(ticket))
            else:
                self._release(ticket)

    def _admit(self) -> None:
        """Give free slots to those that wait, in order.

        One for which there are not enough cells is passed over, until those that went ahead have as many as it wants:
        then the others wait for it.
        """
        slots = set(range(SHARED_SEQUENCE + 1, self.parallel + 1)) - {ticket.slot for ticket in self._tickets}
        passed: list[Ticket] = []
        for ticket in list(self._tickets):
            if ticket.state is not State.WAITING:
                continue
            if not slots:
                return
            if self._cells(ticket) <= self._free_cells():
                for other in passed:
                    other.overtaken += self._cells(ticket)
                self._start(ticket, slots.pop())
            elif ticket.overtaken >= self._cells(ticket):
                return
            else:
                passed.append(ticket)

    def _start(self, ticket: Ticket, slot: int) -> None:
        self._fair.take(ticket, ticket.flow)
        self._tickets.remove(ticket)
        self._tickets.insert(len(self._admitted()), ticket)
        ticket.slot, ticket.state = slot, State.READING
        ticket.started_at = time.monotonic()
        ticket.sampler = self._context.sampler(ticket.sampling)
        ticket.tokens = list(ticket.prompt)
        ticket.cached = self._share_opening(ticket)

    def _share_opening(self, ticket: Ticket) -> int:
        """Let a ticket's slot begin with what its prompt and the opening have in common."""
        assert ticket.slot is not None
        # The last token is always decoded: the first draw needs its logits.
        limit = min(len(self._opening), len(ticket.tokens) - 1)
        common = next((i for i in range(limit) if self._opening[i] != ticket.tokens[i]), limit)
        ticket.state = State.READING
        ticket.position = self._context.share(ticket.slot, common if self._shared else 0)
        return ticket.position

    def _next_batch(self) -> tuple[list[Row], list[Ticket]]:
        """One row for each that writes, then a slice of the prompts that are left to read."""
        self._context.allow()
        admitted = self._admitted()
        writing = [ticket for ticket in admitted if ticket.state is State.WRITING]
        rows = [_rows(ticket, 1)[0] for ticket in writing]
        batch = list(writing)
        room = 0 if writing and self._owed else self._room(writing)
        self._owed = False
        for ticket in admitted:
            if ticket.state is State.WRITING or room <= 0:
                continue
            added = _rows(ticket, room)
            rows += added
            room -= len(added)
            batch.append(ticket)
        return rows, batch

    def _room(self, writing: Sequence[Ticket]) -> int:
        if not writing:
            return self._most_rows
        streams = any(ticket.streams for ticket in writing)
        now = time.monotonic()
        # Nobody's deadline passes within a step.
        most = min((ticket.deadline - now for ticket in writing if ticket.deadline is not None), default=inf) / 2
        return min(self._most_rows - len(writing), self.rates.slice_rows(len(writing), streams, most))

    def _step(self, rows: list[Row], batch: list[Ticket]) -> None:
        writing = [ticket for ticket in batch if ticket.state is State.WRITING]
        begun = time.monotonic()
        try:
            self._context.decode(rows)
        except DecodeAborted:
            self._forget_batch(batch)
            self._owed = True
            return
        except DecodeFailed as error:
            self._one_by_one(rows, batch, error)
            return
        streams = any(ticket.streams for ticket in writing)
        self.rates.observe(len(rows) - len(writing), len(writing), streams, time.monotonic() - begun)
        self._accept(rows, batch)

    def _accept(self, rows: Sequence[Row], batch: Sequence[Ticket]) -> None:
        """The batch is in the cache: move on, and draw a token for every row that asked for logits."""
        by_slot = {ticket.slot: ticket for ticket in batch}
        for index, row in enumerate(rows):
            ticket = by_slot[row.sequence]
            ticket.position = row.position + 1
            if row.output and not ticket.cancelled:
                assert ticket.sampler is not None
                self._write(ticket, self._context.sample(ticket.sampler, index))

    def _write(self, ticket: Ticket, token: int) -> None:
        if not ticket.written:
            ticket.read_at = time.monotonic()
        stopped = self._context.is_end(token)
        if not stopped:
            self._append(ticket, token)
        if ticket.thoughts is not None and (ending := ticket.thoughts.end(stopped=stopped)):
            ticket.tokens += ending
            ticket.written += len(ending)
            ticket.state = State.READING
        elif stopped:
            self._finish(ticket, self._completion(ticket, "stop"))
            return
        if ticket.written >= ticket.most_written:
            self._finish(ticket, self._completion(ticket, "length"))
        elif ticket.deadline is not None:
            # One more token has to fit; the slice of another's prompt that may come with it is kept short for that.
            step = self.rates.costs(ticket.streams).step_seconds(len(self._admitted()))
            if time.monotonic() + step > ticket.deadline:
                self._finish(ticket, self._at_deadline(ticket))

    def _append(self, ticket: Ticket, token: int) -> None:
        ticket.tokens.append(token)
        ticket.written += 1
        ticket.state = State.WRITING
        text = ticket.decoder.decode(self._context.piece(token))
        if ticket.thoughts is not None:
            text = ticket.thoughts.read(token, text)
        if text:
            ticket.emit(text)

    def _one_by_one(self, rows: Sequence[Row], batch: list[Ticket], error: DecodeFailed) -> None:
        """A batch failed. Each of its requests is tried alone. Those that fail again are answered so."""
        ends = {row.sequence: row.position + 1 for row in rows}
        tries = [(ticket, ends[ticket.slot]) for ticket in batch if ticket.slot is not None]
        self._forget_batch(batch)
        failed = []
        for ticket, end in tries:
            try:
                self._read_alone(ticket, end)
            except DecodeAborted:
                self._forget_batch([ticket])
            except DecodeFailed:
                failed.append(ticket)
                self._forget_batch([ticket])
        logger.error("a batch failed (%s): %d of its %d requests fail alone", error, len(failed), len(batch))
        self._fail(failed, error)
        if len(failed) == len(batch):
            self._start_over()

    def _read_alone(self, ticket: Ticket, end: int) -> None:
        """Read up to `end`, which is more than a batch where the ticket had to begin anew."""
        while ticket.slot is not None and ticket.position < end:
            rows = _rows(ticket, BATCH_ROWS)
            self._context.decode(rows)
            self._accept(rows, [ticket])

    def _start_over(self) -> None:
        """Make a new context. Requests at work read their prompts, and the text that they wrote, once more."""
        try:
            self._context.rebuild()
            if self._shared:
                self._read_opening()
        except (ModelLoadFailed, DecodeFailed) as error:
            # Nothing can be decoded now. The next request fails as well, and so tries again.
            logger.error("no new context: %s", error)
            self._fail(self._admitted(), error)
            return
        with self._changed:
            for ticket in self._admitted():
                self._share_opening(ticket)

    def _forget_batch(self, batch: Sequence[Ticket]) -> None:
        """An aborted or failed batch may have left some of its micro-batches in the cache.

        Whoever cannot go back to where it was begins anew; so do all where the whole memory may be spoilt.
        """
        if not self._context.can_cut_back:
            self._start_over()
            return
        with self._changed:
            for ticket in batch:
                if ticket.slot is not None and not self._context.cut_back(ticket.slot, ticket.position):
                    self._share_opening(ticket)

    def _at_deadline(self, ticket: Ticket) -> Event:
        return self._completion(ticket, "deadline") if ticket.written > ticket.thought else DeadlineExpired()

    def _completion(self, ticket: Ticket, reason: FinishReason) -> Completion:
        rest = ticket.decoder.decode(b"", True)
        if ticket.thoughts is not None:
            rest = ticket.thoughts.rest() + rest
        if rest:
            ticket.emit(rest)
        return Completion(
            reason,
            prompt_tokens=len(ticket.prompt),
            cached_tokens=ticket.cached,
            completion_tokens=ticket.written - ticket.thought,
            thinking_tokens=ticket.thought,
            queue_ms=(ticket.started_at - ticket.submitted_at) * 1000,
            prefill_ms=(ticket.read_at - ticket.started_at) * 1000,
            decode_ms=(time.monotonic() - ticket.read_at) * 1000,
        )

    def _fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        for ticket in tickets:
            self._finish(ticket, error)

    def _finish(self, ticket: Ticket, event: Event) -> None:
        self._release(ticket)
        ticket.emit(event)

    def _release(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._forget(ticket)
            if ticket.slot is not None:
                self._context.forget(ticket.slot)
                ticket.slot = None
            if ticket.sampler is not None:
                ticket.sampler.free()
                ticket.sampler = None


def _rows(ticket: Ticket, most: int) -> list[Row]:
    """The next rows of a ticket; the last of all that it has asks for logits."""
    assert ticket.slot is not None
    end = min(len(ticket.tokens), ticket.position + most)
    last = len(ticket.tokens) - 1
    return [
        Row(ticket.tokens[position], position, ticket.slot, position == last)
        for position in range(ticket.position, end)
    ]
