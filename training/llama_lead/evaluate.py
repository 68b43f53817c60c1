"""Measure the GGUF through llama-cpp-python: `python -m training.llama_lead.evaluate` (see README.md)."""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_cpp import Llama

from training.llama_lead import handwritten, heldout, prompt

MODEL = Path("tests/models/llama-lead/embedded-llama-lead.gguf")
MAX_TOKENS = 150
TEMPERATURES = (0.0, 0.7)
SUFFIXES = ("", prompt.word_limit(80))
# A full stop (with closing quotes or brackets) before white space and a likely beginning, or at the end of the text.
SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[A-Z0-9À-Þ]|\s*$)")
ABBREVIATED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|Sen|Gov|Rep|St|No|Inc|Ltd|Co|vs|Jan|Feb|Aug|Sept|Oct|Nov|Dec|a\.m|p\.m|S\.p\.A|[A-Z])\.$"
)


@dataclass(frozen=True)
class Answer:
    """What the model wrote for an article whose sentences end at the offsets `ends`, and why it stopped."""

    article: str
    ends: list[int]
    text: str
    tokens: int
    stopped: bool

    @property
    def verdict(self) -> str:
        """`exact`; or `cut` (a verbatim opening, stopped by the token limit); or what is wrong with it."""
        if not self.text or not self.article.startswith(self.text):
            return "not verbatim"
        if not self.stopped:
            return "cut"
        if len(self.text) not in self.ends:
            return "ends inside a sentence"
        return "exact" if self.ends.index(len(self.text)) < 3 else "more than 3 sentences"


def sentence_ends(text: str) -> list[int]:
    """Character offsets after each sentence of `text`; abbreviations and initials end none, except at the very end."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return [end for end in ends if end == len(text) or not ABBREVIATED.search(text[:end])]


def shortened(model: Llama, article: str, ends: list[int], budget: int) -> str:
    """The longest run of whole sentences from the start of `article` within `budget` tokens."""
    fits = ""
    for end in ends:
        if len(model.tokenize(article[:end].encode(), add_bos=False)) > budget:
            break
        fits = article[:end]
    return fits


def answer(model: Llama, article: str, ends: list[int], temperature: float, suffix: str, seed: int) -> Answer:
    """Summarize `article` as the service does: three pieces, each tokenised on its own."""
    ids = model.tokenize(prompt.prefix().encode(), add_bos=False, special=True)
    ids += model.tokenize(article.encode(), add_bos=False, special=False)
    ids += model.tokenize(prompt.closing(suffix).encode(), add_bos=False, special=True)
    result = model.create_completion(ids, max_tokens=MAX_TOKENS, temperature=temperature, seed=seed)
    choice = result["choices"][0]
    stopped = choice["finish_reason"] == "stop"
    return Answer(article, ends, choice["text"], result["usage"]["completion_tokens"], stopped)


def report(name: str, answers: Sequence[Answer], verbose: bool) -> None:
    """Print the share of each verdict, and with `verbose` the answers that are not exact."""
    verdicts = Counter(item.verdict for item in answers)
    lengths = sorted(item.tokens for item in answers)
    share = 100 * verdicts["exact"] / len(answers)
    rest = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if verdict != "exact")
    print(
        f"{name}: exact {verdicts['exact']}/{len(answers)} = {share:.1f} % ({rest or 'nothing else'}); "
        f"answer tokens median {lengths[len(lengths) // 2]}, longest {lengths[-1]}",
        flush=True,
    )
    for item in answers if verbose else ():
        if item.verdict != "exact":
            print(f"  {item.verdict}:\n    {item.article[:400]!r}\n    {item.text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--budget", type=int, default=300, help="article tokens")
    parser.add_argument("--articles", type=int, default=50, help="how many generated ones")
    parser.add_argument(
        "--sentences", type=int, nargs=2, default=(4, 25), help="fewest and most of a generated article"
    )
    parser.add_argument("--set", choices=("generated", "handwritten"), help="only this one")
    parser.add_argument("--seed", type=int, default=heldout.SEED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    model = Llama(str(arguments.model), n_ctx=2048, n_threads=arguments.threads, verbose=False)
    source = heldout.ArticleSource(arguments.seed)
    sets = {
        "generated": [source.article(*arguments.sentences) for _ in range(arguments.articles)],
        "handwritten": [(article, sentence_ends(article)) for article in handwritten.ARTICLES],
    }
    for name in [arguments.set] if arguments.set else sets:
        articles = [(shortened(model, text, ends, arguments.budget), ends) for text, ends in sets[name]]
        sizes = [len(model.tokenize(article.encode(), add_bos=False)) for article, _ in articles]
        print(f"{name}: {len(articles)} articles of {min(sizes)} to {max(sizes)} tokens")
        cases = list(itertools.product(TEMPERATURES, SUFFIXES))
        # One article after the other, so that llama.cpp keeps its prefill over the cases.
        rows = [[answer(model, *article, *case, seed) for case in cases] for seed, article in enumerate(articles)]
        for (temperature, suffix), answers in zip(cases, zip(*rows, strict=True), strict=True):
            report(f"  temperature {temperature}, suffix {suffix.strip()!r}", answers, arguments.verbose)


if __name__ == "__main__":
    main()
