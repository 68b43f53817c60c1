"""Profiles: for each place where the service runs, the defaults that fit there."""

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

Profile = Literal["embedded", "space", "lambda"]
PROFILE_NAMES: tuple[str, ...] = get_args(Profile)

PROFILES: dict[str, dict[str, Any]] = {
    "embedded": {
        "warm_up": True,
        "model_wait_seconds": 30.0,
        "summarize": {"model": "embedded"},
        "extract": {"model": "embedded"},
        "audio": {"piper_preload": "en-US", "piper_downloads": False},
    },
    # The product's client gives up after 30 s.
    "space": {
        "warm_up": True,
        "model_wait_seconds": 2.0,
        "drain_seconds": 28,
        # One of the public's may not have all places; who has many gets 429 and a time.
        "requests_at_work": 64,
        "summarize": {"stand_in": "llama-3.2-1b", "deadline_seconds": 28.0, "max_wait_seconds": 28.0},
        "audio": {"piper_preload": "en-US"},
    },
    # Only /tmp can be written to; it lives as long as the function's instance, so measuring would be done each time.
    "lambda": {
        "warm_up": False,
        "model_wait_seconds": 25.0,
        "models_folder": "/tmp/segmento-factory/models",
        # An invocation's own limit is the bound.
        "summarize": {"max_wait_seconds": 900.0, "tuning_seconds": 0.0, "cache_folder": "/tmp/segmento-factory"},
        "extract": {"rebuild": False, "cache_folder": "/tmp/segmento-factory"},
    },
}


# From here the Hub's proxy calls a Space's container, and writes the caller's address at the end of X-Forwarded-For.
SPACE_PROXIES = "10.0.0.0/8"
# What the Hub sets in each of its containers. The image runs elsewhere too, where such an address may be anybody's.
SPACE_VARIABLE = "SPACE_ID"


def profile_defaults(profile: str) -> dict[str, Any]:
    """The defaults of a profile on this machine."""
    defaults = PROFILES.get(profile, {})
    if profile == "space" and os.environ.get(SPACE_VARIABLE):
        return {**defaults, "trusted_proxies": SPACE_PROXIES}
    return dict(defaults)


def flat(defaults: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Nested defaults by the path of each setting: {("summarize", "threads"): 1}."""
    found: dict[tuple[str, ...], Any] = {}
    for name, value in defaults.items():
        found |= flat(value, (*path, name)) if isinstance(value, Mapping) else {(*path, name): value}
    return found
