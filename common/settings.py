"""Settings of the whole service: a profile sets the defaults, a variable overrides any single one.

Sources, strongest first: environment (`FACTORY_PORT`, `FACTORY_SUMMARIZE__THREADS`), a `.env` file in the working
directory, the profile, the defaults below. `python -m common.settings` prints the outcome and where each value is from.
"""

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from common import host
from common.text import nearest

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "FACTORY_"
# A build argument of the image; a Space hands its variables to the build and to the service alike.
NOT_A_SETTING = "FACTORY_PRELOAD"

Profile = Literal["embedded", "space", "lambda"]
Precision = Literal["fp32", "fp32-half-embeddings", "int8"]


def _from_root(path: Path) -> Path:
    return path if path.is_absolute() else ROOT / path


# `~` is the home folder of the user who runs the service; a relative path counts from the project's folder.
HomePath = Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(_from_root)]


def _proxies(value: str) -> str:
    for name in value.split(",") if value not in ("", "*") else ():
        ipaddress.ip_network(name.strip())
    return value


# Kept as it was written; `*` is whoever connects.
Proxies = Annotated[str, AfterValidator(_proxies)]


class Section(BaseModel):
    # Defaults are validated as well: that is what makes their paths absolute.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), validate_default=True)


class ServerSettings(Section):
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="how long a connection is kept after an answer; longer than proxies keep it"
    )
    header_seconds: float = Field(
        10.0, gt=0, le=300, description="limit for the headers; a body has it too, and a second for each 5 kB"
    )
    send_seconds: float = Field(120.0, gt=0, description="limit for a client to take the next of an answer")
    header_bytes: int = Field(32_768, ge=4096, le=1_048_576, description="larger headers are answered 431")
    max_connections: int = Field(
        1024, ge=1, description="beyond it, or what descriptors allow, the longest idle one is closed"
    )
    max_unsent_bytes: int = Field(
        67_108_864, ge=1_048_576, description="of all answers that wait to be taken; over it the largest are cut"
    )


class SummarizeSettings(Section):
    model: str = Field("llama-3-8b", description="a preset, hf://owner/name/file.gguf, a URL or a path to a GGUF")
    quantization: str = Field(
        "Q4_K_M", pattern=r"^[A-Za-z0-9_]+$", description="of a preset; Q3_K_M where memory is short"
    )
    model_name: str | None = Field(None, description="what answers call the model; unset: the preset's or file's name")
    context: int | None = Field(
        None, ge=512, le=131072, description="tokens that all requests at work have together; unset: by preset"
    )
    max_article_tokens: int | None = Field(
        None, ge=64, description="a longer article is condensed; unset: as long as the context allows"
    )
    overflow: Literal["condense", "map_reduce", "error"] = Field(
        "condense", description="an article over its room: leave sentences out, summarise parts first, or answer 422"
    )
    lead_share: float = Field(0.3, ge=0, le=1, description="of a condensed article: what its opening may take")
    deadline_seconds: float | None = Field(
        None, gt=0, description="for requests without `Prefer: wait`; unset: none, but on Lambda the time that is left"
    )
    parallel: int = Field(4, ge=1, le=32, description="requests that are worked on at the same time")
    slice_ms: int = Field(250, ge=20, le=10_000, description="how long a prompt may hold up someone who reads along")
    max_wait_seconds: float = Field(60.0, gt=0, le=86_400, description="the longest `Prefer: wait` that is granted")
    max_waiting: int = Field(64, ge=0, description="requests of one caller that may wait; one more is answered 503")
    answer_cache_bytes: int = Field(8_388_608, ge=0, description="answers kept for temperature 0 or a seed; 0: none")
    threads: int = Field(0, ge=0, le=512, description="0: every CPU this process may use, or fewer by measurement")
    repack: bool | None = Field(None, description="lay the weights out anew at load; unset: by measurement")
    micro_batch: int | None = Field(None, ge=16, le=512, description="rows of one pass; unset: by measurement")
    flash_attention: bool | None = Field(None, description="unset: by measurement")
    tuning_seconds: float = Field(20.0, ge=0, le=600, description="limit for that measurement; 0: never measure")
    cache_folder: HomePath = Field(Path("~/.cache/segmento-factory"), description="where its outcome is kept")


class ExtractSettings(Section):
    engine: Literal["onnx", "gliner"] = Field(
        "onnx", description="gliner: the reference library, on a torch checkpoint"
    )
    model: str = Field(
        "gliner-small-v2.1", description="a preset, hf://owner/name, or a path to a folder with an ONNX export"
    )
    model_file: str | None = Field(None, description="the ONNX file there; unset: onnx/model.onnx, locally model.onnx")
    model_name: str | None = Field(
        None, description="what answers call the model; unset: the preset's or folder's name"
    )
    precision: Precision = Field("fp32", description="fp32 is exact; the others take less memory, int8 less time")
    rebuild: bool = Field(True, description="rebuild the graph on first load; false: only use what was rebuilt before")
    cache_folder: HomePath = Field(
        Path("~/.cache/segmento-factory"), description="where the rebuilt graph is kept if not beside the model"
    )
    threads: int = Field(0, ge=0, le=512, description="0: every CPU this process may use")
    window_overlap_words: int = Field(48, ge=24, le=128, description="words that neighbouring windows share")
    batch_tokens: int = Field(256, ge=0, le=65536, description="tokens of one batch of short windows; 0: no batches")
    answer_cache_bytes: int = Field(8_388_608, ge=0, description="answers that are kept for equal requests; 0: none")
    max_waiting: int = Field(64, ge=0, description="requests of one caller that may wait; one more is answered 503")
    patience_seconds: float = Field(
        28.0, gt=0, description="limit for the model's first turn, without `Prefer: wait`; over it: 503"
    )
    max_wait_seconds: float = Field(60.0, gt=0, description="the longest `Prefer: wait` that is granted")
    max_characters: int = Field(400_000, ge=200_000, description="of `texts` together; more is answered 422")
    max_label_tokens: int = Field(512, ge=16, le=768, description="of all labels together; more is answered 422")
    max_tokens: int = Field(
        1_000_000, ge=2_000, description="of all windows of a request, labels included; more is answered 422"
    )
    max_entities: int = Field(20_000, ge=1, le=100_000, description="of one answer; more is answered 413")
    max_answer_bytes: int = Field(8_388_608, ge=65_536, description="of all entities of one answer; over it: 413")


class AudioSettings(Section):
    engine: Literal["auto", "edge-tts", "espeak-ng"] = Field(
        "auto", description="auto: edge-tts, and espeak-ng when the speech cloud fails before its first sound"
    )
    endpoint: str | None = Field(None, description="WebSocket URL in place of the speech cloud's own")
    voices_endpoint: str | None = Field(None, description="URL in place of the speech cloud's own list of voices")
    connect_seconds: float = Field(2.0, gt=0, le=60, description="limit for reaching the speech cloud")
    first_audio_seconds: float = Field(3.0, gt=0, le=120, description="limit for its first sound after that")
    between_audio_seconds: float = Field(10.0, gt=0, le=120, description="limit for each further sound")
    patience_seconds: float = Field(
        3.5, gt=0, le=300, description="limit for the first sound with all tries, without `Prefer: wait`"
    )
    breaker_failures: int = Field(3, ge=1, description="failures in a row after which the speech cloud is left alone")
    breaker_seconds: float = Field(30.0, gt=0, le=3600, description="for how long; up to 8 times that if it stays away")
    listener_seconds: float = Field(120.0, gt=0, description="limit for a listener to take the next piece")
    max_wait_seconds: float = Field(30.0, gt=0, le=300, description="the longest `Prefer: wait` that is granted")
    max_speech_seconds: float = Field(7200.0, gt=0, description="of one recording, about; a longer one is answered 422")
    concurrency: int = Field(32, ge=1, le=256, description="turns with the speech cloud at the same time")
    max_waiting: int = Field(64, ge=0, description="turns of one caller that may wait; one more is answered 503")
    held_bytes: int = Field(
        67_108_864,
        ge=1_048_576,
        description="of all recordings that are being made; over it slow listeners' ones pause",
    )
    answer_cache_bytes: int = Field(67_108_864, ge=0, description="recordings kept for equal requests; 0: none")


PROFILES: dict[Profile, dict[str, Any]] = {
    "embedded": {
        "warm_up": True,
        "model_wait_seconds": 30.0,
        "summarize": {
            "model": "embedded",
            "max_article_tokens": 384,
            # This model copies the opening and knows articles that go on as they began.
            "lead_share": 1.0,
            "threads": 1,
        },
        "extract": {"model": "embedded"},
    },
    # The product's client gives up after 30 s.
    "space": {
        "warm_up": True,
        "model_wait_seconds": 2.0,
        "drain_seconds": 28,
        "summarize": {"deadline_seconds": 28.0, "max_wait_seconds": 28.0},
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
    """What the profile sets here."""
    defaults = PROFILES.get(profile, {})  # type: ignore[call-overload]
    if profile == "space" and os.environ.get(SPACE_VARIABLE):
        return {**defaults, "trusted_proxies": SPACE_PROXIES}
    return dict(defaults)


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
        lines += [f"{_variable(item['loc'])}: {item['msg']} (it is {item['input']!r})" for item in error.errors()]
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


def description(path: tuple[str, ...]) -> str:
    """What the setting at `path` is for."""
    model: type[BaseModel] = Settings
    for name in path[:-1]:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        model = annotation
    return model.model_fields[path[-1]].description or ""


def sources(settings: Settings) -> dict[tuple[str, ...], str]:
    """Where each setting's value comes from: `environment`, `.env`, `profile` or `default`."""
    environment = {name.upper() for name in os.environ}
    dotenv = {line.partition("=")[0].strip().upper() for line in _dotenv_lines()}

    def source(path: tuple[str, ...]) -> str:
        variable = _variable(path)
        if variable in environment:
            return "environment"
        if variable in dotenv:
            return ".env"
        return "profile" if _has(profile_defaults(settings.profile), path) else "default"

    return {path: source(path) for path, _ in leaves(settings)}


def main() -> None:
    settings = get_settings()
    origin = sources(settings)
    rows = [(_variable(path), str(value), origin[path], description(path)) for path, value in leaves(settings)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))


def _variable(path: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part) for part in path).upper()


def _known() -> set[str]:
    names = {_variable(path) for path, _ in leaves(Settings.model_construct())}
    return names | {_variable((name,)) for name in Settings.model_fields}


def _unknown_line(name: str, known: set[str]) -> str:
    near = nearest(name, known)
    return f"{name}: unknown setting" + (f"; did you mean {near[0]}?" if near else "")


def _dotenv_lines() -> list[str]:
    path = Path(".env")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _has(tree: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


PROFILE_NAMES: tuple[str, ...] = get_args(Profile)

if __name__ == "__main__":
    main()
