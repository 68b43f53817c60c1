"""The Dockerfile and .dockerignore as they can be read; `make image-test` builds the image and runs it."""

import json
import re
from collections.abc import Iterator

import pytest
from samtranslator.yaml_helper import yaml_parse

from common.remote_files import HubFile
from common.settings import PREFIX, load_settings
from functions.audio import piper_loading as piper
from functions.extract import model as gliner
from functions.summarize import model as llama
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in "#"]
# What the service does not need, or must never hand on with an image.
OUTSIDE = [
    *(".env", ".git/config", ".venv/bin/python", ".venv-bench-extract/pyvenv.cfg", ".mypy_cache/x", ".pytest_cache/x"),
    *("tests/conftest.py", "benchmarks/README.md", "training/README.md", "docs/scaling.md", "deploy/image_test.py"),
    *("common/__pycache__/app.pyc", "functions/audio/__pycache__/engine.pyc", "models/llama.gguf"),
    *("models/embedded/gliner/prepared/model.onnx.sha256.json", "models/embedded/llama/README.md", "template.yaml"),
    # The language model of `make run`.
    "requirements/embedded.txt",
]


def instructions() -> Iterator[tuple[str, str]]:
    """Name and arguments, lines that go on joined."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield name, re.sub(r"\s+", " ", arguments).strip()


def stages() -> list[list[tuple[str, str]]]:
    """Of each stage its instructions, without those before the first."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


BUILD, FINAL = stages()


def values(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [arguments for instruction, arguments in stage if instruction == name]


def variables(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for arguments in values(stage, "ENV") for pair in arguments.split())


def is_ignored(path: str) -> bool:
    """By Docker's rules: the last pattern that matches the path or a folder it is in decides."""
    parts = path.split("/")
    places = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    ignored = False
    for line in IGNORED:
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(pattern, place) for place in places):
            ignored = not line.startswith("!")
    return ignored


def test_all_that_is_copied_is_there_and_is_not_kept_outside() -> None:
    sources = [word for arguments in values(BUILD, "COPY") for word in arguments.split()[:-1]]
    assert {"batch", "common", "functions", "runner", "local_runner.py", "web", "models/embedded"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        files = [ROOT / source] if (ROOT / source).is_file() else [*(ROOT / source).rglob("*.*")]
        assert any(not is_ignored(str(file.relative_to(ROOT))) for file in files), f"{source} is in .dockerignore"


@pytest.mark.parametrize("source", ["batch", "common", "functions", "runner", "local_runner.py", "web", "models"])
def test_what_the_service_is_made_of_is_in_the_final_stage(source: str) -> None:
    assert f"/app/{source}" in " ".join(values(FINAL, "COPY")).split()


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_the_image_does_not_need_stays_outside(path: str) -> None:
    assert is_ignored(path)


@pytest.mark.parametrize("folder", ["batch", "common", "functions", "runner"])
def test_no_module_is_left_out(folder: str) -> None:
    left_out = [path for path in (ROOT / folder).rglob("*.py") if is_ignored(str(path.relative_to(ROOT)))]
    assert not left_out


def test_both_stages_are_based_on_the_same_argument() -> None:
    assert next(instructions())[0] == "ARG"
    assert [line.partition(" ")[0] for stage in (BUILD, FINAL) for line in values(stage, "FROM")] == ["${BASE}"] * 2


def test_the_final_stage_installs_only_what_runs_and_leaves_no_package_lists() -> None:
    (command,) = values(FINAL, "RUN")
    assert re.findall(r"--no-install-recommends ([^&]*?) &&", command) == ["ca-certificates libgomp1"]
    assert "apt-get clean" in command
    assert "rm -rf /var/lib/apt/lists/*" in command
    assert not any(word in command for word in ("pip", "make", "g++", "curl"))
    assert all(arguments.startswith("--from=build ") for arguments in values(FINAL, "COPY"))


def test_packages_are_installed_by_hash_and_llama_cpp_for_every_cpu() -> None:
    commands = values(BUILD, "RUN")
    assert any("make LLAMA_BUILD=portable" in command for command in commands)
    assert all("--require-hashes" in command for command in commands if "pip install" in command)


def test_what_the_service_can_do_without_is_installed_only_where_it_is_asked_for() -> None:
    assert "EXTRAS=" in values(BUILD, "ARG")
    (command,) = (command for command in values(BUILD, "RUN") if "EXTRAS" in command)
    assert command.startswith("for extra in lambda ${EXTRAS}; do")
    assert not any(is_ignored(f"requirements/{extra}.txt") for extra in ("lambda", "traces", "mcp", "s3", "html"))


def test_the_service_is_no_root_and_has_a_home() -> None:
    assert values(FINAL, "USER") == ["1000"]
    assert any("useradd --uid 1000 --create-home factory" in command for command in values(FINAL, "RUN"))
    assert variables(FINAL)["HOME"] == "/home/factory"
    assert variables(FINAL)["HF_HOME"].startswith("/home/factory/")
    owned = [arguments for arguments in values(FINAL, "COPY") if "--chown=1000:1000" in arguments]
    assert [arguments.split()[-1] for arguments in owned] == ["models"], "the rest of /app is not its to change"


def test_it_listens_where_a_space_looks_and_its_settings_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(FINAL).items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.profile == "space"
    assert values(FINAL, "EXPOSE") == [str(settings.port)]
    assert f"app_port: {settings.port}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_space_preloads_what_its_profile_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PROFILE", "space")
    settings = load_settings()
    front_matter = yaml_parse((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])
    stand_in = llama.resolve_stand_in(settings.summarize)
    assert stand_in is not None
    files = [stand_in.file, llama.resolve(settings.summarize).file, *gliner.resolve(settings.extract).files]
    files += [file for voice in piper.preloaded(settings.audio) for file in (voice.model, voice.config)]
    wanted = {(file.repo, file.file) for file in files if isinstance(file, HubFile)}
    lines = [line.split() for line in front_matter["preload_from_hub"]]
    assert {(repo, file) for repo, names in lines for file in names.split(",")} == wanted
    assert front_matter["models"] == [repo for repo, _ in lines]
    assert lines[0] == ["bartowski/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"]


def test_nothing_reports_to_anyone() -> None:
    assert all(variables(stage)["ORT_DISABLE_TELEMETRY"] == "1" for stage in (BUILD, FINAL))


def test_the_server_is_process_1_and_is_told_to_stop_by_sigterm() -> None:
    (command,) = values(FINAL, "CMD")
    assert json.loads(command) == ["python", "local_runner.py"], "a shell in between would keep the signal to itself"
    assert values(FINAL, "STOPSIGNAL") == ["SIGTERM"]
    assert not values(FINAL, "ENTRYPOINT"), "AWS Lambda gives its own"


def test_the_health_check_needs_nothing_but_python() -> None:
    (check,) = values(FINAL, "HEALTHCHECK")
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")


@pytest.mark.parametrize("path", ["Dockerfile", ".dockerignore", "deploy/image_test.py"])
def test_no_package_index_and_no_folder_of_one_machine_is_named(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!127\.0\.0\.1)\S+|file://\S+|/root/\S+|/opt/\S+", text)
