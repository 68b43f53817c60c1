"""The servers that are compared. Each gets the same GGUF, two threads and the same context for all its sequences.

`llama_cpp.server` has `interrupt_requests` off: by default a second request cuts the first one's stream off, and no
answer would be whole. The rest of its defaults stay, such as logits for every token of a prompt (`logits_all`).

`xllamacpp` is llama.cpp's C++ server with xllamacpp's defaults: one sequence (`n_parallel=1`, so clients queue),
weights repacked, flash attention automatic (on), `n_batch=2048`, `n_ubatch=512`, continuous batching, prompt cache on.

`xllamacpp best` was found by short trials of one thread on the 1B, as CPU seconds for four articles of 120 to 220
tokens at once, and as a stream's longest pause beside an article of 300 tokens; the CPU seconds of the same flags
differed by up to 15 % between runs:

    n_parallel=1                                                    26.0 s   0.1 s, the newcomer waits for the stream
    n_parallel=1 no_extra_bufts                                     25.5 s   0.1 s, the same
    n_parallel=4 kv_unified                                         29.2 s   9.9 s
    n_parallel=4 kv_unified no_extra_bufts                          31.0 s   8.7 s   0.5 GB less
    n_parallel=4 no_extra_bufts                                     32.1 s   8.2 s   too small for 2,000 tokens
    n_parallel=4 kv_unified no_extra_bufts flash_attn_type=DISABLED 34.5 s  14.1 s
    n_parallel=4 kv_unified no_extra_bufts n_cache_reuse=64         30.9 s   9.3 s
    n_parallel=4 kv_unified no_extra_bufts n_ubatch=128             34.0 s  10.8 s
    n_parallel=4 kv_unified no_extra_bufts n_batch=n_ubatch=256     32.8 s   6.8 s
    n_parallel=4 kv_unified no_extra_bufts n_batch=n_ubatch=128     32.4 s   3.3 s
    n_parallel=4 kv_unified no_extra_bufts n_batch=n_ubatch=64      30.5 s   1.8 s   taken
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.summarize.client import Dialect

ROOT = Path(__file__).resolve().parents[2]
PEERS = str(ROOT / ".venv-bench-summarize/bin/python")
DEFAULT_THREADS = 2
CONTEXT_TOKENS = 8192
OURS, BARE = "factory", "Llama()"
BEST_FLAGS = ("n_parallel=4", "kv_unified=true", "no_extra_bufts=true", "n_batch=64", "n_ubatch=64")
AD_HOC = "xllamacpp:"


@dataclass(frozen=True)
class Side:
    name: str
    dialect: Dialect
    command: Callable[[Path, int], list[str]]
    environment: Callable[[Path, int], dict[str, str]] = lambda _model, _port: {}

    @property
    def file_name(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.name)


def _factory(threads: int, context: int) -> Side:
    def environment(model: Path, port: int) -> dict[str, str]:
        summarize = {
            "MODEL": str(model),
            "MODEL_NAME": model.stem,
            "CONTEXT": str(context),
            "THREADS": str(threads),
            "ANSWER_CACHE_BYTES": "0",
            "DEADLINE_SECONDS": "none",
            # Measured at the first start and kept for the others; not where a service of this machine keeps its own.
            "CACHE_FOLDER": str(ROOT / "benchmarks/.cache/factory"),
        }
        return {
            "FACTORY_PROFILE": "space",
            "FACTORY_HOST": "127.0.0.1",
            "FACTORY_PORT": str(port),
            "FACTORY_WARM_UP": "true",
            "FACTORY_LOG_LEVEL": "WARNING",
            **{f"FACTORY_SUMMARIZE__{name}": value for name, value in summarize.items()},
        }

    return Side(OURS, "factory", lambda _model, _port: [sys.executable, "local_runner.py"], environment)


def _llama_cpp_server(threads: int, context: int) -> Side:
    def command(model: Path, port: int) -> list[str]:
        return [
            *(PEERS, "-m", "llama_cpp.server", "--model", str(model), "--host", "127.0.0.1", "--port", str(port)),
            *("--n_threads", str(threads), "--n_threads_batch", str(threads), "--n_ctx", str(context)),
            *("--interrupt_requests", "false"),
        ]

    return Side("llama_cpp.server", "openai", command)


def _xllamacpp(name: str, threads: int, context: int, *flags: str) -> Side:
    same = (f"n_ctx={context}", f"cpuparams.n_threads={threads}", f"cpuparams_batch.n_threads={threads}")

    def command(model: Path, port: int) -> list[str]:
        return [PEERS, "-m", "benchmarks.summarize.peers.xllama", str(model), str(port), *same, *flags]

    return Side(name, "openai", command)


def _bare(threads: int, context: int) -> Side:
    def command(model: Path, port: int) -> list[str]:
        numbers = (str(port), str(threads), str(context))
        return [PEERS, "-m", "benchmarks.summarize.peers.bare", str(model), *numbers]

    return Side(BARE, "openai", command)


def choose(names: str | None, threads: int, context: int = CONTEXT_TOKENS) -> list[Side]:
    """The sides that `names` lists, comma-separated; `xllamacpp:FLAG+FLAG` is one with these flags, for trials."""
    sides = [
        _factory(threads, context),
        _llama_cpp_server(threads, context),
        _xllamacpp("xllamacpp", threads, context),
        _xllamacpp("xllamacpp best", threads, context, *BEST_FLAGS),
        _bare(threads, context),
    ]
    if names is None:
        return sides
    known = {side.name: side for side in sides}
    chosen = []
    for name in names.split(","):
        if name.startswith(AD_HOC):
            chosen.append(_xllamacpp(name, threads, context, *name.removeprefix(AD_HOC).split("+")))
        elif name in known:
            chosen.append(known[name])
        else:
            sys.exit(f"there is no side {name!r}; there are {', '.join(known)}")
    return chosen
