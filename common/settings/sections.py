"""The settings of each part of the service, with their bounds and what each is for."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.text import not_blank, without_nul

ROOT = Path(__file__).resolve().parents[2]

Precision = Literal["fp32", "fp32-half-embeddings", "int8"]


def _from_root(path: Path) -> Path:
    return path if path.is_absolute() else ROOT / path


# `~` is the home folder of the user who runs the service; a relative path counts from the project's folder.
HomePath = Annotated[Path, AfterValidator(Path.expanduser), AfterValidator(_from_root)]


def _proxies(value: str) -> str:
    for name in value.split(",") if value not in ("", "*") else ():
        ipaddress.ip_network(name.strip())
    return value


# Kept as it was written. `*` trusts every address.
Proxies = Annotated[str, AfterValidator(_proxies)]


def _origins(value: str) -> str:
    for name in value.split(",") if value not in ("", "*") else ():
        if not ORIGIN.fullmatch(name.strip()):
            raise ValueError(f"{name.strip()!r} is no origin such as https://desk.example:8443")
    return value


# As browsers send it (RFC 6454, 6.2), with commas; `*` is any.
Origins = Annotated[str, AfterValidator(_origins)]
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)


def _locales(value: str) -> str:
    for name in value.split(",") if value else ():
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)*", name.strip(), re.ASCII):
            raise ValueError(f"{name.strip()!r} is no locale such as en-US")
    return value


Locales = Annotated[str, AfterValidator(_locales)]


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


class MeteredSection(Section):
    """Of a function that a caller may use so often and for so much within a minute."""

    requests_per_minute: int | None = Field(None, ge=1, description="of one caller; one more is answered 429")
    characters_per_minute: int | None = Field(
        None, ge=1, description="of all texts of one caller; one more is answered 429, and a longer text 422"
    )


class SummarizeSettings(MeteredSection):
    model: str = Field("llama-3-8b", description="a preset, hf://owner/name/file.gguf, a URL or a path to a GGUF")
    adapter: str | None = Field(
        None,
        description="a LoRA for it: hf://owner/name/file.gguf, a URL or a path; unset: the embedded one has ours",
    )
    stand_in: str | None = Field(
        None,
        description="a small model, named as `model` is, that writes where `model` has no time or is not loaded; "
        "none: nobody stands in",
    )
    min_read: float = Field(
        0.5,
        ge=0,
        le=1,
        description="of an article: what `model` has to have time for, else the stand-in may read more of it and write",
    )
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
    check_facts: bool = Field(
        False, description="name numbers and names of a summary that its article does not have, in `unsupported`"
    )
    lead_share: float = Field(0.0, ge=0, le=1, description="of a condensed article: what its opening may take")
    instruction: Annotated[str, AfterValidator(not_blank), AfterValidator(without_nul)] = Field(
        "You are a news editor. Summarize the article in a few plain sentences. Use only facts from the article.",
        max_length=2000,
        description="what the model is told to do, before every article",
    )
    thinking_tokens: int = Field(
        0, ge=0, le=8192, description="for models that think aloud and cannot be told not to; 0: thoughts end at once"
    )
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


class ExtractSettings(MeteredSection):
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
    max_label_tokens: int = Field(
        512, ge=16, le=768, description="of all labels together, and 3/4 of a window at most; more is answered 422"
    )
    max_tokens: int = Field(
        1_000_000, ge=2_000, description="of all windows of a request, labels included; more is answered 422"
    )
    max_entities: int = Field(20_000, ge=1, le=100_000, description="of one answer; more is answered 413")
    max_answer_bytes: int = Field(8_388_608, ge=65_536, description="of all entities of one answer; over it: 413")


class AudioSettings(MeteredSection):
    engine: Literal["auto", "edge-tts", "piper", "espeak-ng"] = Field(
        "auto",
        description="auto: edge-tts; Piper when the speech cloud fails before its first sound; espeak-ng when there is "
        "no such voice, or not yet. piper: the same without the cloud",
    )
    piper_preload: Locales = Field("", description="locales whose Piper voices are there from the start: `en-US,de-DE`")
    piper_downloads: bool = Field(
        True, description="other Piper voices are downloaded on first need; false: only those on this machine speak"
    )
    piper_voices: int = Field(3, ge=1, le=64, description="Piper voices in memory at the same time, 150 MB each")
    piper_recordings: int = Field(
        6, ge=1, le=64, description="recordings that Piper makes at the same time; of one more espeak-ng speaks"
    )
    piper_threads: int = Field(0, ge=0, le=64, description="of Piper; 0: every CPU this process may use")
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
    bucket: str | None = Field(
        None, description="on AWS Lambda: recordings of direct invocations go into it; needs requirements/s3.txt"
    )
