"""Continuous batching: one model's requests are worked on at the same time, step by step, on the thread of `turns`.

A step decodes one token for every sequence that has read its prompt and, in the same batch, reads a slice of the first
prompt that is not read yet. Requests are served in the order in which they were given their places: fairly among
callers and their requests, as far as nobody is made late by it.

After a failure of the context those that write read their prompts, and what they wrote, once more.
"""

import logging
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
from functions.summarize.opening import Opening
from functions.summarize.planning import Job, Queue
from functions.summarize.rates import Rates
from functions.summarize.sharing import Need
from functions.summarize.tickets import (
    DeadlineExpired,
    Emit,
    Event,
    HandedOver,
    State,
    Ticket,
)
from functions.summarize.turns import Player, Turns

logger = logging.getLogger(__name__)

# After its last request a step of a model that is closed takes no longer than this.
CLOSING_SECONDS, CLOSED = 10.0, "the model was taken out of service"
# From one look at the costs to the next, where the looks before changed nothing.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0


class Scheduler:
    """The requests of one model. Every method but `step` may be called from any thread."""

    def __init__(
        self, context: LlamaContext, opening: Sequence[int], parallel: int, rates: Rates, turns: Turns | None = None
    ) -> None:
        """`opening` are the tokens with which every prompt begins; they are read once, here, if that can be shared.

        Steps are made when `turns` gives this model its turn; without it they have a thread of their own.
        """
        self.parallel = parallel
        self.rates = rates
        self._context = context
        self._opening = Opening(context, opening)
        self._turns = turns or Turns()
        self._changed = self._turns.changed
        # In the order of service; those at work come first.
        self._tickets: list[Ticket] = []
        # The fair place of a newcomer among those that wait.
        self._fair: FairQueue[Ticket] = FairQueue()
        self._batch: list[Ticket] = []
        # When the costs may be measured again at the earliest; inf: as soon as nobody has anything to do.
        self._look_again_at, self._pause, self._measuring, self._closed = 0.0, FIRST_PAUSE_SECONDS, False, False
        # After an aborted step those that write come first: clients that come and go must not keep them waiting.
        self._owed = False
        with self._turns.exclusive():
            self._opening.calibrate(rates)
        self._turns.join(self)

    @property
    def opening_tokens(self) -> int:
        """Tokens that a prompt need not read, as they are read already."""
        return self._opening.shared

    def jobs(self) -> list[Job]:
        """What is left of every request that has a place, in the order of service."""
        now = time.monotonic()
        with self._changed:
            return [ticket.left(now, self._opening.shared) for ticket in self._tickets]

    def counts(self) -> tuple[int, int]:
        """How many requests have a place, and how many of them are at work."""
        with self._changed:
            return len(self._tickets), len(self._admitted())

    def waiting_before(self, ticket: Ticket) -> int | None:
        """How many of those that wait are served before this one; None: it does not wait."""
        with self._changed:
            waiting = [each for each in self._tickets if each.state in (State.RESERVED, State.WAITING)]
            return waiting.index(ticket) if ticket in waiting else None

    def streams(self) -> bool:
        with self._changed:
            return any(ticket.streams for ticket in self._tickets)

    def queue(self, *, best: bool = False, streams: bool = False) -> Queue:
        """All requests with a place, at the recent or the best pace. `streams`: one more client reads along."""
        with self._changed:
            costs = (self.rates.best_costs if best else self.rates.costs)(streams or self.streams())
            return Queue(self.jobs(), costs, self.parallel, self.rates.slice_seconds)

    def queues(self, *, best: bool = False, streams: bool = False) -> dict[Player, Queue]:
        """This queue first, then those of the other models on the same thread, at the same moment."""
        with self._changed:
            others = {other: other.queue(best=best) for other in self._turns.others(self)}
            return {self: self.queue(best=best, streams=streams), **others}

    def fair_place(self, cost: float) -> int:
        """Where work of this cost (tokens to read, without the opening, and to write) belongs among `jobs`, for the
        request at hand."""
        with self._changed:
            waiting = self._fair.before(flow(), cost)
            return max((self._tickets.index(ticket) for ticket in waiting), default=len(self._admitted()) - 1) + 1

    def reserve(self, ticket: Ticket, place: int) -> None:
        """`place` is one among `jobs`, as they were a moment ago; those at work stay first."""
        with self._changed:
            self._turns.disturb()
            self._tickets.insert(max(place, len(self._admitted())), ticket)
            # The opening is read already.
            reading = max(0, ticket.prompt_tokens - self._opening.shared)
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
            if self._closed:
                raise DecodeFailed(CLOSED)
            if ticket.state is State.RESERVED:
                ticket.state = State.WAITING
            elif ticket.handed_over is not None:
                emit(ticket.handed_over)
            self._changed.notify_all()

    def cancel(self, ticket: Ticket, expired: bool = False) -> None:
        """Take a ticket out, in the middle of a prefill if need be; its slot is free within a step."""
        with self._changed:
            if ticket not in self._tickets:
                return
            ticket.expired = ticket.expired or expired
            self._take_out(ticket)

    def movable(self) -> list[tuple[int, Ticket]]:
        """Those that another model may take over, with their places among `jobs`: they have not begun to write."""
        with self._changed:
            return [(place, ticket) for place, ticket in enumerate(self._tickets) if self._may_move(ticket)]

    def hand_over(self, ticket: Ticket, there: HandedOver) -> bool:
        """End a ticket with the news that another model has taken over; False where it is too late for that."""
        with self._changed:
            if ticket not in self._tickets or not self._may_move(ticket):
                return False
            ticket.handed_over = there
            if ticket.state is not State.RESERVED:
                ticket.emit(there)
            self._take_out(ticket)
            return True

    def _may_move(self, ticket: Ticket) -> bool:
        begun = ticket.state is State.WRITING or ticket.written
        return ticket.elsewhere is not None and not begun and not ticket.cancelled

    def _take_out(self, ticket: Ticket) -> None:
        ticket.cancelled = True
        if ticket.state is State.RESERVED:
            self._forget(ticket)
        elif ticket in self._batch and ticket.state is State.READING and self._context.can_cut_back:
            self._context.abort()
        self._changed.notify_all()

    def close(self, patience_seconds: float) -> None:
        """Make no step after the requests are answered; after `patience_seconds` they fail, and so do later ones."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._tickets, patience_seconds):
                for ticket in list(self._tickets):
                    if ticket.state is not State.RESERVED:
                        ticket.emit(DecodeFailed(CLOSED))
                    self._take_out(ticket)
                self._changed.wait_for(lambda: not self._tickets, CLOSING_SECONDS)
            self._closed = True
        self._turns.leave(self)

    def _forget(self, ticket: Ticket) -> None:
        ticket.state = State.ENDED
        self._tickets.remove(ticket)
        self._fair.remove(ticket, ticket.flow)

    def _free_cells(self) -> int:
        """Cells of the cache that no request at work holds or will need."""
        return self._context.cells - self._opening.shared - sum(self._cells(ticket) for ticket in self._admitted())

    def _cells(self, ticket: Ticket) -> int:
        return len(ticket.prompt) + ticket.output_tokens - self._opening.shared

    def _admitted(self) -> list[Ticket]:
        return [ticket for ticket in self._tickets if ticket.state in (State.READING, State.WRITING)]

    def prepare(self) -> Need | None:
        """Take in who waits and let go who has left; what is needed then, if there is anything to do."""
        self._drop_cancelled()
        self._admit()
        if not self._admitted():
            return None
        deadlines = (ticket.deadline for ticket in self._tickets if ticket.deadline is not None)
        writing = sum(ticket.state is State.WRITING for ticket in self._tickets)
        step = self.rates.step_seconds(writing) if writing else 0.0
        return Need(min(deadlines, default=inf), self.reads_along(), step, self.rates.slice_seconds)

    def measure_again(self) -> None:
        """By what was measured there is never time enough: that may have been a slow spell, so look again when idle."""
        with self._changed:
            if time.monotonic() >= self._look_again_at and not self._tickets:
                self._look_again_at = inf
                self._changed.notify_all()

    def has_idle_work(self) -> bool:
        return self._look_again_at == inf and not self._tickets

    def disturb(self) -> None:
        if self._measuring:
            self._context.abort()

    def reads_along(self) -> bool:
        return any(ticket.streams and ticket.state is State.WRITING for ticket in self._tickets)

    def step(self) -> None:
        with self._changed:
            self._measuring = not self._admitted()
            if not self._measuring:
                rows, self._batch = self._next_batch()
        if self._measuring:
            self._measure()
            return
        try:
            self._step(rows, self._batch)
        except Exception as error:
            # Whatever it was: these requests are answered, the others and the thread go on.
            logger.exception("a step of the engine failed")
            self._fail(self._batch, error)
            self._start_over()

    def _measure(self) -> None:
        try:
            self._opening.measure(self.rates)
        except (DecodeAborted, DecodeFailed) as error:
            logger.info("the costs of a step could not be measured again: %r", error)
        with self._changed:
            self._measuring = False
            self._look_again_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

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
            if ticket.state is not State.WAITING or self._is_beside_too_many(ticket):
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

    def _is_beside_too_many(self, ticket: Ticket) -> bool:
        return ticket.width is not None and self._tickets.index(ticket) >= ticket.width

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
        ticket.state = State.READING
        ticket.position = self._opening.share(ticket.slot, ticket.tokens)
        return ticket.position

    def _next_batch(self) -> tuple[list[Row], list[Ticket]]:
        """One row for each that writes, then a slice of the prompts that are left to read."""
        self._context.allow()
        admitted = self._admitted()
        writing = [ticket for ticket in admitted if ticket.state is State.WRITING]
        rows = [ticket.rows(1)[0] for ticket in writing]
        batch = list(writing)
        room = 0 if writing and self._owed else self._room(writing)
        self._owed = False
        for ticket in admitted:
            if ticket.state is State.WRITING or room <= 0:
                continue
            added = ticket.rows(room)
            rows += added
            room -= len(added)
            batch.append(ticket)
        return rows, batch

    def _room(self, writing: Sequence[Ticket]) -> int:
        """How many rows of prompts the next step reads."""
        most = self._turns.most_seconds(self, self.rates.slice_seconds)
        if not writing:
            return min(self._opening.most_rows, self.rates.rows_within(most))
        streams = any(ticket.streams for ticket in writing)
        now = time.monotonic()
        # Nobody's deadline passes within a step.
        left = min((ticket.deadline - now for ticket in writing if ticket.deadline is not None), default=inf) / 2
        rows = self.rates.slice_rows(len(writing), streams, min(most, left))
        return min(self._opening.most_rows - len(writing), rows)

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
            with self._changed:
                if ticket.cancelled:
                    return
                # From here on nobody else takes over.
                ticket.state = State.WRITING
            ticket.read_at = time.monotonic()
        stopped = self._context.is_end(token)
        if not stopped:
            self._append(ticket, token)
        if ticket.thoughts is not None and (ending := ticket.thoughts.end(stopped=stopped)):
            ticket.tokens += ending
            ticket.written += len(ending)
            ticket.state = State.READING
        elif stopped:
            self._finish(ticket, ticket.completion("stop"))
            return
        if ticket.written >= ticket.most_written:
            self._finish(ticket, ticket.completion("length"))
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
            rows = ticket.rows(BATCH_ROWS)
            self._context.decode(rows)
            self._accept(rows, [ticket])

    def _start_over(self) -> None:
        """Make a new context. Requests at work read their prompts, and the text that they wrote, once more."""
        try:
            self._context.rebuild()
            self._opening.read_again()
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
        return ticket.completion("deadline") if ticket.written > ticket.thought else DeadlineExpired()

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
                if not self._tickets:
                    self._changed.notify_all()
            if ticket.slot is not None:
                self._context.forget(ticket.slot)
                ticket.slot = None
            if ticket.sampler is not None:
                ticket.sampler.free()
                ticket.sampler = None
