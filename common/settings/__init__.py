"""Settings of the whole service: a profile sets the defaults, a variable overrides any single one.

Sources, strongest first: environment (`FACTORY_PORT`, `FACTORY_SUMMARIZE__THREADS`), a `.env` file in the working
directory, the profile, the defaults of `sections`. `python -m common.settings` prints the outcome and where each value
is from.
"""

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from common import host
from common.settings.profiles import PROFILE_NAMES, PROFILES, Profile, flat, profile_defaults
from common.settings.sections import (
    ROOT,
    AudioSettings,
    ExtractSettings,
    HomePath,
    Precision,
    Proxies,
    ServerSettings,
    SummarizeSettings,
)
from common.text import nearest

__all__ = [
    "PREFIX",
    "PROFILES",
    "PROFILE_NAMES",
    "ROOT",
    "AudioSettings",
    "ExtractSettings",
    "InvalidSettings",
    "Precision",
    "ServerSettings",
    "Settings",
    "SummarizeSettings",
    "cpu_threads",
    "get_settings",
    "leaves",
    "load_settings",
    "sources",
    "variable",
]

PREFIX = "FACTORY_"
# A build argument of the image; a Space hands its variables to the build and to the service alike.
NOT_A_SETTING = "FACTORY_PRELOAD"


class ProfileDefaults(PydanticBaseSettingsSource):
    """The defaults of the chosen profile, as a source that stands behind the environment."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # __call__ gives every value at once

    def __call__(self) -> dict[str, Any]:
        return profile_defaults(self.current_state.get("profile", "embedded"))


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        protected_namespaces=(),
        env_parse_none_str="none",
    )

    profile: Profile = Field("embedded", description="which defaults to start from")
    host: str = Field("0.0.0.0", description="address to listen on")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    log_style: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level to log")
    max_body_bytes: int = Field(
        2_621_440,
        ge=1024,
        description="a larger request body is answered 413; 200,000 characters may be escaped as 2.4 MB",
    )
    max_bodies_bytes: int = Field(
        134_217_728,
        ge=65_536,
        description="large bodies (over 64 kB) of all requests under way together; over that: 503",
    )
    warm_up: bool = Field(True, description="load the models at start instead of on the first request")
    model_wait_seconds: float = Field(
        30.0, ge=0, description="how long a request waits for a loading model before it is answered 503"
    )
    drain_seconds: int = Field(10, ge=0, le=3600, description="after SIGTERM: for requests under way to end")
    models_folder: HomePath = Field(Path("models"), description="where downloaded models are kept")
    offline: bool = Field(False, description="download nothing: a model that is not there is an error")
    trusted_proxies: Proxies = Field(
        "", description="addresses and networks whose X-Forwarded-For and -Proto are believed, with commas; *: any"
    )
    metrics_open: bool = Field(False, description="answer /metrics without a key, where other calls need one")
    server: ServerSettings = ServerSettings()
    summarize: SummarizeSettings = SummarizeSettings()
    extract: ExtractSettings = ExtractSettings()
    audio: AudioSettings = AudioSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, dotenv_settings, ProfileDefaults(settings_cls)


class InvalidSettings(Exception):
    """Raised with one line for each bad value."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def cpu_threads(setting: int) -> int:
    """The number of threads a `threads` setting stands for: itself, or every CPU this process may use."""
    return setting or host.cpus()


def load_settings() -> Settings:
    """Read every source afresh; raises InvalidSettings."""
    ours = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name != NOT_A_SETTING)
    known = _known() if ours else set()
    # Below a known section pydantic reports the unknown name itself.
    lines = [_unknown_line(name, known) for name in ours if name.upper().partition("__")[0] not in known]
    try:
        settings = Settings()
    except ValidationError as error:
        lines += [f"{variable(item['loc'])}: {item['msg']} (it is {item['input']!r})" for item in error.errors()]
        raise InvalidSettings(lines) from None
    except ValueError as error:
        raise InvalidSettings([*lines, f"settings: {error}"]) from None
    if lines:
        raise InvalidSettings(lines)
    return settings


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. Bad values end the process with one line each."""
    try:
        return load_settings()
    except InvalidSettings as error:
        sys.exit("\n".join(f"settings: {line}" for line in error.lines))


def leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single setting below `model` with its path: (("summarize", "threads"), 0)."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def sources(settings: Settings) -> dict[tuple[str, ...], str]:
    """Where each setting's value comes from: `environment`, `.env`, `profile` or `default`."""
    environment = {name.upper() for name in os.environ}
    dotenv = {line.partition("=")[0].strip().upper() for line in _dotenv_lines()}
    profile = flat(profile_defaults(settings.profile))

    def source(path: tuple[str, ...]) -> str:
        name = variable(path)
        if name in environment:
            return "environment"
        if name in dotenv:
            return ".env"
        return "profile" if path in profile else "default"

    return {path: source(path) for path, _ in leaves(settings)}


def variable(path: tuple[int | str, ...]) -> str:
    """The environment variable of the setting at `path`: FACTORY_SUMMARIZE__THREADS."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def _known() -> set[str]:
    names = {variable(path) for path, _ in leaves(Settings.model_construct())}
    return names | {variable((name,)) for name in Settings.model_fields}


def _unknown_line(name: str, known: set[str]) -> str:
    near = nearest(name, known)
    return f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _dotenv_lines() -> list[str]:
    path = Path(".env")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
