"""--dry-run: how many articles, characters and tokens there are, how long they take and what that costs."""

from dataclasses import dataclass
from typing import Any

import httpx2

from batch.arguments import Options
from batch.articles import Article, Source, digest
from batch.errors import Exit, Unusable
from batch.functions import AUDIO, EXTRACT, SUMMARIZE
from batch.prices import PRICES
from batch.progress import Progress
from batch.reader import count, read
from batch.tally import Tally
from functions.audio.schemas import AudioRequest
from functions.summarize.schemas import SummarizeRequest

# As benchmarks/scaling.py has it: tokens of an English word.
TOKENS_A_WORD = 4 / 3
HEALTH_SECONDS = 10.0


@dataclass
class Corpus:
    """What there is to do. `written`: the most tokens that the summaries may have."""

    articles: int = 0
    bad: int = 0
    duplicates: int = 0
    characters: int = 0
    words: int = 0
    written: int = 0
    speech_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return round(self.words * TOKENS_A_WORD)


async def tell(options: Options, source: Source) -> int:
    """Print it on standard output. Nothing is sent but a question for /health, and OUT is not looked at."""
    corpus = await _counted(options, source)
    for line in [*_counts(corpus, options), *await _times(corpus, options), *_costs(corpus, options)]:
        print(line)
    return Exit.SOME_FAILED if corpus.bad or corpus.duplicates else Exit.DONE


async def _counted(options: Options, source: Source) -> Corpus:
    corpus, seen = Corpus(), set[int]()
    progress = Progress(Tally())
    stop_counting = count(source, progress.expect)
    try:
        async for item in read(source):
            progress.step()
            number = digest(item.id)
            if number in seen:
                corpus.duplicates += 1
            elif isinstance(item, Article):
                _add(corpus, item.text, options)
            else:
                corpus.bad += 1
            seen.add(number)
    finally:
        stop_counting()
        progress.close()
    return corpus


def _add(corpus: Corpus, text: str, options: Options) -> None:
    if any(one.problem_with(text, options.fields[one.name]) for one in options.functions):
        corpus.bad += 1
        return
    corpus.articles += 1
    corpus.characters += len(text)
    corpus.words += len(text.split())
    if SUMMARIZE in options.functions:
        corpus.written += int(options.fields[SUMMARIZE.name].get("max_tokens", _most_tokens()))
    if AUDIO in options.functions:
        request = AudioRequest.model_validate({**options.fields[AUDIO.name], "text": text})
        corpus.speech_seconds += request.seconds_of(text)


def _most_tokens() -> int:
    return int(SummarizeRequest.model_fields["max_tokens"].default)


def _counts(corpus: Corpus, options: Options) -> list[str]:
    lines = [
        f"articles          {corpus.articles:,}",
        f"cannot be done    {corpus.bad:,}; duplicates {corpus.duplicates:,}",
        f"characters        {corpus.characters:,}",
        f"tokens to read    about {corpus.tokens:,} (estimated: 4 of 3 words)",
    ]
    if SUMMARIZE in options.functions:
        lines.append(f"tokens to write   {corpus.written:,} at most (max_tokens for each)")
    if AUDIO in options.functions:
        lines.append(f"speech            about {corpus.speech_seconds / 3600:,.1f} h")
    return lines


async def _times(corpus: Corpus, options: Options) -> list[str]:
    """By what a running service was measured to do lately."""
    if options.url is None:
        return ["time              not known: --url names a service, which tells what it was measured to do"]
    rates = await _rates(options.url)
    read, write = (rates.get("llama", {}).get(f"{way}_tokens_per_second", 0) for way in ("reading", "writing"))
    lines, seconds = [], 0.0
    if SUMMARIZE in options.functions:
        if read and write:
            seconds += (some := corpus.tokens / read + corpus.written / write)
            lines.append(f"  /summarize      {_hours(some)} at most, one article at a time ({read}, {write} tokens/s)")
        else:
            lines.append("  /summarize      not known: the service has not measured its model yet")
    if EXTRACT in options.functions:
        if speed := rates.get("gliner", {}).get("reading_tokens_per_second", 0):
            seconds += (some := corpus.tokens / speed)
            lines.append(f"  /extract        {_hours(some)} ({speed} tokens/s)")
        else:
            lines.append("  /extract        not known: the service has not measured its model yet")
    if AUDIO in options.functions:
        lines.append("  /audio          not known: it is the speech cloud's, or Piper's, pace")
    total = [f"time              {_hours(seconds)}, by what {options.url} was measured to do lately"] if seconds else []
    if seconds and options.usd_per_hour is not None:
        total.append(
            f"cost              {seconds / 3600 * options.usd_per_hour:,.2f} USD, at {options.usd_per_hour} an hour"
        )
    return [*total, *lines]


async def _rates(url: str) -> dict[str, Any]:
    try:
        async with httpx2.AsyncClient(timeout=HEALTH_SECONDS) as http:
            health = (await http.get(f"{url}/health")).json()
        return {name: model.get("rates") or {} for name, model in health["models"].items()}
    except (httpx2.HTTPError, ValueError, KeyError, AttributeError) as error:
        raise Unusable(f"{url}/health tells nothing: {error}") from None


def _costs(corpus: Corpus, options: Options) -> list[str]:
    if SUMMARIZE not in options.functions or not corpus.articles:
        return []
    lines = ["on AWS Lambda, /summarize alone, from the seconds a token of docs/scaling.md:"]
    for preset, price in PRICES.items():
        usd = price.usd(corpus.tokens, corpus.written)
        lines.append(f"  {preset:<15} {usd:,.2f} USD at most{' (not measured: an estimate)' * price.is_estimate}")
    return lines


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"
