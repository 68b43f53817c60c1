"""The command line. Each field of the functions is an option, read from their own schemas."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batch.errors import Unusable, sentence
from batch.functions import FUNCTIONS, Fields, Function, options
from common.keys import KEY_HEADER

KEY_VARIABLE = "FACTORY_KEY"
MOST_AT_ONCE = 64
PATIENCE_SECONDS = 600.0
EPILOG = """exit status: 0 all done; 1 some failed; 2 it cannot begin; 3 it had to end early, start it again;
130 and 143 ended by SIGINT and SIGTERM, start it again. See docs/corpora.md."""


@dataclass(frozen=True)
class Options:
    source: str
    out: Path
    functions: list[Function]
    fields: dict[str, Fields]
    url: str | None
    headers: dict[str, str]
    text_field: str
    id_field: str | None
    captions: bool
    retry_failed: bool
    dry_run: bool
    most_at_once: int
    patience_seconds: float
    wait: int | None = None
    usd_per_hour: float | None = None
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", [function.name for function in self.functions])


def parse(arguments: list[str] | None = None) -> Options:
    """Raises Unusable for what the functions would refuse; argparse itself ends with 2 for the rest."""
    # No setting of the service: it would be told as an unknown one.
    key = os.environ.pop(KEY_VARIABLE, None)
    given = _parser().parse_args(arguments)
    functions = _functions(given.do)
    fields = {function.name: _chosen(function, given) for function in functions}
    # What another function's field is for.
    others = [name for name in FUNCTIONS if name not in fields]
    if unused := [_flag(name) for other in others for name in _chosen(FUNCTIONS[other], given)]:
        raise Unusable(f"{', '.join(unused)}: for a function that --do does not name")
    for function in functions:
        if problem := function.problem_with("An article.", fields[function.name]):
            raise Unusable(f"{function.name}: {sentence(problem)}")
    return Options(
        source=given.IN,
        out=given.OUT,
        functions=functions,
        fields=fields,
        url=_url(given.url),
        headers=_headers(given.key or key, given.wait),
        text_field=given.text_field,
        id_field=given.id_field,
        captions=given.captions,
        retry_failed=given.retry_failed,
        dry_run=given.dry_run,
        most_at_once=given.at_once,
        patience_seconds=given.patience,
        wait=given.wait,
        usd_per_hour=given.usd_per_hour,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m batch",
        description="Summaries, entities and speech of a whole corpus. Started again, it does what is not in OUT yet.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("IN", help="JSON lines, a .csv with a header row, a folder of .txt and .html files, or - for standard input")
    add("OUT", type=Path, help="JSON lines, one for each article; recordings are put beside it")
    add("--do", required=True, metavar="FUNCTIONS", help="of summarize, extract, audio, with commas")
    add("--url", help="a running Factory; without it the models are loaded in this process")
    add("--key", help=f"its key; better in the variable {KEY_VARIABLE}, where no list of processes shows it")
    add("--text-field", default="text", metavar="NAME", help="of JSON lines and CSV (text)")
    add("--id-field", metavar="NAME", help="of JSON lines and CSV (id); who has no id gets one made of the text")
    add("--wait", type=_at_least(1, int), metavar="SECONDS", help="for each answer: `Prefer: wait`")
    add("--captions", action=argparse.BooleanOptionalAction, default=True, help="of recordings, as WebVTT (yes)")
    add("--retry-failed", action="store_true", help="what has a problem in OUT is done once more")
    add("--dry-run", action="store_true", help="count, and tell time and cost; nothing is sent and written")
    add("--usd-per-hour", type=_at_least(0, float), metavar="USD", help="of the machine, for --dry-run")
    add(
        "--at-once",
        type=_at_least(1, int),
        default=MOST_AT_ONCE,
        metavar="CALLS",
        help=f"most calls of a function at the same time ({MOST_AT_ONCE}); it uses what the service gets done",
    )
    add(
        "--patience",
        type=_at_least(1, float),
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help=f"for a service that is away ({PATIENCE_SECONDS:.0f})",
    )
    for function in FUNCTIONS.values():
        group = parser.add_argument_group(f"fields of /{function.name}")
        for name, schema in options(function).items():
            group.add_argument(_flag(name), default=argparse.SUPPRESS, **_kind(schema))
    return parser


def _kind(schema: dict[str, Any]) -> dict[str, Any]:
    kind = next((one for one in [schema, *schema.get("anyOf", [])] if "type" in one), schema)["type"]
    told = {"help": schema.get("description", "").replace("%", "%%") or None}
    if kind == "boolean":
        return {**told, "action": argparse.BooleanOptionalAction}
    types = {"integer": int, "number": float, "array": _listed, "string": str}
    metavars = {"integer": "N", "number": "X", "array": "A,B,..", "string": "TEXT"}
    return {**told, "type": types[kind], "metavar": metavars[kind]}


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _at_least(least: int, kind: Any) -> Any:
    def number(value: str) -> Any:
        if not least <= kind(value) < float("inf"):
            raise ValueError
        return kind(value)

    # What argparse calls it in its message.
    number.__name__ = f"number from {least} on"
    return number


def _functions(names: str) -> list[Function]:
    listed = list(dict.fromkeys(name for name in _listed(names) if name))
    if unknown := [name for name in listed if name not in FUNCTIONS]:
        raise Unusable(f"--do: there is no {', '.join(unknown)}; there are {', '.join(FUNCTIONS)}")
    if not listed:
        raise Unusable(f"--do: name one of {', '.join(FUNCTIONS)}")
    return [FUNCTIONS[name] for name in listed]


def _chosen(function: Function, given: argparse.Namespace) -> Fields:
    return {name: getattr(given, name) for name in options(function) if hasattr(given, name)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise Unusable(f"--url: {url!r} is no address such as http://localhost:7860")
    return url.rstrip("/")


def _headers(key: str | None, wait: int | None) -> dict[str, str]:
    headers = {} if wait is None else {"Prefer": f"wait={wait}"}
    if key is None:
        return headers
    if not key.isascii() or not key.isprintable() or not key.strip():
        raise Unusable("--key: a key has printable characters of ASCII only")
    return {**headers, KEY_HEADER: key.strip()}
