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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.folders import CACHE, ROOT
from benchmarks.harness.service import Program, factory, peer
from benchmarks.summarize.client import Dialect

PEERS = str(ROOT / ".venv-bench-summarize/bin/python")
DEFAULT_THREADS = 2
CONTEXT_TOKENS = 8192
OURS, WITH_STAND_IN, BARE = "factory", "factory with a stand-in", "Llama()"
BEST_FLAGS = ("n_parallel=4", "kv_unified=true", "no_extra_bufts=true", "n_batch=64", "n_ubatch=64")
AD_HOC = "xllamacpp:"


@dataclass(frozen=True)
class Side:
    """`program` is told the model and settings of ours, for which peers have no use."""

    name: str
    dialect: Dialect
    program: Callable[[Path, Mapping[str, object]], Program]

    @property
    def is_ours(self) -> bool:
        return self.dialect == "factory"


def _factory(name: str, threads: int, context: int, stand_in: Path | None = None) -> Side:
    def program(model: Path, extra: Mapping[str, object]) -> Program:
        summarize = {
            "MODEL": model,
            "MODEL_NAME": model.stem,
            "STAND_IN": stand_in or "none",
            "CONTEXT": context,
            "THREADS": threads,
            "ANSWER_CACHE_BYTES": 0,
            "DEADLINE_SECONDS": "none",
            # Measured at the first start and kept for the others; not where a service of this machine keeps its own.
            "CACHE_FOLDER": CACHE / "factory",
        }
        settings = {f"SUMMARIZE__{setting}": value for setting, value in summarize.items()}
        # Nothing is downloaded beside a measurement: there is no GLiNER, unless `extra` names one.
        others = {"PROFILE": "space", "WARM_UP": True, "LOG_LEVEL": "WARNING", "OFFLINE": True}
        return factory({**others, **settings, **extra})

    return Side(name, "factory", program)


def _peer(name: str, command: Callable[[str, str], list[str]]) -> Side:
    """`command` is told the model and the port."""
    return Side(name, "openai", lambda model, _: peer(lambda port: [PEERS, "-m", *command(str(model), str(port))]))


def _llama_cpp_server(threads: int, context: int) -> Side:
    def command(model: str, port: str) -> list[str]:
        return [
            *("llama_cpp.server", "--model", model, "--host", "127.0.0.1", "--port", port),
            *("--n_threads", str(threads), "--n_threads_batch", str(threads), "--n_ctx", str(context)),
            *("--interrupt_requests", "false"),
        ]

    return _peer("llama_cpp.server", command)


def _xllamacpp(name: str, threads: int, context: int, *flags: str) -> Side:
    same = (f"n_ctx={context}", f"cpuparams.n_threads={threads}", f"cpuparams_batch.n_threads={threads}")
    return _peer(name, lambda model, port: ["benchmarks.summarize.peers.xllama", model, port, *same, *flags])


def _bare(threads: int, context: int) -> Side:
    module, numbers = "benchmarks.summarize.peers.bare", (str(threads), str(context))
    return _peer(BARE, lambda model, port: [module, model, port, *numbers])


def ours(threads: int, context: int, stand_in: Path | None) -> list[Side]:
    """The service by itself, and with a model that stands in where one is given."""
    alone = _factory(OURS, threads, context)
    return [alone] if stand_in is None else [alone, _factory(WITH_STAND_IN, threads, context, stand_in)]


def choose(names: str | None, threads: int, context: int = CONTEXT_TOKENS, stand_in: Path | None = None) -> list[Side]:
    """The sides that `names` lists, comma-separated; `xllamacpp:FLAG+FLAG` is one with these flags, for trials."""
    sides = [
        *ours(threads, context, stand_in),
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
