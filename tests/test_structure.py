"""The house rules that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("common", "functions", "runner", "batch")
FUNCTIONS = ["summarize", "extract", "audio", "health"]
# What neither a function nor what they share may know.
OUTSIDE = ("functions", "local_runner", "runner", "batch", "training")
HEAVY = {
    "aiohttp",
    "edge_tts",
    "espeakng_loader",
    "gliner",
    "lameenc",
    "llama_cpp",
    "numpy",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "torch",
    "transformers",
}


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def modules() -> dict[str, Path]:
    """The product's modules by name."""
    paths = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")] + [ROOT / "local_runner.py"]
    names = {path: path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in paths}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def test_no_module_is_imported_in_a_circle() -> None:
    """Imports inside of functions count as well."""
    ours = modules()
    imports = {
        name: {found for one in imported_modules(path) for found in (one, one.rpartition(".")[0]) if found in ours}
        for name, path in ours.items()
    }
    # What only imports what is known to be in no circle is in none.
    in_circles = {name: others - {name} for name, others in imports.items()}
    while free := {name for name, others in in_circles.items() if not others & in_circles.keys()}:
        in_circles = {name: others for name, others in in_circles.items() if name not in free}
    assert not in_circles


# A setting is named for the function that it is for; sections of settings are all that is known of functions there.
NAMES_OF_SETTINGS = ROOT / "common" / "settings"
WORDS_OF_ROOMS = re.compile(r"llama|gliner|gguf|onnx|edge.?tts|espeak|speech|summari|named entit|audio", re.IGNORECASE)


def test_common_holds_no_word_of_a_function() -> None:
    for path in (ROOT / "common").rglob("*.py"):
        if NAMES_OF_SETTINGS not in path.parents:
            found = WORDS_OF_ROOMS.findall(path.read_text(encoding="utf-8"))
            assert not found, f"{path}: {found}"


def test_common_imports_no_function() -> None:
    for path in (ROOT / "common").rglob("*.py"):
        outside = {m for m in imported_modules(path) if m.startswith(OUTSIDE)}
        assert not outside, f"{path}: {outside}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_no_other_function(function: str) -> None:
    own = f"functions.{function}."
    for path in (ROOT / "functions" / function).rglob("*.py"):
        outside = {
            module
            for module in imported_modules(path)
            if module.startswith(OUTSIDE) and not f"{module}.".startswith(own)
        }
        assert not outside, f"{path}: {outside}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_importing_a_handler_loads_nothing_heavy(function: str) -> None:
    code = f"import sys, functions.{function}.handler; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(loaded.split())


def test_nothing_of_the_service_imports_the_command_for_corpora() -> None:
    paths = [path for folder in PRODUCT if folder != "batch" for path in (ROOT / folder).rglob("*.py")]
    for path in [*paths, ROOT / "local_runner.py"]:
        assert not {m for m in imported_modules(path) if m.split(".")[0] == "batch"}, path


def test_the_command_for_corpora_imports_nothing_of_the_service_but_its_app_and_what_the_functions_take() -> None:
    for path in (ROOT / "batch").rglob("*.py"):
        rooms = {m for m in imported_modules(path) if m.startswith(("functions", "runner", "benchmarks", "tests"))}
        assert all(m.startswith("functions.") for m in rooms), f"{path}: {rooms}"
        if path.name != "inside.py":
            known = (".schemas", ".pieces")
            assert all(any(part in m for part in known) for m in rooms), f"{path}: {rooms}"


def test_a_run_against_a_service_loads_nothing_heavy() -> None:
    code = "import sys, batch.run; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(loaded.split())


def test_no_module_is_longer_than_500_lines() -> None:
    for folder in ("common", "functions", "runner", "batch", "training", "tests", "benchmarks", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


def test_no_file_names_a_package_registry() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hosts = [b"pypi" + b".org", b"pythonhosted" + b".org", b"--index" + b"-url", b"--find" + b"-links"]
    for name in filter(None, tracked.split("\0")):
        content = (ROOT / name).read_bytes()
        found = [host for host in hosts if host in content and name != "Makefile"]
        assert not found, f"{name}: {found}"


def test_what_make_run_installs_holds_no_torch() -> None:
    pinned = (ROOT / "requirements" / "service.txt").read_text(encoding="utf-8")
    names = {line.partition("==")[0] for line in pinned.splitlines() if "==" in line and not line.startswith(" ")}
    assert not {"torch", "transformers", "gliner"} & names
    assert all(line.startswith((" ", "#")) or line.endswith("\\") for line in pinned.splitlines()), "an unhashed pin"
