"""Train the GLiNER on articles and generated sentences: `python -m training.gliner_news.train ENCODER`."""

import argparse
import copy
import json
import math
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from training.gliner_news import articles
from training.gliner_news.batches import Encoder, batches
from training.gliner_news.kinds import COARSE
from training.gliner_news.model import build, encoder_of
from training.gliner_news.scoring import rates, score
from training.gliner_news.tokenizer import cased
from training.gliner_small.model import span_logits
from training.news.split import HELD_BACK, SEED

HERE = Path(__file__).parent
WARM_UP = 100
LEAST_RATE = 0.02


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path, help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--weights", type=Path, help="go on from these, which an earlier run wrote")
    parser.add_argument("--work", type=Path, default=HERE / "runs", help="checkpoints; not part of the repository")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop", type=int, help="end earlier on the schedule of --steps")
    parser.add_argument("--tokens", type=int, default=1200, help="sub-tokens per batch")
    parser.add_argument("--encoder-rate", type=float, default=1.5e-4)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--positive", type=float, default=3.0, help="what a missed entity weighs beside a wrong one")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=500, help="steps between evaluations")
    parser.add_argument("--half", action="store_true", help="compute in bfloat16 where torch deems it safe")
    return parser.parse_args()


class Trainer:
    """AdamW with warm-up and cosine, binary cross-entropy over all spans and labels, and an average of the weights."""

    def __init__(self, model: Any, options: argparse.Namespace) -> None:
        self.model, self.averaged, self.step = model, copy.deepcopy(model), 0
        self._options = options
        of_encoder = {id(parameter) for parameter in encoder_of(model).parameters()}
        of_encoder -= {id(p) for name, p in model.named_parameters() if name.endswith("cases.weight")}
        groups = []
        for rate, inside in ((options.encoder_rate, True), (options.rate, False)):
            mine = [p for p in model.parameters() if (id(p) in of_encoder) == inside]
            groups += [
                {"params": [p for p in mine if p.dim() > 1], "weight_decay": 0.02, "lr": rate},
                {"params": [p for p in mine if p.dim() <= 1], "weight_decay": 0.0, "lr": rate},
            ]
        self._optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)

    def _rate(self, step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, step / self._options.steps)))
        return min(1.0, (step + 1) / WARM_UP) * (LEAST_RATE + (1 - LEAST_RATE) * cosine)

    def train_on(self, batch: dict[str, torch.Tensor]) -> float:
        """One step; the loss per word of text."""
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._options.half):
            logits, valid = span_logits(self.model, batch)
        weight = 1 + (self._options.positive - 1) * batch["targets"]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits.float(), batch["targets"], weight, reduction="none"
        )
        loss = (losses * valid).sum() / batch["text_lengths"].sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._scheduler.step()
        self.step += 1
        if self.step % 5 == 0:
            keep = min(0.99, self.step / (self.step + 95))
            with torch.no_grad():
                for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                    mean.lerp_(value, 1 - keep)
        return loss.item()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    tokenizer = cased(options.encoder)
    gliner = build(tokenizer, options.encoder, options.seed)
    if options.weights:
        gliner.model.load_state_dict(torch.load(options.weights, weights_only=True))
    trainer = Trainer(gliner.model, options)
    gliner.model = trainer.averaged
    encoder = Encoder(tokenizer)
    learned, chosen_by = articles.split(articles.of_news(), HELD_BACK, options.seed)
    learned += articles.of_marked()
    print(f"{len(learned)} articles to learn from, {len(chosen_by)} to choose by", flush=True)

    recent = 0.0
    for batch in islice(batches(encoder, learned, options.seed, options.tokens), options.stop or options.steps):
        recent += trainer.train_on(batch)
        if trainer.step % 50 == 0:
            print(f"step {trainer.step} loss {recent / 50:.4f} seconds {time.monotonic() - begun:.0f}", flush=True)
            recent = 0.0
        if trainer.step % options.every == 0:
            torch.save(trainer.averaged.state_dict(), options.work / "averaged.pt")
            for names in (COARSE[:3], COARSE):
                found = rates(score(trainer.averaged, encoder, chosen_by, names))
                print(json.dumps({name: [round(value, 3) for value in row] for name, row in found.items()}), flush=True)
    torch.save(trainer.averaged.state_dict(), options.work / "averaged.pt")
    print(f"{options.work} after {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
