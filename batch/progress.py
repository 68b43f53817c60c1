"""What a run says on standard error: a bar, a line for each thing that is wrong, one summary at the end."""

import sys

from tqdm import tqdm

from batch.tally import Tally

# Seconds between two states of the bar: on a terminal, and in a log.
ON_A_TERMINAL, IN_A_LOG = 0.2, 30.0
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Progress:
    def __init__(self, tally: Tally, *, quiet: bool = False) -> None:
        self._tally = tally
        seconds = ON_A_TERMINAL if sys.stderr.isatty() else IN_A_LOG
        self._bar = tqdm(
            unit=" articles",
            smoothing=0.1,
            mininterval=seconds,
            maxinterval=max(10.0, seconds),
            dynamic_ncols=True,
            disable=quiet,
            bar_format=FORMAT,
        )

    def expect(self, total: int | None) -> None:
        self._bar.total = total

    def step(self) -> None:
        tally = self._tally
        # What was done before took no time: it is no part of the rate.
        self._bar.initial = tally.kept
        self._bar.set_postfix_str(
            f"{tally.answered:,} answered, {tally.condensed:,} condensed, {tally.failed:,} failed, "
            f"{tally.refused:,} refused",
            refresh=False,
        )
        self._bar.update(1)

    def say(self, line: str) -> None:
        """A line of its own above the bar. No control character of an input reaches the terminal."""
        shown = "".join(character if character.isprintable() else "?" for character in line)
        tqdm.write(f"batch: {shown}", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
