"""Builds the image and tries it the way it is run; `make image-test`, as root, with buildah and debootstrap.

No registry and no hub are needed: the base is a fresh Debian 12, and a loopback hub serves models of this repository
under the names of the large ones. The build fetches packages from where pip and apt find them here. What runs in the
image is process 1, as uid 1000 and without capabilities, in a network that reaches nothing else.

STORAGE_DRIVER=vfs is for file systems on which buildah cannot use overlays.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from samtranslator.yaml_helper import yaml_parse

from benchmarks.harness.news import news
from benchmarks.harness.service import call
from common.settings import PROFILES, ROOT, ExtractSettings, SummarizeSettings
from functions.audio import piper_loading as voices
from functions.audio.piper_voices import VOICES
from functions.extract import model as gliners
from functions.extract.model import CONFIG, HUB_FILE, TOKENIZER
from functions.summarize import model as llamas
from tests.doubles import lead_model
from tests.doubles.hub_server import HubServer
from tests.doubles.lambda_runtime import LambdaRuntime

BASE, IMAGE, PRELOADED = "localhost/factory-base", "localhost/factory", "localhost/factory-preloaded"
PACKAGES = "ca-certificates,python3,python3-venv"
CERTIFICATES = "/etc/ssl/certs"
PORT = 7860
# What it is, what was found, and whether that is as it should be.
Row = tuple[str, str, bool]
TEXT = "Apple Inc. announced that Tim Cook will visit Paris."
SUMMARIES = 6
CLEANLY = "exit code 0 "
CONFINED = "uid 1000, gid 1000, process 1, capabilities 0000000000000000"
# Patience beyond the profile's: the machine may be busy with other things.
HEADERS = {"Content-Type": "application/json", "Prefer": "wait=120"}
# Of the caches the service's own is there, empty.
CACHES = "home/factory/.cache"
OWN_CACHE = f"{CACHES}/segmento-factory"
# What no image that is run may hold: what compiles, and what was downloaded to install.
UNWANTED = [
    *(f"usr/bin/{name}" for name in ("cc", "c++", "gcc", "g++", "ld", "make", "cmake", "ninja")),
    *("app/.venv/bin/cmake", "app/.venv/bin/ninja", "app/.venv/bin/pip", "root/.cache", "app/tests", "app/.env"),
    *("var/lib/apt/lists/*", "var/cache/apt/archives/*.deb", f"{CACHES}/*", f"{OWN_CACHE}/*"),
]
# The root as the image has it, or read-only with an empty /tmp; then process 1.
SANDBOX = """
mount --bind "$1" "$1" && mount -o "remount,bind,$2" "$1"
[ "$2" = rw ] || mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$1/tmp"
mount -t proc proc "$1/proc" && mount -t sysfs -o ro sysfs "$1/sys" && mount --rbind /dev "$1/dev"
exec chroot "$1" setpriv --reuid "$3" --regid "$3" --clear-groups --no-new-privs --bounding-set=-all "${@:4}"
"""


# One article from standard input; without a line in OUT it fails.
BATCH = f"""
echo {json.dumps(json.dumps({"id": "a", "text": TEXT}))} \\
    | python -m batch - /tmp/out.jsonl --do extract --url http://127.0.0.1:{PORT}
grep -q '"Tim Cook"' /tmp/out.jsonl
"""


def buildah(*arguments: str) -> str:
    return subprocess.check_output(["buildah", *arguments], text=True)


def make_base() -> None:
    """A local image with the Python that Debian has; made once."""
    if buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for rest in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*"):
            for path in Path(folder).glob(rest):
                path.unlink() if path.is_file() else None
        container = buildah("from", "scratch").strip()
        buildah("add", "--quiet", container, folder, "/")
        buildah("commit", "--quiet", "--rm", container, BASE)


def build(image: str, **arguments: str) -> float:
    """Seconds; a second build takes the layers of the first."""
    # Where this machine's pip looks, as far as a build can reach it; nothing of it is written into the image.
    for name in ("index-url", "extra-index-url"):
        ask = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
        found = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split()
        if urls := [url for url in found if url.startswith("http")]:
            arguments[f"PIP_{name.upper().replace('-', '_')}"] = " ".join(urls)
    options = [f"--build-arg={name}={value}" for name, value in {"BASE": BASE, **arguments}.items()]
    # Only Docker's format knows HEALTHCHECK. Among the machine's certificates may be that of a proxy.
    options += ["--format=docker", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"]
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        command = ["buildah", "bud", "--isolation=chroot", "--layers", f"--tag={image}", *options, str(ROOT)]
        if subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT).returncode:
            log.seek(0)
            sys.exit(f"{''.join(log.readlines()[-40:])}\n{image} could not be built")
    return time.monotonic() - begun


class Container:
    """An image's files and what it says about how to run them."""

    def __init__(self, image: str) -> None:
        self.config = json.loads(buildah("inspect", "--type=image", image))["Docker"]["config"]
        self._name = buildah("from", "--pull-never", image).strip()
        self.root = Path(buildah("mount", self._name).strip())

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        buildah("rm", self._name)

    @property
    def megabytes(self) -> float:
        return float(subprocess.check_output(["du", "-sxB1", self.root]).split()[0]) / 1e6

    @contextmanager
    def run(
        self, variables: Mapping[str, str], *, command: Sequence[str] = (), writable: bool = False
    ) -> Iterator["Process"]:
        """Process 1 is `command`, or what the image names."""
        sandbox = ["bash", "-euc", SANDBOX, "bash", str(self.root), "rw" if writable else "ro", self.config["User"]]
        inside = [*self._environment(variables), *(command or self.config["Cmd"])]
        with tempfile.TemporaryFile() as log:
            process = Process(["unshare", "--pid", "--fork", "--mount", *sandbox, *inside], log)
            try:
                yield process
            except BaseException:
                log.seek(0)
                told = [line for line in log.read().decode(errors="replace").splitlines() if "/health" not in line]
                print("\n", *told[-40:], sep="\n", file=sys.stderr)
                raise
            finally:
                process.kill()

    def exec(self, process: "Process", *command: str) -> int:
        """Run `command` beside process 1, as `docker exec` does."""
        user = self.config["User"]
        enter = ["nsenter", f"--target={process.pid}", "--mount", "--pid", "--root", "setpriv", "--reuid", user]
        return subprocess.run([*enter, "--clear-groups", *self._environment({}), *command], check=False).returncode

    def _environment(self, variables: Mapping[str, str]) -> list[str]:
        pairs = [f"{name}={value}" for name, value in variables.items()]
        return ["env", "--ignore-environment", f"--chdir={self.config['WorkingDir']}", *self.config["Env"], *pairs]


class Process:
    """A container's process 1, and all that it has started."""

    def __init__(self, command: Sequence[str], log: IO[bytes]) -> None:
        self._outer = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.begun = time.monotonic()
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        # As it is seen from outside.
        self.pid = int(until(lambda: children.read_text(encoding="utf-8"), 5))

    def kill(self) -> None:
        if self._outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._outer.wait()

    def facts(self) -> str:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        lines = {line.partition(":")[0]: line.partition(":")[2].split() for line in status.splitlines()}
        user, group, number, capabilities = lines["Uid"][0], lines["Gid"][0], lines["NSpid"][-1], lines["CapBnd"][0]
        return f"uid {user}, gid {group}, process {number}, capabilities {capabilities}"

    def until_ready(self) -> float:
        """Seconds since the start."""
        until(lambda: self._outer.poll() is not None or ask("/health/ready")[0] == 200, 120, 0.1)
        assert self._outer.poll() is None, f"it ended with {self._outer.returncode}"
        return time.monotonic() - self.begun

    def terminate(self) -> None:
        self._told = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)

    def ended(self) -> str:
        """How, and how long after it was told to."""
        try:
            code = self._outer.wait(30)
        except subprocess.TimeoutExpired:
            return "it goes on"
        return f"exit code {code} after {time.monotonic() - self._told:.1f} s"


def until(found: Callable[[], Any], seconds: float, pause: float = 0.02) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(pause)
    return value


def ask(path: str, body: object = None) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    return call(PORT, path, body, headers=HEADERS, seconds=60)


def voice_state() -> str:
    """Of Piper's first voice, which speaks where there is no cloud."""
    models = json.loads(ask("/health")[1])["models"]
    return str(models.get(f"piper:{voices.PACKAGED}", {}).get("state"))


def hub() -> HubServer:
    """It has models of this repository under the names of the large ones that the profile `space` wants."""
    summarize, extract = SummarizeSettings(), ExtractSettings()
    llama, gliner = llamas.PRESETS[summarize.model], gliners.PRESETS[extract.model]
    small = llamas.PRESETS[str(PROFILES["space"]["summarize"]["stand_in"])]
    embedded = ROOT / "models/embedded/gliner"
    voice = VOICES[voices.PACKAGED]
    return HubServer(
        {
            llama.repo: {llama.file.format(summarize.quantization): lead_model.FILE},
            small.repo: {small.file.format(summarize.quantization): lead_model.FILE},
            voice.model.repo: {
                file.file: here
                for file, here in zip((voice.model, voice.config), voices.files(voice), strict=True)
                if isinstance(here, Path)
            },
            gliner.repo: {
                HUB_FILE: embedded / "model.onnx",
                **{name: embedded / name for name in (CONFIG, TOKENIZER)},
            },
        }
    )


def preload(root: Path, server: HubServer) -> None:
    """What README.md tells the Hub to preload, in its library's cache and owned by root, as a build may leave it."""
    from huggingface_hub import hf_hub_download

    front_matter = yaml_parse((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])
    cache = root / CACHES / "huggingface/hub"
    for line in front_matter["preload_from_hub"]:
        repo, files = line.split()
        for file in files.split(","):
            hf_hub_download(repo, file, cache_dir=cache, endpoint=server.url)


def four_calls() -> Iterator[Row]:
    status, body = ask("/summarize", {"text": news()[0], "max_tokens": 60, "temperature": 0})
    answer = json.loads(body)
    summary = str(answer.get("summary", ""))
    yield "/summarize", f"{status} {answer.get('model')}: {summary or answer!r:.60}..", bool(summary)
    status, body = ask("/extract", {"text": TEXT})
    answer = json.loads(body)
    entities = ", ".join(f"{entity['text']} ({entity['label']})" for entity in answer.get("entities", []))
    yield "/extract", f"{status} {answer.get('model')}: {entities or answer}", "Tim Cook (Person)" in entities
    status, body = ask("/audio", {"text": TEXT})
    is_mp3 = body[:1] == b"\xff" or body[:3] == b"ID3"
    yield "/audio", f"{status} {len(body)} bytes{' of MP3' if is_mp3 else ''}", status == 200 and is_mp3
    until(lambda: voice_state() in ("ready", "failed"), 60)
    yield "the voice", voice_state(), voice_state() == "ready"
    status, body = ask("/health")
    answer = json.loads(body)
    yield "/health", f"{status} {answer['status']}, models loaded: {answer['models_loaded']}", answer["models_loaded"]


def stopped(process: Process) -> tuple[str, bool]:
    """SIGTERM while summaries are written: what becomes of them, of new requests and of the process."""
    # So hot that the model does not find an end.
    body = {"max_tokens": 400, "temperature": 2}
    answers: list[tuple[int, bytes]] = []

    def summarise(seed: int) -> None:
        answers.append(ask("/summarize", {**body, "text": news()[seed], "seed": seed}))

    threads = [threading.Thread(target=summarise, args=(seed,)) for seed in range(SUMMARIES)]
    for thread in threads:
        thread.start()
    connection = HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request(
        "POST",
        "/summarize",
        json.dumps({**body, "text": news()[SUMMARIES], "stream": True}),
        HEADERS,
    )
    stream = connection.getresponse()
    assert stream.status == 200, stream.read()
    stream.readline()  # of its first event
    open_yet = SUMMARIES - len(answers)
    process.terminate()
    begun = time.monotonic()
    until(lambda: not ask("/health")[0], 5)
    refused = time.monotonic() - begun
    with suppress(HTTPException, OSError):
        events = stream.read().decode().split("\n\n")
    whole = any(event.startswith("event: done") for event in events)
    for thread in threads:
        thread.join()
    ended, answered = process.ended(), [status for status, _ in answers].count(200)
    others = "".join(f"; {status} {answer[:200]!r}" for status, answer in answers if status != 200)
    told = (
        f"{ended}; new connections refused after {refused:.1f} s; of {SUMMARIES} summaries {open_yet} were open, "
        f"{answered} answered 200{others}; a stream {'whole' if whole else 'CUT'}, {len(events)} events after it"
    )
    return told, ended.startswith(CLEANLY) and whole and answered == SUMMARIES


def is_being_imported(process: Process) -> bool:
    """It takes a second or more until it can serve."""
    return "/pydantic_core/" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")


def is_loading(_: Process) -> bool:
    return ask("/health")[0] == 200


def served(
    image: str,
    variables: Mapping[str, str],
    *,
    writable: bool,
    prepare: Callable[[Path], None] = lambda _: None,
) -> Iterator[Row]:
    """`prepare` changes the files of the container before it is started."""
    with Container(image) as container, Container(BASE) as base:
        yield "size over its base", f"{container.megabytes - base.megabytes:.0f} MB over {base.megabytes:.0f}", True
        left = {str(path.relative_to(container.root)) for name in UNWANTED for path in container.root.glob(name)}
        left -= {OWN_CACHE}
        yield "compilers, caches, tests in it", ", ".join(sorted(left)) or "none", not left
        closed = subprocess.check_output(["find", container.root / "app", "!", "-perm", "-o=r"], text=True).split()
        yield "files that another user cannot read", ", ".join(closed) or "none", not closed
        prepare(container.root)
        with container.run(variables, writable=writable) as process:
            ready = process.until_ready()
            yield "root", "writable" if writable else "read-only, tmpfs on /tmp", True
            yield "process", process.facts(), process.facts() == CONFINED
            yield "start to ready", f"{ready:.1f} s", True
            _, *check = container.config["Healthcheck"]["Test"]
            code = container.exec(process, *check)
            yield "health check", f"exit code {code}", code == 0
            yield from four_calls()
            code = container.exec(process, "bash", "-euc", BATCH)
            yield "python -m batch beside it", f"exit code {code}", code == 0
            yield "SIGTERM", *stopped(process)
        for moment, come in (("while it is imported", is_being_imported), ("while models load", is_loading)):
            with container.run(variables, writable=writable) as process:
                until(lambda: come(process), 60)  # noqa: B023
                process.terminate()
                ended = process.ended()
                yield f"SIGTERM {moment}", ended, ended.startswith(CLEANLY)


def on_lambda(image: str) -> Iterator[Row]:
    """As template.yaml runs it: the runtime as the entry point, the root read-only, no home."""
    event = json.loads((ROOT / "tests/events/function_url.json").read_text(encoding="utf-8"))
    article = {"text": news()[0], "max_tokens": 60, "temperature": 0}
    bodies = {"summarize": article, "extract": {"text": TEXT}, "audio": {"text": TEXT}, "health": None}
    for name, body in bodies.items():
        event |= {"rawPath": f"/{name}", "body": json.dumps(body) if body else None, "isBase64Encoded": False}
        event["requestContext"]["http"] |= {"method": "POST" if body else "GET", "path": f"/{name}"}
        command = ["python", "-m", "awslambdaric", f"functions.{name}.handler.handler"]
        variables = {"FACTORY_PROFILE": "lambda", "FACTORY_MODELS_FOLDER": "/app/models", "HOME": "/dev/null"}
        with Container(image) as container, LambdaRuntime() as runtime:
            variables |= {"AWS_LAMBDA_RUNTIME_API": runtime.address, "AWS_LAMBDA_FUNCTION_NAME": name}
            with container.run(variables, command=command) as process:
                assert runtime.wait_until_ready(), runtime.init_error
                started = time.monotonic() - process.begun
                result = runtime.invoke(event)
        status, answer = result.json.get("statusCode"), str(result.json.get("body", result.json))
        found = f"starts in {started:.1f} s, {result.status} after {result.seconds:.1f} s: {status} {answer:.60}.."
        yield f"/{name}", found, status == 200


def table(title: str, rows: Iterator[Row]) -> int:
    """Prints it, and counts what is not as it should be."""
    print(f"\n| {title} | |\n|---|---|", flush=True)
    wrong = 0
    for name, value, right in rows:
        wrong += not right
        print(f"| {name} | {'' if right else '**WRONG** '}{value} |", flush=True)
    return wrong


def try_it(seconds: Mapping[str, float]) -> int:
    """In a network of its own, so that port 7860 is free and nothing else can be reached."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    wrong = table("build", iter([(image, f"{taken:.0f} s", True) for image, taken in seconds.items()]))
    with hub() as server:
        there = {"HF_ENDPOINT": server.url}
        wrong += table("models from the hub, as on a Space", served(IMAGE, there, writable=True))
        there["FACTORY_MODELS_FOLDER"] = "/tmp/models"
        wrong += table("models from the hub, read-only", served(IMAGE, there, writable=False))
        rows = served(IMAGE, {}, writable=True, prepare=lambda root: preload(root, server))
        wrong += table("preload_from_hub of README.md, no hub", rows)
    wrong += table("FACTORY_PRELOAD=1, no hub", served(PRELOADED, {}, writable=False))
    return wrong + table("FACTORY_PRELOAD=1 on Lambda", on_lambda(PRELOADED))


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the image and try it the way it is run.")
    parser.add_argument("--built", type=json.loads, metavar="JSON", help="try what has been built, in these seconds")
    options = parser.parse_args()
    if options.built is not None:
        sys.exit(min(try_it(options.built), 1))
    make_base()
    seconds = {IMAGE: build(IMAGE)}
    with hub() as server:
        seconds[PRELOADED] = build(PRELOADED, FACTORY_PRELOAD="1", HF_ENDPOINT=server.url)
    again = [sys.executable, "-m", "deploy.image_test", "--built", json.dumps(seconds)]
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation=private", *again])


if __name__ == "__main__":
    main()
