"""Expands the grammar of news.grammar into texts with marked entities."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from training.gliner_small import amounts, names
from training.gliner_small.lexicon import job_titles, pick

Types = tuple[str, ...]
Node = tuple[str, object]
TOKEN = re.compile(r"\{(\w+)\}|(\[)|(\|)|(\])")
PUNCTUATION = ",.;:?!)"
DEEPEST = 6
ALIASES = {"per": "per_np", "com": "com_np"}
CLAUSES = (
    ("com_np", "business_firm", 0.34),
    ("per_np", "person_act", 0.36),
    ("the_gov", "government_act", 0.12),
    ("COUNTRY", "government_act", 0.03),
    ("PLACE", "place_fact", 0.09),
    ("TEAM", "team_act", 0.06),
)


@dataclass
class Text:
    """Text under construction; `entities` holds (start, end, types) in characters."""

    rng: random.Random
    value: str = ""
    entities: list[tuple[int, int, Types]] = field(default_factory=list)
    people: list[str] = field(default_factory=list)
    firms: list[str] = field(default_factory=list)

    def add(self, piece: str) -> None:
        """Append plain text, without doubling blanks and stops."""
        if not self.value or self.value[-1] in " (":
            piece = piece.lstrip(" ")
        bare = piece.lstrip(" ")
        if bare and bare[0] in PUNCTUATION:
            self.value = self.value.rstrip(" ")
            piece = self._join_stops(bare)
        self.value += piece

    def _join_stops(self, piece: str) -> str:
        last = self.value[-1:]
        if (last, piece[0]) in ((",", ","), (".", ".")):
            return piece[1:]
        if last == "," and piece[0] in ".;":
            self.value = self.value[:-1]
        return piece

    def add_entity(self, surface: str, types: Types) -> None:
        """Append an entity; a leading "the" stays outside of it."""
        if surface.startswith("the "):
            self.add("the ")
            surface = surface[4:]
        start = len(self.value)
        self.value += surface
        self.entities.append((start, len(self.value), types))


def _person(text: Text) -> str:
    text.people.append(names.full_name(text.rng))
    return text.people[-1]


def _titled_person(text: Text) -> str:
    roll = text.rng.random()
    if text.people and roll < 0.3:
        return text.rng.choice(text.people).split()[-1]
    return names.surname(text.rng) if roll < 0.75 else names.full_name(text.rng)


def _firm(text: Text) -> str:
    if text.firms and text.rng.random() < 0.03:
        return text.rng.choice(text.firms)
    text.firms.append(names.company(text.rng))
    return text.firms[-1]


def _press(text: Text) -> str:
    return names.brand(text.rng) if text.rng.random() < 0.35 else _made("press_makers")(text)


def _made(makers: str) -> Callable[[Text], str]:
    return lambda text: names.fill(text.rng, pick(text.rng, makers))


def _from(maker: Callable[[random.Random], str]) -> Callable[[Text], str]:
    return lambda text: maker(text.rng)


SLOTS: dict[str, tuple[Callable[[Text], str], Types]] = {
    "PER": (_person, ("person",)),
    "PSUR": (_titled_person, ("person",)),
    "COM": (_firm, ("organization", "company")),
    "GOV": (_from(names.government), ("organization", "government agency")),
    "PARTY": (_from(names.party), ("organization", "political party")),
    "TEAM": (_made("club_makers"), ("organization", "sports team")),
    "PRESS": (_press, ("organization", "newspaper")),
    "UNI": (_made("uni_makers"), ("organization", "university")),
    "NGO": (_made("ngo_makers"), ("organization",)),
    "CITY": (_from(names.city), ("location", "city")),
    "COUNTRY": (_from(names.country), ("location", "country")),
    "REGION": (_from(names.region), ("location",)),
    "DATE": (_from(amounts.date), ("date",)),
    "DATEY": (_from(amounts.period), ("date",)),
    "DAY": (_from(amounts.day), ("date",)),
    "MONTH": (_from(amounts.month), ("date",)),
    "YEAR": (lambda text: str(text.rng.randint(1900, 2030)), ("date",)),
    "MONEY": (_from(amounts.money), ("money",)),
    "PROD": (_from(amounts.product), ("product",)),
    "EVENT": (_made("event_makers"), ("event",)),
    "NAT": (lambda text: pick(text.rng, "nationalities"), ("nationality",)),
    "PCT": (_from(amounts.percentage), ("percentage",)),
}
MIXED_SLOTS = {
    "ORG": ("COM", "COM", "COM", "COM", "GOV", "UNI", "NGO", "PRESS", "PARTY", "TEAM"),
    "PLACE": ("CITY", "CITY", "CITY", "COUNTRY", "COUNTRY", "REGION"),
}
PLAIN_SLOTS: dict[str, Callable[[random.Random], str]] = {
    "N": amounts.quantity,
    "N2": lambda rng: str(rng.randint(2, 90)),
    "CAPS": lambda rng: pick(rng, "capitalised"),
    "SCORE": lambda rng: f"{rng.randint(0, 7)}-{rng.randint(0, 7)}",
    "TITLE": lambda rng: rng.choice(job_titles()),
    "TICKER": amounts.ticker,
    "w": names.lowercase_word,
}


@cache
def blocks() -> dict[str, tuple[list[Node], ...]]:
    """The parsed blocks of news.grammar by name."""
    found: dict[str, list[list[Node]]] = {}
    name = ""
    for line in (Path(__file__).parent / "news.grammar").read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            name = line.strip("= ")
            found[name] = []
        elif line.strip() and not line.startswith("#"):
            found[name].append(parse(line))
    return {name: tuple(lines) for name, lines in found.items()}


def parse(line: str) -> list[Node]:
    """Parse one line to nodes: ("text", str), ("name", str) and ("choice", list of node lists)."""
    stack: list[list[list[Node]]] = [[[]]]
    position = 0
    for match in TOKEN.finditer(line):
        if match.start() > position:
            stack[-1][-1].append(("text", line[position : match.start()]))
        position = match.end()
        if match[1]:
            stack[-1][-1].append(("name", match[1]))
        elif match[2]:
            stack.append([[]])
        elif match[3]:
            stack[-1].append([])
        else:
            choice = stack.pop()
            stack[-1][-1].append(("choice", choice))
    stack[-1][-1].append(("text", line[position:]))
    if len(stack) != 1:
        raise ValueError(f"unbalanced brackets: {line}")
    return stack[0][0]


def expand(nodes: list[Node], text: Text, depth: int = 0) -> None:
    for kind, value in nodes:
        if kind == "choice":
            expand(text.rng.choice(value), text, depth)  # type: ignore[arg-type]
        elif kind == "text":
            text.add(str(value))
        else:
            expand_name(str(value), text, depth)


def expand_name(name: str, text: Text, depth: int) -> None:
    if name in PLAIN_SLOTS:
        text.add(PLAIN_SLOTS[name](text.rng))
    elif name in SLOTS or name in MIXED_SLOTS:
        maker, types = SLOTS[text.rng.choice(MIXED_SLOTS[name]) if name in MIXED_SLOTS else name]
        text.add_entity(maker(text), types)
    elif depth > DEEPEST:
        text.add("it")
    else:
        start = len(text.value)
        expand_block("claim" if name == "claim_c" else ALIASES.get(name, name.lower()), text, depth + 1)
        if name == "claim_c":
            capitalise(text, start)


def expand_block(name: str, text: Text, depth: int = 0) -> None:
    expand(text.rng.choice(blocks()[name]), text, depth)


def begins_with_entity(text: Text, start: int) -> bool:
    return any(entity[0] == start for entity in text.entities)


def capitalise(text: Text, start: int) -> None:
    """Upper-case the first letter at `start`, unless an entity that is written small begins there."""
    if not begins_with_entity(text, start):
        text.value = text.value[:start] + text.value[start : start + 1].upper() + text.value[start + 1 :]


def body(text: Text, roll: float) -> None:
    """The main clause: a story line, a free line, or a subject with a fitting predicate."""
    if roll < 0.26:
        expand_block("story", text)
    elif roll < 0.50:
        expand_block("free", text)
    else:
        subject, predicate, _ = text.rng.choices(CLAUSES, [weight for _, _, weight in CLAUSES])[0]
        expand([("name", subject), ("text", " "), ("name", predicate)], text)


def led_body(text: Text, roll: float) -> None:
    """The main clause, after "On Monday, " or the like now and then."""
    led = text.rng.random() < 0.16
    if led:
        expand_block("lead", text)
        text.add(" ")
    start = len(text.value)
    body(text, roll)
    if led and not begins_with_entity(text, start):
        text.value = text.value[:start] + text.value[start : start + 1].lower() + text.value[start + 1 :]


def sentence(text: Text) -> None:
    """Append one sentence, one in eleven without any entity."""
    rng, start = text.rng, len(text.value)
    roll = rng.random()
    if roll < 0.09:
        expand_block("no_entity", text)
        if rng.random() < 0.3:
            text.add(rng.choice((", and ", ", but ", " while ", "; ")))
            expand_block("no_entity", text)
    else:
        led_body(text, roll)
        for chance in (0.24, 0.08):
            if rng.random() < chance:
                text.add(" ")
                expand_block("tail", text)
    capitalise(text, start)
    trimmed = text.value.rstrip(" ,")
    if not text.entities or text.entities[-1][1] <= len(trimmed):
        text.value = trimmed
    if text.value[-1:] not in "?!":
        text.add(rng.choices((".", "", "!", "?"), (0.92, 0.05, 0.015, 0.015))[0])


def document(rng: random.Random, sentences: int) -> Text:
    """A text of `sentences` sentences; later ones may name earlier people and firms again."""
    text = Text(rng)
    for index in range(sentences):
        if index:
            text.value += " "
        sentence(text)
    return swap_quotes(noise(text))


def noise(text: Text) -> Text:
    """Replace a few lower-case words outside entities by others: a stand-in for the vocabulary of real news."""
    rng = text.rng
    rate = rng.choice((0.0, 0.02, 0.05, 0.10))
    if rate == 0.0:
        return text
    inside = [(start, end) for start, end, _ in text.entities]
    edits = [(0, 0)]  # (end of a replaced word, shift of everything from there on)
    pieces, position = [], 0
    for match in re.finditer(r"\b[a-z]{4,}\b", text.value):
        if rng.random() > rate or any(start < match.end() and match.start() < end for start, end in inside):
            continue
        word = names.lowercase_word(rng)
        pieces.append(text.value[position : match.start()] + word)
        position = match.end()
        edits.append((position, edits[-1][1] + len(word) - len(match[0])))
    text.value = "".join(pieces) + text.value[position:]

    def moved(offset: int) -> int:
        return offset + max(edit for edit in edits if edit[0] <= offset)[1]

    text.entities = [(moved(start), moved(end), types) for start, end, types in text.entities]
    return text


def swap_quotes(text: Text) -> Text:
    """Typographic quotation marks and apostrophes in a third of the texts (same length, offsets keep)."""
    if text.rng.random() < 0.33:
        halves = text.value.split('"')
        text.value = "".join(half + "“”"[i % 2] for i, half in enumerate(halves[:-1])) + halves[-1]
        text.value = text.value.replace("'", "’")
    return text
