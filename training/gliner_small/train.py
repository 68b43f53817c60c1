"""Train the small GLiNER on generated text: `python -m training.gliner_small.train`."""

import argparse
import copy
import json
import math
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from training.gliner_small import corpus
from training.gliner_small.batches import Batches
from training.gliner_small.evaluate import load_set, report, score
from training.gliner_small.export import export
from training.gliner_small.model import build_model, span_logits
from training.gliner_small.tokenizer import train_tokenizer

HERE = Path(__file__).parent
WARM_UP = 300
LEAST_RATE = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("tests/models/gliner"))
    parser.add_argument("--work", type=Path, default=HERE / "runs", help="checkpoints; not part of the repository")
    parser.add_argument("--dev", type=Path, default=HERE / "dev.jsonl")
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--stop", type=int, help="end earlier on the schedule of --steps")
    parser.add_argument("--tokens", type=int, default=1800, help="sub-tokens per batch")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--vocab", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=400, help="steps between evaluations")
    return parser.parse_args()


class Trainer:
    """AdamW with warm-up and cosine, binary cross-entropy over all spans and labels, and an average of the weights."""

    def __init__(self, model: Any, steps: int, lr: float) -> None:
        self.model, self.averaged, self.steps, self.step = model, copy.deepcopy(model), steps, 0
        matrices = [p for p in model.parameters() if p.dim() > 1]
        vectors = [p for p in model.parameters() if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.rate)

    def rate(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return min(1.0, (step + 1) / WARM_UP) * (LEAST_RATE + (1 - LEAST_RATE) * cosine)

    def train_on(self, batch: dict[str, torch.Tensor]) -> float:
        """One step; the loss per word of text."""
        self.model.train()
        logits, valid = span_logits(self.model, batch)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["targets"], reduction="none")
        loss = (losses * valid).sum() / batch["text_lengths"].sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        keep = min(0.998, self.step / (self.step + 19))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        return loss.item()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    texts = (" ".join((*e.labels, *e.words)) for e in corpus.build(40_000, args.seed + 1))
    tokenizer = train_tokenizer(texts, args.vocab)
    gliner = build_model(tokenizer, args.seed)
    trainer = Trainer(gliner.model, args.steps, args.lr)
    gliner.model = trainer.averaged.eval()
    print(
        f"{sum(p.numel() for p in gliner.model.parameters()) / 1e6:.2f} M parameters, {len(tokenizer)} tokens",
        flush=True,
    )

    dev = load_set(args.dev)
    seen, recent = 0, 0.0
    for batch in islice(Batches(tokenizer, args.seed, args.tokens), args.stop or args.steps):
        recent += trainer.train_on(batch)
        seen += len(batch["input_ids"])
        if trainer.step % 50 == 0:
            seconds = time.monotonic() - started
            print(f"step {trainer.step} loss {recent / 50:.4f} examples {seen} seconds {seconds:.0f}", flush=True)
            recent = 0.0
        if trainer.step % args.every == 0:
            torch.save(trainer.averaged.state_dict(), args.work / "averaged.pt")
            micro = report(score(gliner, dev))["micro"]
            print(json.dumps({"step": trainer.step} | {k: round(v, 3) for k, v in micro.items()}), flush=True)

    gliner.save_pretrained(args.work / "torch")
    export(gliner, args.output)
    print(f"written to {args.output} after {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
