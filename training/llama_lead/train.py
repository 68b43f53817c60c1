"""Train the Llama of the tests: `python -m training.llama_lead.train` (see README.md)."""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from training.llama_lead import prompt
from training.llama_lead.corpus import Corpus
from training.llama_lead.model import Llama, Shape, load, save
from training.llama_lead.muon import Muon
from training.llama_lead.sentences import SentenceSource
from training.llama_lead.tokenizer import Tokenizer

TOKENIZER_SENTENCES = 40_000
IGNORED = -100
REPORT_EVERY = 25
SAVE_EVERY = 100


@dataclass(frozen=True)
class Stage:
    """`steps` steps on examples of `shortest` to `longest` tokens, `tokens` in a batch, and what the examples are."""

    steps: int
    shortest: int
    longest: int
    tokens: int
    echo_share: float = 0.0
    random_share: float = 0.22


@dataclass(frozen=True)
class Phase:
    """Stages under one optimizer; the learning rate falls in a straight line after `flat` steps."""

    stages: tuple[Stage, ...]
    rate: float
    flat: int
    warm_up: int

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def rate_at(self, step: int) -> float:
        """Learning rate of `step`, at least a hundredth of the highest."""
        fall = min(1.0, (self.steps - step) / max(1, self.steps - self.flat))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * max(0.01, fall)


PHASES = {
    # Copying emerges on short texts, spreads to longer ones, and gets exact as the rate falls.
    "short": Phase(
        (Stage(150, 40, 100, 3072, echo_share=1.0), Stage(150, 128, 224, 4096, echo_share=0.1)),
        rate=4e-3,
        flat=300,
        warm_up=60,
    ),
    "middle": Phase((Stage(100, 128, 420, 5120),), rate=3e-3, flat=100, warm_up=20),
    "long": Phase(
        (Stage(60, 128, 420, 5120), Stage(540, 128, 1000, 5120, random_share=0.15)), rate=3e-3, flat=60, warm_up=20
    ),
    "exact": Phase((Stage(400, 128, 640, 5120, random_share=0.1),), rate=1.5e-3, flat=80, warm_up=20),
    "polish": Phase((Stage(700, 128, 680, 6144, random_share=0.08),), rate=1.2e-3, flat=60, warm_up=20),
    "settle": Phase((Stage(550, 128, 680, 6144, random_share=0.05),), rate=1.2e-3, flat=60, warm_up=20),
}


def train_tokenizer(seed: int) -> Tokenizer:
    """The BPE of `TOKENIZER_SENTENCES` training sentences and the prompts' own text."""
    source = SentenceSource(seed)
    texts = (source.sentence() for _ in range(TOKENIZER_SENTENCES))
    asked = (prompt.SYSTEM, *prompt.OTHER_SYSTEMS, prompt.WORD_LIMIT, *prompt.OTHER_SUFFIXES)
    return Tokenizer.train(itertools.chain(texts, (*asked, "system", "user", "assistant") * 50))


def batches(corpus: Corpus, rng: random.Random, phase: Phase) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Per step: ids (batch, tokens), answer positions (batch, rows) and the ids that follow there, or IGNORED."""
    for stage in itertools.chain.from_iterable([stage] * stage.steps for stage in phase.stages):
        length, echo = rng.randint(stage.shortest, stage.longest), rng.random() < stage.echo_share
        count = max(2, stage.tokens // length)
        examples = [corpus.echo(length) if echo else corpus.example(length, stage.random_share) for _ in range(count)]
        rows = max(len(example.answer) for example in examples)
        ids = torch.zeros(len(examples), max(map(len, examples)), dtype=torch.long)
        where = torch.zeros(len(examples), rows, dtype=torch.long)
        target = torch.full((len(examples), rows), IGNORED)
        for index, example in enumerate(examples):
            count, start = len(example.answer), len(example.prompt) - 1
            ids[index, : len(example)] = torch.tensor(example.prompt + example.answer)
            where[index, :count] = torch.arange(start, start + count)
            target[index, :count] = torch.tensor(example.answer)
        yield ids, where, target


def optimizers(model: Llama) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [Muon(matrices), torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)]


def train(model: Llama, phase: Phase, corpus: Corpus, out: Path, seed: int) -> None:
    """Train `model` through `phase`, printing a line and writing `out` every `REPORT_EVERY` and `SAVE_EVERY` steps."""
    chosen = optimizers(model)
    started, tokens = time.monotonic(), 0
    for step, (ids, rows, target) in enumerate(batches(corpus, random.Random(seed), phase)):
        for group in (group for optimizer in chosen for group in optimizer.param_groups):
            group["lr"] = phase.rate_at(step)
        logits = model(ids, rows)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}")
        tokens += ids.numel()
        if step % REPORT_EVERY == 0 or step == phase.steps - 1:
            hit = (logits.argmax(-1) == target) | (target == IGNORED)
            token_share = 1 - (~hit).sum() / (target != IGNORED).sum()
            print(
                f"step {step}/{phase.steps} length {ids.shape[1]} loss {loss.item():.4f} "
                f"tokens right {token_share:.4f} answers right {hit.all(1).float().mean():.2f} "
                f"{tokens} tokens {time.monotonic() - started:.0f} s",
                flush=True,
            )
        if step % SAVE_EVERY == SAVE_EVERY - 1:
            save(out, model)
    save(out, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("build/llama-lead"), help="folder to write to")
    parser.add_argument("--phase", choices=PHASES, help="only this one, from the weights that the one before left")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    run, seed = arguments.run, arguments.seed
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(seed)
    run.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(seed)
    tokenizer.save(run / "tokenizer.json")
    names = list(PHASES)
    first = names.index(arguments.phase or names[0])
    model = load(run / f"{names[first - 1]}.pt") if first else Llama(Shape())
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    for index, name in enumerate(names):
        if arguments.phase in (None, name):
            train(model, PHASES[name], Corpus(tokenizer, seed + 10 + 10 * index), run / f"{name}.pt", seed + index)


if __name__ == "__main__":
    main()
