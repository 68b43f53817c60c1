"""Settings of the whole service: a profile sets the defaults, a variable overrides any single one.

Sources, strongest first: environment (`FACTORY_PORT`, `FACTORY_SUMMARIZE__THREADS`), a `.env` file in the working
directory, the profile, the defaults of `sections`. `python -m common.settings` prints the outcome and where each value
is from.
"""

import os
import sys
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from common import host
from common.settings.keys import BadKeys, Key, keys_of
from common.settings.profiles import PROFILE_NAMES, PROFILES, Profile, flat, profile_defaults
from common.settings.sections import (
    ROOT,
    AudioSettings,
    ExtractSettings,
    HomePath,
    Origins,
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
# A build argument of the image, as a Space hands its variables to the build and to the service alike; and the key of
# who calls, as that may be set where a service is started as well.
NOT_SETTINGS = {"FACTORY_PRELOAD", "FACTORY_KEY"}
# What neither a message nor the list of all settings shows.
SECRETS = {("api_keys",)}


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
    api_keys: SecretStr | None = Field(
        None,
        description="who may call: `desk:KEY,pulse:sha256=HEX`, names with keys, or their SHA-256; none: everybody",
    )
    api_keys_file: HomePath | None = Field(None, description="a file with more of them, one a line")
    api_key_weights: str = Field(
        "",
        description="shares of keys while callers wait for each other: `desk=3`; all others have 1",
    )
    cors_origins: Origins = Field(
        "", description="origins whose pages may call, with commas: `https://desk.example`; *: any"
    )
    requests_at_work: int | None = Field(
        None, ge=1, description="of one caller, in all functions together; one more is answered 429"
    )
    metrics_open: bool = Field(False, description="answer /metrics without a key, where other calls need one")
    mcp: bool = Field(
        False, description="the functions as tools of the Model Context Protocol at /mcp; needs requirements/mcp.txt"
    )
    server: ServerSettings = ServerSettings()
    summarize: SummarizeSettings = SummarizeSettings()
    extract: ExtractSettings = ExtractSettings()
    audio: AudioSettings = AudioSettings()

    @cached_property
    def keys(self) -> dict[str, Key]:
        """The keys by name; none: whoever reaches the service may use it. Raises BadKeys."""
        listed = None if self.api_keys is None else self.api_keys.get_secret_value()
        return keys_of(listed, self.api_keys_file, self.api_key_weights)

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
    ours = sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name not in NOT_SETTINGS)
    known, sections = _known() if ours else (set(), set())
    # Below a known section pydantic reports the unknown name itself; below a single setting nobody would.
    beside = [name for name in ours if name.upper().partition("__")[0] not in sections]
    lines = [_unknown_line(name, known) for name in beside if name.upper() not in known]
    try:
        settings = Settings()
        # Read here, so that a bad one ends the start.
        _ = settings.keys
    except ValidationError as error:
        lines += [f"{variable(item['loc'])}: {item['msg']} (it is {_shown(item)})" for item in error.errors()]
        raise InvalidSettings(lines) from None
    except BadKeys as error:
        lines += [f"{variable((name,))}: {detail}" for name, detail in error.found]
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


def _known() -> tuple[set[str], set[str]]:
    """The variables of all settings, and of the sections."""
    paths = [path for path, _ in leaves(Settings.model_construct())]
    sections = {variable(path[:1]) for path in paths if len(path) > 1}
    return {variable(path) for path in paths} | sections, sections


def _shown(item: ErrorDetails) -> str:
    """The value that is bad, unless it is a secret."""
    return "not shown" if item["loc"][:1] in SECRETS else repr(item["input"])


def _unknown_line(name: str, known: set[str]) -> str:
    near = nearest(name, known)
    return f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _dotenv_lines() -> list[str]:
    path = Path(".env")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
