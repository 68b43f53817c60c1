"""Which CPU backend computes: of the real library, and of a portable build that is acted out."""

import ctypes
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.settings import ROOT
from functions.summarize import cpu
from functions.summarize.engine import LlamaEngine

LEVELS = {"sse42", "haswell", "skylakex", "cascadelake", "sapphirerapids"}


class Portable:
    """The functions of ggml that count, where no backend is there until one is loaded from `backend`."""

    def __init__(self, backend: Path | None) -> None:
        self.folders: list[bytes] = []
        address = None
        if backend:
            address = ctypes.cast(ctypes.CDLL(str(backend)).ggml_backend_cpu_reg, ctypes.c_void_p).value
        self.ggml_backend_reg_count = lambda: 0
        self.ggml_backend_load_all_from_path = lambda folder: self.folders.append(folder)
        self.ggml_backend_reg_by_name = lambda _: address
        self.ggml_backend_reg_get_proc_address = lambda *_: address


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch, llama: LlamaEngine) -> None:
    """With the library loaded, and what it computes with back in place afterwards."""
    assert llama
    monkeypatch.setattr(cpu, "_variant", cpu.variant())


def package(backend: Path | None) -> SimpleNamespace:
    return SimpleNamespace(
        llama_cpp=SimpleNamespace(_lib=Portable(backend), _base_path=Path("/opt/lib")),
        llama_print_system_info=lambda: b"CPU : SSE3 = 1 | AVX2 = 1 | REPACK = 1 | " if backend else b"",
    )


def test_the_loaded_library_says_what_it_computes_with() -> None:
    assert cpu.variant() in {cpu.NATIVE, *LEVELS}


def test_nothing_is_said_before_the_library_is_loaded_and_one_line_afterwards() -> None:
    code = """
import logging, sys
from functions.summarize import context, cpu
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
print(repr(cpu.variant()), "llama_cpp" in sys.modules)
context.library_version()
context.library_version()
"""
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    before, line = outcome.stdout.splitlines()
    assert before == "'' False"
    assert line.startswith(f"llama.cpp computes with the CPU backend {cpu.variant()}: ")


def test_a_portable_build_loads_a_backend_and_is_named_after_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    shutil.copy(next(folder.glob("libggml-cpu*.so")), tmp_path / "libggml-cpu-haswell.so")
    portable = package(tmp_path / "libggml-cpu-haswell.so")
    with caplog.at_level(logging.INFO, cpu.__name__):
        cpu.load_backend(portable)
    assert portable.llama_cpp._lib.folders == [b"/opt/lib"]
    assert cpu.variant() == "haswell"
    assert caplog.messages == ["llama.cpp computes with the CPU backend haswell: SSE3 AVX2 REPACK"]


def test_on_a_cpu_that_no_backend_fits_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, cpu.__name__):
        cpu.load_backend(package(None))
    assert cpu.variant() == ""
    assert caplog.messages == ["llama.cpp computes with the CPU backend (none): "]
