"""Train the adapter: `python -m training.smollm2_news.train SmolLM2.gguf`."""

import argparse
import math
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from training.smollm2_news import export, tokenizer
from training.smollm2_news.examples import Article, Encoder, examples, held_back
from training.smollm2_news.model import Llama

HERE = Path(__file__).parent
LEAST_RATE = 0.05


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf", type=Path, help="the model that is served")
    parser.add_argument("--work", type=Path, default=HERE / "runs", help="checkpoints; not part of the repository")
    parser.add_argument("--steps", type=int, default=260)
    parser.add_argument("--stop", type=int, help="end earlier on the schedule of --steps")
    parser.add_argument("--batch", type=int, default=4, help="articles of one step")
    parser.add_argument("--tokens", type=int, default=900, help="most of a prompt with its answer; longer: left out")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="the first layer with adapters")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--warm-up", type=int, default=12)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--half", action="store_true", help="compute in bfloat16 where torch deems it safe")
    return parser.parse_args()


def loss_of(model: Llama, prompt: list[int], answer: list[int], half: bool) -> torch.Tensor:
    """Of the answer's tokens, their mean."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(torch.tensor(prompt + answer[:-1]), len(prompt) - 1)
    return cross_entropy(logits.float(), torch.tensor(answer))


@torch.no_grad()
def held_back_loss(model: Llama, encoder: Encoder, articles: list[Article], half: bool) -> float:
    losses = [
        loss_of(model, encoder.prompt(article.text, None), encoder.answer(article.summary), half).item()
        for article in articles
    ]
    return sum(losses) / len(losses)


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    begun = time.monotonic()
    encoder = Encoder(tokenizer.read(options.gguf))
    model = Llama(options.gguf, options.rank, 2.0 * options.rank, options.first)
    _, kept = held_back()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)

    def rate(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, step / options.steps)))
        return min(1.0, (step + 1) / options.warm_up) * (LEAST_RATE + (1 - LEAST_RATE) * cosine)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    source = examples(encoder, options.seed, options.tokens)
    recent, tokens = 0.0, 0
    for step in range(1, (options.stop or options.steps) + 1):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(options.batch):
            prompt, answer = next(source)
            loss = loss_of(model, prompt, answer, options.half) / options.batch
            loss.backward()
            recent += loss.item()
            tokens += len(prompt) + len(answer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 10 == 0:
            seconds = time.monotonic() - begun
            print(f"step {step} loss {recent / 10:.4f} tokens {tokens} seconds {seconds:.0f}", flush=True)
            recent = 0.0
        if step % options.every == 0:
            export.write(model, options.work / f"news-{step}.gguf")
            print(f"held back: {held_back_loss(model, encoder, kept[:12], options.half):.4f}", flush=True)
    export.write(model, options.work / "news.gguf")
    print(f"held back: {held_back_loss(model, encoder, kept, options.half):.4f}", flush=True)
    print(f"{options.work} after {(time.monotonic() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
