"""python -m common.settings: every setting with its value, where that is from, and what it is for.

With --markdown it prints docs/settings.md: every setting with its default, that of each profile, and what it is for.
"""

import argparse

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from common.settings import PROFILES, Settings, get_settings, leaves, sources, variable
from common.settings.profiles import flat

SettingPath = tuple[str, ...]

TITLE = """# Settings

<!-- Written by `python -m common.settings --markdown > docs/settings.md`; a test compares. -->

A profile sets the defaults. A variable overrides any single one. A `.env` file in the working directory is read too; a
variable of the environment is stronger. `python -m common.settings` prints all of them with the values that hold, and
where each is from. A bad value and an unknown `FACTORY_` variable end the start, with one line each.

`none` as a value means: not set. 0 in a setting of threads means: every CPU that this process may use.
"""
SECTIONS = {
    "": "The service",
    "server": "Connections",
    "summarize": "POST /summarize",
    "extract": "POST /extract",
    "audio": "POST /audio",
}


def text() -> str:
    settings = get_settings()
    origin = sources(settings)
    rows = [
        (variable(path), str(value), origin[path], _field(path).description or "") for path, value in leaves(settings)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def markdown() -> str:
    paths = [path for path, _ in leaves(Settings.model_construct())]
    parts = [TITLE]
    for section, heading in SECTIONS.items():
        parts.append(f"## {heading}\n\n| variable | default | |\n|---|---|---|")
        for path in paths:
            if section == (path[0] if len(path) > 1 else ""):
                parts.append(f"| `{variable(path)}` | {_default(path)} | {_meaning(path)} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def _field(path: SettingPath) -> FieldInfo:
    model: type[BaseModel] = Settings
    for name in path[:-1]:
        annotation = model.model_fields[name].annotation
        assert isinstance(annotation, type)
        model = annotation
    return model.model_fields[path[-1]]


def _default(path: SettingPath) -> str:
    """Of the settings themselves, and of each profile that has another."""
    value = _field(path).default
    others = {profile: flat(defaults).get(path, value) for profile, defaults in PROFILES.items()}
    return "; ".join([_shown(value), *(f"{name}: {_shown(other)}" for name, other in others.items() if other != value)])


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(path: SettingPath) -> str:
    field = _field(path)
    bounds = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    described = (field.description or "").replace("|", "\\|")
    least = f"from {bounds['ge']:.10g}" if "ge" in bounds else f"over {bounds['gt']:.10g}" if "gt" in bounds else ""
    most = f"up to {bounds['le']:.10g}" if "le" in bounds else ""
    choices = _choices(field)
    limits = " ".join(filter(None, (least, most))) or choices
    return f"{described} ({limits})" if limits else described


def _choices(field: FieldInfo) -> str:
    options = getattr(field.annotation, "__args__", ())
    return ", ".join(f"`{option}`" for option in options) if all(isinstance(one, str) for one in options) else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m common.settings", description="Prints every setting.")
    parser.add_argument("--markdown", action="store_true", help="as docs/settings.md, with defaults in place of values")
    print(markdown() if parser.parse_args().markdown else text())


if __name__ == "__main__":
    main()
