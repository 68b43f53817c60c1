"""Which of ggml's CPU backends computes.

A native build has one, for the CPU that it was compiled on. A portable build has one for each level of x86-64, and
whoever uses the library has to load the best that this CPU can run: the bindings do not.
"""

import ctypes
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

NATIVE = "native"
LIBRARY_PREFIX = "libggml-cpu-"

_variant = ""


class _Origin(ctypes.Structure):
    """What dladdr(3) says of an address; `file` is the library that it belongs to."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def load_backend(c: Any) -> None:
    """Load the backend, with a line in the log that names it; to be called once, before the first model.

    `c` is the package llama_cpp. On a CPU that no backend fits none is loaded, and llama.cpp refuses every model.
    """
    global _variant
    # Through libllama, whose own copy of ggml it has to be: a second one would keep a list of backends of its own.
    ggml = c.llama_cpp._lib
    ggml.ggml_backend_reg_count.restype = ctypes.c_size_t
    if not ggml.ggml_backend_reg_count():
        ggml.ggml_backend_load_all_from_path(str(c.llama_cpp._base_path).encode())
    _variant = _loaded(ggml)
    logger.info("llama.cpp computes with the CPU backend %s: %s", _variant or "(none)", _features(c))


def variant() -> str:
    """The level of x86-64 that was loaded ("haswell"), or "native"; empty before `load_backend`."""
    return _variant


def _loaded(ggml: Any) -> str:
    """Read from the name of the file: a backend does not tell for which level it was made."""
    ggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    ggml.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    backend = ctypes.c_void_p(ggml.ggml_backend_reg_by_name(b"CPU"))
    if not backend:
        return ""
    function = ctypes.c_void_p(ggml.ggml_backend_reg_get_proc_address(backend, b"ggml_backend_get_features"))
    origin = _Origin()
    ctypes.CDLL(None).dladdr(function, ctypes.byref(origin))
    name = Path((origin.file or b"").decode()).stem
    return name.removeprefix(LIBRARY_PREFIX) if name.startswith(LIBRARY_PREFIX) else NATIVE


def _features(c: Any) -> str:
    """From "CPU : AVX2 = 1 | FMA = 1 | ": what the backend was compiled with."""
    _, _, features = c.llama_print_system_info().decode().partition(" : ")
    return " ".join(feature.partition(" = ")[0].strip() for feature in features.split("|") if " = " in feature)
