"""What the engine's steps cost on this host, as they are measured: moving averages by phase and by load."""

from dataclasses import dataclass, field
from math import inf

from functions.summarize.planning import Costs

# Weight of the newest sample: a host that slows down is believed after a few steps.
SMOOTHING = 0.15
# A machine that was paused for a minute has not become slow: no sample counts for more than this many averages.
OUTLIER = 4.0
# llama.cpp multiplies blocks of this many rows: a pass of 16 rows costs little more than one of 8.
ROW_BLOCK = 16
LEAST_ROWS, MOST_ROWS = 2, 1 << 16
# How far over the time of a slice one block may be: below it a row costs up to twice as much.
BLOCK_STRETCH = 1.6
# When nobody reads along, a step may take this long, and has at least this many rows: fewer are read less efficiently.
BULK_SECONDS = 3.0
BULK_ROWS = 64
# Until it is measured: what each further sequence adds to a step of one.
FURTHER_SEQUENCE = 0.6


class Rates:
    """Written by the engine's thread alone; the costs may be asked for from any."""

    def __init__(self, parallel: int, slice_seconds: float) -> None:
        """`slice_seconds`: how long a prompt may hold up somebody who reads along."""
        self.slice_seconds = slice_seconds
        self._latest = _Averages([None] * parallel)
        self._best = _Averages([None] * parallel)

    def observe(self, prompt_rows: int, sequences: int, streams: bool, seconds: float) -> None:
        """One step took `seconds` with `prompt_rows` rows of prompts and one row of each of `sequences`."""
        self._latest.observe(prompt_rows, sequences, streams, seconds)
        self._best.keep_least(self._latest)

    def begin_anew(self) -> None:
        """Forget what it cost lately: something else kept the machine busy."""
        self._latest = _Averages([None] * len(self._latest.seconds_by_sequences))

    def costs(self, streams: bool) -> Costs:
        """Recent costs. A cost that was never measured is derived from others. `streams`: someone reads along."""
        return self._costs(self._latest, streams)

    def best_costs(self, streams: bool) -> Costs:
        """The least that they ever cost."""
        return self._costs(self._best, streams)

    def step_seconds(self, sequences: int) -> float:
        """Of a step in which so many sequences write, lately."""
        return self._latest.step_seconds(sequences)

    def rows_within(self, seconds: float) -> int:
        """Rows of a prompt that are read in one step of so many seconds, in which nobody writes.

        Whole blocks, where one does not take far longer.
        """
        if seconds == inf:
            return MOST_ROWS
        per_row = self._latest.alone_seconds_per_row
        if not per_row:
            return ROW_BLOCK
        rows = int(seconds / per_row)
        if ROW_BLOCK * per_row > BLOCK_STRETCH * seconds:
            return max(LEAST_ROWS, rows)
        return max(1, rows // ROW_BLOCK) * ROW_BLOCK

    def slice_rows(self, sequences: int, streams: bool, most_seconds: float = inf) -> int:
        """Rows of a prompt that are read in one step beside `sequences` decoding ones.

        With someone reading along it is what fits the time of a slice; else as many as are read efficiently within
        `most_seconds`. Where a block takes far longer, fewer rows are read; where not even LEAST_ROWS fit, the time
        cannot be kept, and a block at least reads well.
        """
        per_row = self._latest.beside_seconds_per_row[streams] or self._latest.alone_seconds_per_row
        if not per_row:
            return ROW_BLOCK
        step = self._latest.step_seconds(sequences)
        wished = self.slice_seconds if streams else max(BULK_SECONDS, step + BULK_ROWS * per_row)
        seconds = min(wished, most_seconds)
        rows = int(max(0.0, seconds - step) / per_row)
        if rows >= LEAST_ROWS and step + (ROW_BLOCK - sequences) * per_row > BLOCK_STRETCH * seconds:
            return rows
        least = sequences // ROW_BLOCK + 1
        return max(least, (rows + sequences) // ROW_BLOCK) * ROW_BLOCK - sequences

    def _costs(self, averages: "_Averages", streams: bool) -> Costs:
        alone = averages.alone_seconds_per_row or 0.0
        decode = tuple(averages.step_seconds(count + 1) for count in range(len(averages.seconds_by_sequences)))
        return Costs(alone, averages.beside_seconds_per_row[streams] or alone, decode, self.slice_rows(1, streams))


@dataclass
class _Averages:
    """Of a step of 1, 2, .. sequences; of a row of a prompt alone; of one beside sequences that decode.

    The last by whether someone reads along, as slices are shorter then.
    """

    seconds_by_sequences: list[float | None]
    alone_seconds_per_row: float | None = None
    beside_seconds_per_row: dict[bool, float | None] = field(default_factory=lambda: {False: None, True: None})

    def observe(self, prompt_rows: int, sequences: int, streams: bool, seconds: float) -> None:
        if not sequences:
            if prompt_rows >= ROW_BLOCK:
                self.alone_seconds_per_row = _average(self.alone_seconds_per_row, seconds / prompt_rows)
        elif not prompt_rows:
            self.seconds_by_sequences[sequences - 1] = _average(self.seconds_by_sequences[sequences - 1], seconds)
        else:
            rest = max(seconds - self.step_seconds(sequences), 0.1 * seconds)
            # The first sample has no average to be compared with, only the cost of rows alone.
            most = OUTLIER * self.alone_seconds_per_row if self.alone_seconds_per_row else inf
            self.beside_seconds_per_row[streams] = _average(
                self.beside_seconds_per_row[streams], min(rest / prompt_rows, most)
            )

    def keep_least(self, other: "_Averages") -> None:
        self.seconds_by_sequences = [
            _least(*pair) for pair in zip(self.seconds_by_sequences, other.seconds_by_sequences, strict=True)
        ]
        self.alone_seconds_per_row = _least(self.alone_seconds_per_row, other.alone_seconds_per_row)
        self.beside_seconds_per_row = {
            streams: _least(self.beside_seconds_per_row[streams], other.beside_seconds_per_row[streams])
            for streams in self.beside_seconds_per_row
        }

    def step_seconds(self, sequences: int) -> float:
        """Seconds of a step of `sequences`, from the nearest number that was measured."""
        measured = {count: seconds for count, seconds in enumerate(self.seconds_by_sequences, 1) if seconds is not None}
        if not measured:
            return 0.0
        nearest = min(measured, key=lambda count: abs(count - sequences))
        share = (1 + FURTHER_SEQUENCE * (sequences - 1)) / (1 + FURTHER_SEQUENCE * (nearest - 1))
        return measured[nearest] * share


def _least(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _average(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (min(new, OUTLIER * old) - old)
