"""How llama.cpp computes best on this host: measured once, when a model is loaded for the first time.

A child process measures, so that neither the memory nor a crash of a candidate reaches the service. The outcome is
kept by CPU, model file and library version. `python -m functions.summarize.tuning --model FILE` prints the table.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common import host
from common.child import end_with_parent, waiting_for_child
from common.errors import ModelLoadFailed
from common.settings import ROOT, SummarizeSettings, cpu_threads, get_settings
from functions.summarize.context import SHARED_SEQUENCE, LlamaContext, Options, Row, library_version

logger = logging.getLogger(__name__)

DIMENSIONS = ("threads", "repack", "micro_batch", "flash_attention")
# A smaller model is quick whichever way it is computed.
MIN_MODEL_BYTES = 200_000_000
# A candidate is judged by the time for the prompt of a medium news article and its summary.
PROMPT_TOKENS, ANSWER_TOKENS = 600, 100
# Rows of the measured prompt. Fewer than 64 cost more each; that is put up with if 64 took over SLOW_SECONDS.
SHORT_ROWS, SLOW_ROWS, SLOW_SECONDS = 64, 32, 4.0
# Attention and micro-batches hardly count in the first 64 rows.
LONG_ROWS, SMALL_MICRO_BATCH = 256, 128
REPEATS, REPEAT_SECONDS = 4, 1.0
CELLS = 512
# How much faster a candidate must be: less may be chance.
MARGIN = 0.05
# Some must be faster by more: weights that are laid out anew cost their size in memory, and seconds at every start;
# fewer threads look better than they are while something else keeps the host busy.
WIDE_MARGIN = 0.15
REPACK_BYTES_PER_SECOND = 250_000_000
# In sizes of the file: the copy, and the file that is read meanwhile.
REPACK_MEMORY = 2
# From the child's own limit until it is killed: its start, and a measurement that takes longer than expected.
GRACE_SECONDS = 2.0
NICENESS = 19


@dataclass(frozen=True)
class Measurement:
    """`rows` is how many tokens of a prompt were measured; `leads` says that nothing before it was better."""

    options: Options
    rows: int
    prefill_seconds_per_token: float
    decode_seconds_per_token: float
    leads: bool = False

    @property
    def request_seconds(self) -> float:
        return PROMPT_TOKENS * self.prefill_seconds_per_token + ANSWER_TOKENS * self.decode_seconds_per_token

    def __str__(self) -> str:
        prefill, decode = 1 / self.prefill_seconds_per_token, 1 / self.decode_seconds_per_token
        speeds = f"prefill {prefill:6.1f} tokens/s, decode {decode:5.1f} tokens/s"
        return f"{_text(self.options)}: {self.rows:3} rows, {speeds}, {self.request_seconds:5.1f} s a request"


def choose(
    model: Path, settings: SummarizeSettings, adapter: Path | None = None, busy: Callable[[], bool] = lambda: False
) -> Options:
    """The options to load `model` with: those of the settings, for the rest the measured ones, with `adapter` on it.

    Takes up to `tuning_seconds` when this host has not seen the model before. It does not fail. Where another model was
    `busy` meanwhile, the outcome is used, but not kept.
    """
    overrides = _overrides(settings)
    options = _options(overrides)
    if not settings.tuning_seconds or len(overrides) == len(DIMENSIONS):
        return options
    try:
        if model.stat().st_size < MIN_MODEL_BYTES:
            return options
        # An outcome that was measured with these overrides fits best; one without any still says the rest.
        known = _read(model, settings, overrides, adapter) or _read(model, settings, {}, adapter)
        if known:
            options = _options(known | overrides)
            logger.info("tuning: %s (measured before)", _text(options))
            return options
        disturbed = busy()
        table = measure(model, settings.tuning_seconds, overrides, adapter)
        disturbed = disturbed or busy()
        if table:
            options = winner(table).options
            logger.info("tuning: %s (the best of %d measurements)", _text(options), len(table))
            if not disturbed:
                save(model, settings, overrides, table, adapter)
    except (OSError, ValueError) as error:
        logger.warning("tuning: %s", error)
    return options


def measure(path: Path, seconds: float, overrides: Mapping[str, Any], adapter: Path | None = None) -> list[Measurement]:
    """Measure in a child process whatever `overrides` leaves open; what was done within `seconds` is returned."""
    command = [sys.executable, "-m", "functions.summarize.tuning", "--model", str(path)]
    command += ["--seconds", str(seconds), "--json", json.dumps(dict(overrides))]
    command += ["--adapter", str(adapter)] if adapter else []
    # A failed assertion of ggml would start a debugger, which outlives the child.
    environment = os.environ | {"GGML_NO_BACKTRACE": "1"}
    table: list[Measurement] = []
    said = "no reason given"
    begun = time.monotonic()
    with (
        waiting_for_child() as stdin,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child,
    ):
        limit = threading.Timer(seconds + GRACE_SECONDS, child.kill)
        limit.daemon = True
        limit.start()
        for line in child.stdout or ():
            # The last line of a killed child may be cut off.
            if line.startswith("{") and line.endswith("}\n"):
                values = json.loads(line)
                table.append(Measurement(**{**values, "options": Options(**values["options"])}))
                logger.info("tuning: %s", table[-1])
            else:
                said = line.strip() or said
        status = child.wait()
        limit.cancel()
    elapsed = time.monotonic() - begun
    if status:
        reason = "over its limit" if elapsed > seconds + GRACE_SECONDS else said
        logger.warning("tuning: the measuring process ended after %.1f s, status %d: %s", elapsed, status, reason)
    return table


def winner(table: Sequence[Measurement]) -> Measurement:
    return [measurement for measurement in table if measurement.leads][-1]


def save(
    model: Path,
    settings: SummarizeSettings,
    overrides: Mapping[str, Any],
    table: Sequence[Measurement],
    adapter: Path | None = None,
) -> None:
    """Keep the winner of `table` for the next start. Raises OSError."""
    file, key = _place(model, settings, overrides, adapter)
    content = {"key": key, "options": asdict(winner(table).options), "table": [str(line) for line in table]}
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, file)


def _read(
    model: Path, settings: SummarizeSettings, overrides: Mapping[str, Any], adapter: Path | None
) -> dict[str, Any]:
    """The options that were found best under the same conditions; empty if there are none that can be read."""
    file, key = _place(model, settings, overrides, adapter)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        # As settings, the values are checked against their limits.
        return _overrides(SummarizeSettings.model_validate(content["options"])) if content["key"] == key else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _place(
    model: Path, settings: SummarizeSettings, overrides: Mapping[str, Any], adapter: Path | None
) -> tuple[Path, dict[str, Any]]:
    """The file in which an outcome is kept, and the facts that it depends on."""
    key = {
        "cpu": _cpu(),
        "cpus": cpu_threads(0),
        "library": library_version(),
        **_identity(model),
        "overrides": dict(overrides),
    }
    if adapter:
        key["adapter"] = _identity(adapter)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return settings.cache_folder / f"tuning-{digest[:16]}.json", key


def _identity(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"file": path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _cpu() -> str:
    """The name of the CPU; on ARM, where it has none, the numbers of its maker and its kinds of cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = {line for line in lines if line.startswith(("model name", "CPU implementer", "CPU part"))}
    return ", ".join(sorted(name.partition(":")[2].strip() for name in names))


def _overrides(settings: SummarizeSettings) -> dict[str, Any]:
    """The dimensions that the settings decide."""
    values = {name: getattr(settings, name) for name in DIMENSIONS} | {"threads": settings.threads or None}
    return {name: value for name, value in values.items() if value is not None}


def _options(known: Mapping[str, Any]) -> Options:
    return Options(**{"threads": cpu_threads(0), **known})


def _text(options: Options) -> str:
    repack, flash = ("on" if value else "off" for value in (options.repack, options.flash_attention))
    return f"{options.threads} threads, repack {repack:3}, micro-batch {options.micro_batch}, flash attention {flash:3}"


class _Bench:
    """The work of the child: it measures one candidate after the other and prints a line for each."""

    def __init__(self, path: Path, seconds: float, adapter: Path | None) -> None:
        self._path, self._adapter, self._deadline = path, adapter, time.monotonic() + seconds
        self._rows, self._cost = 0, 0.0
        self._leader: Measurement | None = None

    def run(self, base: Options, fixed: Mapping[str, Any]) -> None:
        """Greedy: what is better in one dimension is the base of the next, the most important one first."""
        best = self._attempt(base)
        if "threads" not in fixed:
            best = self._fewer_threads(best)
        if not {"flash_attention", "micro_batch"} <= set(fixed) and self._lengthen():
            best = self._attempt(best)
            if "flash_attention" not in fixed:
                best = self._attempt(replace(best, flash_attention=False))
            if "micro_batch" not in fixed:
                best = self._attempt(replace(best, micro_batch=SMALL_MICRO_BATCH))
        size = self._path.stat().st_size
        if "repack" not in fixed and host.available_memory_bytes() >= REPACK_MEMORY * size:
            self._attempt(replace(best, repack=True), size / REPACK_BYTES_PER_SECOND)

    def _fewer_threads(self, best: Options) -> Options:
        """Half as many as long as that is better (cores with two threads, a share of the host), then one less."""
        tried = [best.threads]
        while tried[-1] == best.threads > 1:
            tried.append(best.threads // 2)
            best = self._attempt(replace(best, threads=tried[-1]))
        if best.threads - 1 not in (0, *tried):
            best = self._attempt(replace(best, threads=best.threads - 1))
        return best

    def _lengthen(self) -> bool:
        """Go on with a longer prompt if there is time for a few; the leader is then to be measured anew."""
        assert self._leader
        if not self._time_for(3 * (self._cost + LONG_ROWS * self._leader.prefill_seconds_per_token)):
            return False
        self._rows, self._leader = LONG_ROWS, None
        return True

    def _attempt(self, options: Options, load_seconds: float = 0.0) -> Options:
        """Measure `options` if there is time; returns the best after it."""
        leader = self._leader
        if leader and not self._time_for(self._cost + load_seconds):
            return leader.options
        rival = self._time(options)
        leads = leader is None
        # The leader has a second try, as the host may only have had more to do; without time for that it stays.
        if leader and _better(rival, leader) and self._time_for(self._cost):
            again = self._time(leader.options)
            print(json.dumps(asdict(replace(again, leads=True))), flush=True)
            leader = min(leader, again, key=lambda measurement: measurement.request_seconds)
            leads = _better(rival, leader)
        self._leader = rival if leads or leader is None else leader
        print(json.dumps(asdict(replace(rival, leads=leads))), flush=True)
        return self._leader.options

    def _time(self, options: Options) -> Measurement:
        begun = time.monotonic()
        model = LlamaContext(self._path, CELLS, 1, options, self._adapter)
        try:
            # Maps the weights and starts the threads, which no candidate is to be charged with.
            pass_seconds(model, 0, 1)
            self._rows = self._rows or (SHORT_ROWS if 8 * pass_seconds(model, 0, 8) < SLOW_SECONDS else SLOW_ROWS)
            # The least of a few: other work of the host makes a pass slower, never faster.
            prefill = [pass_seconds(model, 0, self._rows)]
            while sum(prefill) < REPEAT_SECONDS and len(prefill) < REPEATS:
                prefill.append(pass_seconds(model, 0, self._rows))
            decode = min(pass_seconds(model, self._rows + step, 1) for step in range(REPEATS))
        finally:
            model.close()
        self._cost = time.monotonic() - begun
        return Measurement(options, self._rows, min(prefill) / self._rows, decode)

    def _time_for(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self._deadline


def _better(rival: Measurement, leader: Measurement) -> bool:
    new, old = rival.options, leader.options
    margin = WIDE_MARGIN if new.repack > old.repack or new.threads < old.threads else MARGIN
    return rival.request_seconds < (1 - margin) * leader.request_seconds


def pass_seconds(model: LlamaContext, position: int, rows: int) -> float:
    """Seconds for `rows` tokens from `position` on, behind what the cache holds up to there."""
    model.cut_back(SHARED_SEQUENCE, position)
    # Which tokens makes no difference, as long as the vocabulary has them.
    batch = [Row(index % 100, position + index, SHARED_SEQUENCE, index == rows - 1) for index in range(rows)]
    begun = time.monotonic()
    model.decode(batch)
    return time.monotonic() - begun


def _child(path: Path, seconds: float, overrides: Mapping[str, Any], adapter: Path | None) -> None:
    end_with_parent()
    # Another model may have somebody to answer, who is not to wait for this.
    os.nice(NICENESS)
    # Should memory run out after all, the kernel is to end this process and not the service.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        _Bench(path, seconds, adapter).run(_options(overrides), overrides)
    except ModelLoadFailed as error:
        sys.exit(str(error))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how llama.cpp computes a model best on this host.")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--adapter", type=Path, help="a LoRA for it")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit for the whole (60)")
    parser.add_argument("--save", action="store_true", help="keep the outcome for the service")
    parser.add_argument("--json", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path, adapter = options.model.resolve(), options.adapter and options.adapter.resolve()
    if options.json is not None:
        _child(path, options.seconds, options.json, adapter)
        sys.exit()
    table = measure(path, options.seconds, {}, adapter)
    if not table:
        sys.exit(f"{path}: nothing measured")
    print(f"{path}, {_cpu()}, {cpu_threads(0)} CPUs, llama-cpp-python {library_version()}")
    for measurement in table:
        print("*" if measurement is winner(table) else " ", measurement)
    if options.save:
        save(path, SummarizeSettings(cache_folder=get_settings().summarize.cache_folder), {}, table, adapter)


if __name__ == "__main__":
    main()
