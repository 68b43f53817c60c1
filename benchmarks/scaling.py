"""From measured seconds a token to articles an hour and dollars: tables of docs/scaling.md and docs/corpora.md.

    python -m benchmarks.scaling            prints them
    python -m benchmarks.scaling --write    puts them in their places

Nothing is measured here. Every figure that goes in is a constant below, with the command that measured it or the page
that says it; memory is what the service itself asks for (functions/summarize/memory.py).
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from benchmarks.harness.folders import ROOT
from benchmarks.harness.table import table
from functions.summarize.memory import MARGIN_BYTES, cache_bytes
from functions.summarize.model import PRESETS
from functions.summarize.planning import OVERHEAD_SECONDS, SAFETY

DOCUMENT = ROOT / "docs/scaling.md"
DOCUMENTS = (DOCUMENT, ROOT / "docs/corpora.md")

# The article that all tables are about. Words: a choice. Tokens: one and a third a word (benchmarks/README.md, Models).
# Summary: the default of `max_tokens`; a model that ends sooner costs less.
ARTICLE_WORDS, ARTICLE_TOKENS, SUMMARY_TOKENS = 600, 800, 150

# CPUs of the machine that all measurements are from.
MEASURED_CPUS = 2

# python -m benchmarks.summarize.newsdesk --rounds 2 --articles 8
# Part `alone`, medians of four streamed answers behind 107 and 1,207 tokens that were to be read: the time to the first
# token over their number (13.0 to 15.5 ms), and the time between two tokens (48.8 to 68.6 ms).
SMALL_PREFILL, SMALL_DECODE = 0.0132, 0.061
# Seconds an answer of those four. Part `desk`: articles a minute of 4 clients. Of both: tokens read (mean) and written.
SMALL_ALONE_SECONDS, SMALL_ALONE_TOKENS = 14.4, (657, 96)
SMALL_DESK_PER_MINUTE, SMALL_DESK_TOKENS = 3.9, (644, 96)
# python -m benchmarks.summarize.deadline --sides "factory,Llama()" --parts prefill --rounds 2
# Median of two, articles of about 250 tokens: 12.37 and 12.28 tokens/s.
LARGE_PREFILL = 1 / 12.3
# python -m benchmarks.summarize.deadline --sides factory --parts one
# Median of 20 answers behind about 145 tokens: 266 to 365 ms; and the time to the answer, with `Prefer: wait=28`.
LARGE_DECODE = 0.305
LARGE_IN_TIME_SECONDS = 23.1
# The largest resident memory of the service in the runs above, bytes.
SMALL_PEAK, LARGE_PEAK = 1.27e9, 5.60e9

# python -m benchmarks.extract.compare: 2,000 words, 3 labels, fp32, median; a text over 384 words goes by windows.
EXTRACT_WORDS, EXTRACT_SECONDS = 2000, 3.02
# template.yaml: MemorySize of Extract and Audio.
EXTRACT_MEMORY_MB, AUDIO_MEMORY_MB = 3008, 1024

# python -m benchmarks.models.llama llama-1b, llama-8b: sizes of the files, those of the published ones to 0.5 %.
SMALL_BYTES, LARGE_BYTES = 803_485_888, 4_916_529_792
# https://huggingface.co/bartowski/Llama-3.2-3B-Instruct-GGUF, Q4_K_M, read in November 2026.
MIDDLE_BYTES = 2_020_000_000
# https://huggingface.co/meta-llama/Llama-3.2-3B-Instruct, config.json: layers, KV heads, size of a head.
MIDDLE_SHAPE = (28, 8, 128)
# benchmarks/models/shapes.py, SHAPES: the same of the other two.
SMALL_SHAPE, LARGE_SHAPE = (16, 8, 64), (32, 8, 128)

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html, read in November 2026.
MB_PER_CPU = 1769
# The most a new account may have; the first with four CPUs, the last with four; samconfig.toml for the 8B; the most.
MEMORY_SIZES_MB = (3008, 5308, 7076, 8192, 10240)
# https://aws.amazon.com/lambda/pricing/, us-east-1, x86, first tier, as https://cloudchipr.com/blog/aws-lambda-pricing
# quotes it, read in November 2026 (AWS's page fills most of its figures in with a script).
USD_PER_GB_SECOND, USD_PER_REQUEST = 0.0000166667, 0.20 / 1_000_000
FREE_GB_SECONDS = 400_000
# template.yaml: FACTORY_SUMMARIZE__DEADLINE_SECONDS; common/settings.py: that of the profile `space`.
LAMBDA_DEADLINE, SPACE_DEADLINE = 25.0, 28.0

# https://huggingface.co/docs/hub/spaces-gpus, read in November 2026: CPUs, GB of memory and USD an hour.
SPACES = {"CPU basic": (2, 16, 0.0), "CPU upgrade": (8, 32, 0.03)}

# template.yaml: TimeoutSeconds; BatchConcurrency; the least memory that each preset may have.
TIMEOUT_SECONDS, BATCH_CONCURRENCY = 120, 4
LEAST_MEMORY_MB = {"llama-3.2-1b": 3008, "llama-3.2-3b": 4096, "llama-3-8b": 6144}
# Of an invocation: what an instance's first one takes to start, see docs/scaling.md, Cold starts; and what is kept for
# the answer, common/http/deadlines.py.
START_SECONDS, MARGIN_SECONDS = 8.0, 1.0
# States that a batch passes when nothing goes wrong, and those of the run around it; each execution's start is counted
# as one more. tests/deploy/test_corpus_run.py counts them.
BATCH_STATES, RUN_STATES = 3, 4
# template.yaml: what a batch may have. Bytes of an article, six a word with its space, and of a result: a choice.
EXTRACT_BATCH, BATCH_BYTES, ARTICLE_BYTES, RESULT_BYTES = 50, 65_536, 6 * ARTICLE_WORDS, 1500
# https://aws.amazon.com/step-functions/pricing/, us-east-1, as stored copies have it, read in November 2026.
USD_PER_TRANSITION = 0.025 / 1000
# https://aws.amazon.com/s3/pricing/, us-east-1, S3 Standard, first tier, as many pages quote it, read in November 2026.
USD_PER_GB_MONTH = 0.023

HOURLY = (1000, 5000)
CORPORA = (1000, 10_000, 1_000_000)
EXTRAPOLATED, ESTIMATED = "†", "~"


@dataclass(frozen=True)
class Model:
    """`prefill` and `decode` are seconds a token on MEASURED_CPUS; `mark` says that they are an estimate."""

    preset: str
    file_bytes: int
    shape: tuple[int, int, int]
    prefill: float
    decode: float
    mark: str = ""
    peak: float | None = None

    @property
    def cpu_seconds(self) -> float:
        """Of one article: as many as one CPU would take."""
        return (ARTICLE_TOKENS * self.prefill + SUMMARY_TOKENS * self.decode) * MEASURED_CPUS

    @property
    def gb_seconds(self) -> float:
        """Of one article on Lambda, whose memory and CPUs grow alike."""
        return self.cpu_seconds * MB_PER_CPU / 1024

    @property
    def usd_per_thousand(self) -> float:
        return 1000 * (self.gb_seconds * USD_PER_GB_SECOND + USD_PER_REQUEST)

    @property
    def needed_bytes(self) -> int:
        """What functions/summarize/memory.py asks for with the preset's context."""
        layers, kv_heads, head = self.shape
        header: dict[str, Any] = {
            "general.architecture": "llama",
            "llama.block_count": layers,
            "llama.attention.head_count": kv_heads,
            "llama.attention.head_count_kv": kv_heads,
            "llama.embedding_length": kv_heads * head,
        }
        return self.file_bytes + cache_bytes(header, PRESETS[self.preset].context) + MARGIN_BYTES


def _between(small: float, large: float) -> float:
    """On the line through the two that were measured, at the size of the file that was not."""
    return small + (large - small) * (MIDDLE_BYTES - SMALL_BYTES) / (LARGE_BYTES - SMALL_BYTES)


MODELS = (
    Model("llama-3.2-1b", SMALL_BYTES, SMALL_SHAPE, SMALL_PREFILL, SMALL_DECODE, peak=SMALL_PEAK),
    Model(
        "llama-3.2-3b",
        MIDDLE_BYTES,
        MIDDLE_SHAPE,
        _between(SMALL_PREFILL, LARGE_PREFILL),
        _between(SMALL_DECODE, LARGE_DECODE),
        ESTIMATED,
    ),
    Model("llama-3-8b", LARGE_BYTES, LARGE_SHAPE, LARGE_PREFILL, LARGE_DECODE, peak=LARGE_PEAK),
)


def inputs() -> str:
    """What was measured, on all CPUs of the machine and for each of them."""
    rows = []
    for model in MODELS:
        read, write = 1 / model.prefill, 1 / model.decode
        rows.append(
            [
                f"`{model.preset}`",
                f"{model.mark}{1000 * model.prefill:.1f}",
                f"{model.mark}{read:.1f}",
                f"{model.mark}{read / MEASURED_CPUS:.1f}",
                f"{model.mark}{1000 * model.decode:.0f}",
                f"{model.mark}{write:.1f}",
                f"{model.mark}{write / MEASURED_CPUS:.1f}",
                _gigabytes(model.file_bytes),
                _gigabytes(model.needed_bytes),
                _gigabytes(model.peak) if model.peak else "not measured",
            ]
        )
    head = ["preset", "reading, ms a token", "tokens/s", "a vCPU", "writing, ms a token", "tokens/s", "a vCPU"]
    return table([*head, "file", "asks for", "peak memory"], rows)


def per_article() -> str:
    """What an article costs on Lambda, whatever its memory."""
    rows = [
        [
            f"`{model.preset}`",
            f"{model.mark}{model.cpu_seconds:.0f}",
            f"{model.mark}{model.gb_seconds:.0f}",
            f"{model.mark}{model.usd_per_thousand:.2f}",
            f"{model.mark}{floor(FREE_GB_SECONDS / model.gb_seconds):,}",
        ]
        for model in MODELS
    ]
    return table(["preset", "vCPU seconds", "GB seconds", "USD per 1,000 articles", "articles a month for free"], rows)


def on_lambda() -> str:
    rows = []
    for model in MODELS:
        for memory in MEMORY_SIZES_MB:
            cpus = memory / MB_PER_CPU
            start = [f"`{model.preset}`", f"{memory:,}", f"{cpus:.1f}"]
            if model.needed_bytes > memory << 20:
                rows.append([*start, "does not fit", *["-"] * 5])
                continue
            mark = _marks(model, cpus)
            seconds = model.cpu_seconds / cpus
            rows.append(
                [
                    *start,
                    mark(f"{seconds:.1f}"),
                    "yes" if seconds <= _usable(LAMBDA_DEADLINE) else "no",
                    mark(f"{3600 / seconds:.0f}"),
                    mark(f"{model.usd_per_thousand:.2f}"),
                    *(mark(f"{ceil(articles * seconds / 3600)}") for articles in HOURLY),
                ]
            )
    hourly = [f"instances for {articles:,}/h" for articles in HOURLY]
    within = f"whole in {LAMBDA_DEADLINE:.0f} s"
    head = ["preset", "MB", "vCPU", "s an article", within, "articles/h an instance", "USD per 1,000"]
    return table([*head, *hourly], rows)


def on_a_space() -> str:
    rows = []
    for hardware, (cpus, memory, usd) in SPACES.items():
        for model in MODELS:
            assert model.needed_bytes < memory * 1e9
            mark = _marks(model, cpus)
            seconds = model.cpu_seconds / cpus
            rows.append(
                [
                    f"{hardware}, {cpus} vCPU",
                    f"`{model.preset}`",
                    mark(f"{seconds:.1f}"),
                    "yes" if seconds <= _usable(SPACE_DEADLINE) else "no",
                    mark(f"{3600 / seconds:.0f}"),
                    mark(f"{1000 * usd * seconds / 3600:.2f}") if usd else "0",
                ]
            )
    within = f"whole in {SPACE_DEADLINE:.0f} s"
    return table(["hardware", "preset", "s an article", within, "articles/h", "USD per 1,000"], rows, texts=2)


def measured_on_two_cpus() -> str:
    """What whole runs brought, beside what the figures of an article alone say."""

    def one_by_one(tokens: tuple[int, int]) -> str:
        return f"{3600 / (tokens[0] * SMALL_PREFILL + tokens[1] * SMALL_DECODE):.0f}"

    alone, desk, in_time = 3600 / SMALL_ALONE_SECONDS, 60 * SMALL_DESK_PER_MINUTE, 3600 / LARGE_IN_TIME_SECONDS
    rows = [
        ["`llama-3.2-1b`", "1 client, 107 and 1,207 tokens", f"{alone:.0f}", one_by_one(SMALL_ALONE_TOKENS)],
        ["`llama-3.2-1b`", "4 clients, 120 to 1,200 tokens", f"{desk:.0f}", one_by_one(SMALL_DESK_TOKENS)],
        ["`llama-3-8b`", "1 client, 900 tokens, `Prefer: wait=28`: condensed", f"{in_time:.0f}", "-"],
    ]
    return table(["preset", "work", "articles/h", "by the first table"], rows, texts=2)


def other_functions() -> str:
    seconds = EXTRACT_SECONDS * ARTICLE_WORDS / EXTRACT_WORDS
    on_lambda = seconds * MEASURED_CPUS * MB_PER_CPU / EXTRACT_MEMORY_MB
    usd = 1000 * (on_lambda * EXTRACT_MEMORY_MB / 1024 * USD_PER_GB_SECOND + USD_PER_REQUEST)
    waiting = 1000 * (AUDIO_MEMORY_MB / 1024 * USD_PER_GB_SECOND + USD_PER_REQUEST)
    rows = [
        ["`/extract`, 2 vCPU", f"{seconds:.2f}", f"{3600 / seconds:,.0f}", "-"],
        [f"`/extract`, Lambda, {EXTRACT_MEMORY_MB:,} MB", f"{on_lambda:.2f}", f"{3600 / on_lambda:,.0f}", f"{usd:.2f}"],
        [f"`/audio`, Lambda, {AUDIO_MEMORY_MB:,} MB", "the cloud's", "-", f"{waiting:.3f} for each second it takes"],
    ]
    return table(["function", "s an article", "articles/h an instance", "USD per 1,000"], rows)


def batch_size(model: Model) -> int:
    """Articles that fit into an invocation with the default timeout and the least memory, when it is the first one."""
    return floor((TIMEOUT_SECONDS - START_SECONDS - MARGIN_SECONDS) / _batch_seconds(model))


def corpora() -> str:
    """What a run over a corpus costs and takes, by the defaults of the template."""
    rows = []
    for model in MODELS:
        seconds = _batch_seconds(model)
        mark = _marks(model, LEAST_MEMORY_MB[model.preset] / MB_PER_CPU)
        name = f"`/summarize`, `{model.preset}`, {LEAST_MEMORY_MB[model.preset]:,} MB"
        rows += [[name, *_run(number, seconds, model.gb_seconds, batch_size(model), mark)] for number in CORPORA]
    seconds = EXTRACT_SECONDS * ARTICLE_WORDS / EXTRACT_WORDS * MEASURED_CPUS * MB_PER_CPU / EXTRACT_MEMORY_MB
    size = min(EXTRACT_BATCH, BATCH_BYTES // ARTICLE_BYTES)
    name = f"`/extract`, {EXTRACT_MEMORY_MB:,} MB"
    for number in CORPORA:
        rows.append([name, *_run(number, seconds, seconds * EXTRACT_MEMORY_MB / 1024, size, lambda figure: figure)])
    head = ["function", "articles", "a batch", "batches", f"time, {BATCH_CONCURRENCY} calls", "calls for one day"]
    return table([*head, "Lambda, USD", "Step Functions, USD", "S3 for a month, USD", "all, USD"], rows)


def _run(number: int, seconds: float, gb_seconds: float, size: int, mark: Callable[[str], str]) -> list[str]:
    """The columns of one corpus; `seconds` and `gb_seconds` are an article's."""
    batches = ceil(number / size)
    on_lambda = number * gb_seconds * USD_PER_GB_SECOND + batches * USD_PER_REQUEST
    steps = (batches * (BATCH_STATES + 1) + RUN_STATES + 1) * USD_PER_TRANSITION
    stored = number * (ARTICLE_BYTES + RESULT_BYTES) / 1e9 * USD_PER_GB_MONTH
    figures = [_duration(number * seconds / BATCH_CONCURRENCY), f"{ceil(number * seconds / 86_400):,}"]
    figures += [f"{usd:,.2f}" for usd in (on_lambda, steps, stored, on_lambda + steps + stored)]
    return [f"{number:,}", str(size), f"{batches:,}", *(mark(figure) for figure in figures)]


def _batch_seconds(model: Model) -> float:
    """Of one article, with the least memory."""
    return model.cpu_seconds / (LEAST_MEMORY_MB[model.preset] / MB_PER_CPU)


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"


TABLES: dict[str, Callable[[], str]] = {
    "inputs": inputs,
    "per-article": per_article,
    "lambda": on_lambda,
    "space": on_a_space,
    "measured": measured_on_two_cpus,
    "others": other_functions,
    "corpora": corpora,
}
_PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(document: str) -> str:
    """`document` with every table anew between its marks."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", document)


def places(document: str) -> list[str]:
    """The names of the tables that `document` has a place for, in order."""
    return [name for _, name, _ in _PLACE.findall(document)]


def _usable(deadline: float) -> float:
    """The part of a deadline that the service plans with."""
    return SAFETY * deadline - OVERHEAD_SECONDS


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _marks(model: Model, cpus: float) -> Callable[[str], str]:
    """What puts the signs of a figure that was not measured around it."""
    return lambda figure: f"{model.mark}{figure}{EXTRAPOLATED if cpus > MEASURED_CPUS else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Tables of documents about scaling and costs.")
    parser.add_argument("--write", action="store_true", help="put them into their places")
    if parser.parse_args().write:
        for document in DOCUMENTS:
            document.write_text(filled(document.read_text(encoding="utf-8")), encoding="utf-8")
        return
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")


if __name__ == "__main__":
    main()
