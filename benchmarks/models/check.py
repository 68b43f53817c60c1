"""Check what `llama.py` promises of a model: `python -m benchmarks.models.check MODEL [--prompts N] [--tokens N]`.

For each of a few prompts it generates greedily and prints the share of full stops, the mean and the longest sentence,
how many different tokens there were, and whether the model ended by itself or ran into a loop.
"""

import argparse
from itertools import pairwise
from random import Random
from typing import Any

LOOP_TOKENS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description="Check that a generated model talks without end and in sentences.")
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    from llama_cpp import Llama

    llama: Any = Llama(options.model, n_ctx=2048, n_threads=options.threads, verbose=False)
    stop = llama.tokenize(b".", add_bos=False)[0]
    random = Random(0)
    for number in range(options.prompts):
        prompt = [llama.token_bos(), *(random.randrange(300, 2000) for _ in range(20 + 40 * number))]
        tokens: list[int] = []
        for token in llama.generate(prompt, temp=0):
            tokens.append(token)
            if len(tokens) == options.tokens or token == llama.token_eos():
                break
        print(report(tokens, stop), llama.detokenize(tokens[:24]).decode("utf-8", "replace"), sep="\n    ", flush=True)


def report(tokens: list[int], stop: int) -> str:
    stops = [-1, *(position for position, token in enumerate(tokens) if token == stop)]
    sentences = [after - before for before, after in pairwise(stops)] or [len(tokens)]
    windows = [tuple(tokens[start : start + LOOP_TOKENS]) for start in range(len(tokens) - LOOP_TOKENS + 1)]
    return (
        f"{len(tokens)} tokens, {len(set(tokens))} different, {tokens.count(stop) / len(tokens):.1%} full stops, "
        f"sentences of {sum(sentences) / len(sentences):.0f} tokens, the longest {max(sentences)}, "
        f"{'a loop' if len(set(windows)) < len(windows) else 'no loop'}"
    )


if __name__ == "__main__":
    main()
