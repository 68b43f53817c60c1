"""The profile `space` with models of the true shapes, from a loopback hub: what /health tells on the way, and memory.

    python -m deploy.true_shape [--pace 200]

The models are those of the benchmarks, written by `make bench-summarize-8b` and `make bench-extract`: random weights in
files of the true size. The hub sends `--pace` megabytes a second.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.harness.folders import MODELS
from benchmarks.harness.machine import peak_rss
from benchmarks.harness.service import factory, run
from benchmarks.harness.table import line
from common.settings import SummarizeSettings
from functions.extract import model as gliners
from functions.extract.model import CONFIG, HUB_FILE, TOKENIZER
from functions.summarize import model as llamas
from tests.doubles.hub_server import HubServer

LLAMA, GLINER = MODELS / "llama-8b.gguf", MODELS / "gliner-small"
READY_SECONDS = 900.0
STEP = 0.2
ARTICLE = "The council met on Tuesday and voted for a new library near the old harbour. " * 20


def main() -> None:
    parser = argparse.ArgumentParser(description="The profile `space` with models of the true shapes.")
    parser.add_argument("--pace", type=float, default=200.0, help="megabytes a second")
    options = parser.parse_args()
    if missing := [path for path in (LLAMA, GLINER / "model.onnx") if not path.is_file()]:
        sys.exit(f"{missing[0]} is missing: make bench-summarize-8b and make bench-extract write it")
    llama, gliner = llamas.PRESETS["llama-3-8b"], gliners.PRESETS["gliner-small-v2.1"]
    files = {
        llama.repo: {llama.file.format(SummarizeSettings().quantization): LLAMA},
        gliner.repo: {HUB_FILE: GLINER / "model.onnx", **{name: GLINER / name for name in (CONFIG, TOKENIZER)}},
    }
    with HubServer(files) as hub, tempfile.TemporaryDirectory(dir=MODELS) as folder:
        hub.pace_bytes_per_second = options.pace * 1e6
        settings = {"PROFILE": "space", "MODELS_FOLDER": folder, "EXTRACT__CACHE_FOLDER": folder}
        settings |= {"SUMMARIZE__CACHE_FOLDER": folder, "LOG_STYLE": "text"}
        begun = time.monotonic()
        os.environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": folder}
        with run(factory(settings), Path(folder) / "log.txt") as service:
            client = httpx.Client(base_url=service.url, timeout=120, trust_env=False)
            watch(client, begun)
            for path, body in (("/summarize", {"text": ARTICLE, "max_tokens": 40}), ("/extract", {"text": ARTICLE})):
                asked = time.monotonic()
                answer = client.post(path, json=body, headers={"Prefer": "wait=100"})
                told = f"{answer.status_code}, model {answer.json().get('model')}"
                print(line([path, told, f"{time.monotonic() - asked:.1f} s"]))
            # Of this process alone: the one that measures and the one that rebuilds a graph are over by then.
            print(f"\npeak RSS of the service: {peak_rss(service.pid) / 1e9:.2f} GB")
            print("\n".join(text for text in service.log_text().splitlines() if "model " in text or "complete" in text))


def watch(client: httpx.Client, begun: float) -> None:
    """Print each change of a model's state, and every tenth of a download, until all are ready."""
    print("| seconds | model | state | progress | detail |\n| ---: | --- | --- | ---: | --- |")
    shown: dict[str, tuple[str, int]] = {}
    refused = False
    while time.monotonic() - begun < READY_SECONDS:
        health = client.get("/health").json()
        for name, model in health["models"].items():
            tenth = int(10 * (model["progress"] or 0))
            if shown.get(name) != (model["state"], tenth):
                shown[name] = model["state"], tenth
                share = f"{model['progress']:.0%}" if model["progress"] is not None else ""
                seconds = time.monotonic() - begun
                print(f"| {seconds:.1f} | {name} | {model['state']} | {share} | {model['detail']} |", flush=True)
        if not refused and health["models"]["llama"]["state"] == "downloading":
            refused = True
            answer = client.post("/summarize", json={"text": ARTICLE})
            told = f"{answer.status_code}, Retry-After {answer.headers.get('retry-after')}: {answer.json()['detail']}"
            print(f"| {time.monotonic() - begun:.1f} | POST /summarize | | | {told} |")
        if client.get("/health/ready").status_code == 200:
            print(f"\nready after {time.monotonic() - begun:.1f} s\n")
            return
        time.sleep(STEP)
    sys.exit("it did not become ready")


if __name__ == "__main__":
    main()
