"""llama.cpp's own C++ server, as xllamacpp carries it.

    python -m benchmarks.summarize.peers.xllama MODEL PORT FLAG...

A flag is `name=value`, the name that of a field of `CommonParams`, the value in JSON or an enumeration's last word:
`n_parallel=4 no_extra_bufts=true cpuparams.n_threads=2 flash_attn_type=DISABLED`.
"""

import json
import signal
import sys
from contextlib import suppress
from enum import Enum
from typing import Any

import xllamacpp


def set_flag(params: Any, flag: str) -> None:
    path, _, text = flag.partition("=")
    *parents, name = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    old = getattr(params, name)
    value: Any = text
    if isinstance(old, Enum):
        value = next(member for member in type(old) if member.name.endswith(f"_{text}"))
    else:
        with suppress(json.JSONDecodeError):
            value = json.loads(text)
    setattr(params, name, value)


def main() -> None:
    model, port, *flags = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    for flag in flags:
        set_flag(params, flag)
    server = xllamacpp.Server(params)
    print(server.listening_address, xllamacpp.BUILD_INFO, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
