"""onnxruntime, which this service uses without its telemetry."""

import os
from typing import Any


def onnxruntime() -> Any:
    """The module. Imported without this variable, 1.32 keeps an identity of the machine and events for Microsoft in the
    home folder."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
