"""The process in which a model file's chat template runs: it needs the standard library and jinja2 only.

A template is a program of whoever made the file. It runs in jinja2's sandbox, with limits of time and memory, and all
that it can give is text. The environment is the one that templates are written for, that of transformers'
`apply_chat_template`: white space, `break` and `continue`, the tag `generation`, `tojson`, `raise_exception`,
`strftime_now` (Hugging Face, "Chat templates: writing a template").

Standard input is JSON: `template`, `conversations` (each a list of messages), `variables`, `seconds`, `bytes`,
`characters`. Standard output is JSON: `outcomes` is for each conversation `{"text": ..}` or `{"error": ..}`, `asks_for`
are the variables that the template looks up.
"""

import json
import resource
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, meta, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_REASON_CHARACTERS = 300


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on. Here it is only a block."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Scope:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _TooLong(Exception):
    """The template wrote more than it may."""


def _limit(seconds: int, size: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _raise_exception(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own escapes what HTML would read as a tag.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return environment


def _rendered(template: Template, variables: dict[str, Any], most_characters: int) -> str:
    parts: list[str] = []
    left = most_characters
    for part in template.generate(**variables):
        left -= len(part)
        if left < 0:
            raise _TooLong(f"it writes more than {most_characters} characters")
        parts.append(part)
    text = "".join(parts)
    # A string in a template may hold what is no text: half of a surrogate pair.
    text.encode()
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it takes too much memory"
    text = " ".join(str(error).split()) or type(error).__name__
    named = text if isinstance(error, TemplateError | _TooLong) else f"{type(error).__name__}: {text}"
    return named[:MAX_REASON_CHARACTERS]


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    environment = _environment()
    try:
        # Within the limits as well: jinja2 computes constant expressions when it compiles.
        template = environment.from_string(order["template"])
        asks_for = sorted(meta.find_undeclared_variables(environment.parse(order["template"])))
    except Exception as error:
        return {"outcomes": [{"error": _reason(error)}], "asks_for": []}
    outcomes: list[dict[str, str]] = []
    for messages in order["conversations"]:
        try:
            outcomes.append(
                {"text": _rendered(template, order["variables"] | {"messages": messages}, order["characters"])}
            )
        except Exception as error:
            outcomes.append({"error": _reason(error)})
    return {"outcomes": outcomes, "asks_for": asks_for}


def main() -> None:
    order = json.load(sys.stdin)
    _limit(order["seconds"], order["bytes"])
    json.dump(_answer(order), sys.stdout)


if __name__ == "__main__":
    main()
