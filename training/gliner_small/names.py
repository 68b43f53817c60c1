"""Makers of names and other entity surface forms.

Every maker takes a `random.Random`. Names come from Faker's locale tables, from lexicon.toml and from random syllables,
so a model has to learn shape and context rather than a list. No list of famous people or firms is used.
"""

import random
import re

from training.gliner_small.lexicon import common_words, person_tables, pick, table


def locale(rng: random.Random) -> str:
    """A locale of `person_tables`, the English-language ones more often."""
    if rng.random() < 0.2:
        return rng.choice(("en_US", "en_US", "en_GB", "en_IN", "en_IE"))
    return rng.choice(tuple(person_tables()))


def syllables(rng: random.Random, low: int = 1, high: int = 3) -> str:
    """An invented capitalised word of `low` to `high` syllables."""
    parts = [pick(rng, "onsets") + pick(rng, "vowels") for _ in range(rng.randint(low, high))]
    word = "".join(parts) + pick(rng, "codas")
    if rng.random() < 0.2:
        word = word[1:] if len(word) > 4 and word[0] not in "aeiou" else rng.choice("aeiou") + word
    return word.capitalize()


def first_name(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.72:
        return rng.choice(person_tables()[locale(rng)][0])
    if roll < 0.82:
        return rng.choice(person_tables()["en_US"][0])
    return pick(rng, "nicknames") if roll < 0.9 else syllables(rng, 1, 2)


def surname(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.6:
        return rng.choice(person_tables()[locale(rng)][1])
    if roll < 0.7:
        return rng.choice(table("east_surnames") + table("japanese_surnames"))
    if roll < 0.85:
        return syllables(rng, 1, 2) + (pick(rng, "surname_ends") if rng.random() < 0.5 else "")
    if roll < 0.9:
        return rng.choice(person_tables()["en_US"][1]) + "-" + rng.choice(person_tables()["en_GB"][1])
    return rng.choice(person_tables()["en_US"][1])


def full_name(rng: random.Random) -> str:
    """A first and a last name, with initials, particles and other cultures' orders now and then."""
    roll = rng.random()
    if roll < 0.42:
        first, last = person_tables()[locale(rng)]
        name = f"{rng.choice(first)} {rng.choice(last)}"
    elif roll < 0.50:
        name = f"{pick(rng, 'east_surnames')} {pick(rng, 'east_given')}"
    elif roll < 0.55:
        name = f"{pick(rng, 'japanese_given')} {pick(rng, 'japanese_surnames')}"
    elif roll < 0.62:
        name = f"{pick(rng, 'arab_given')} {pick(rng, 'arab_surnames')}"
        if name.split()[-1] in {"bin", "Ben"}:
            name += " " + pick(rng, "arab_given")
    elif roll < 0.67:
        name = f"{first_name(rng)} {rng.choice('ABCDEFGHJKLMPRSTW')}. {surname(rng)}"
    elif roll < 0.73:
        particle = pick(rng, "particles")
        glue = "" if particle[-1] in "'c" else " "
        name = f"{first_name(rng)} {particle}{glue}{surname(rng)}"
    elif roll < 0.77:
        middle = " ".join(rng.choice((first_name, surname, syllables))(rng) for _ in range(rng.choice((1, 1, 2))))
        name = f"{first_name(rng)} {middle} {rng.choice(('', '', 'da ', 'de ', 'bin ', 'van '))}{surname(rng)}"
    else:
        name = f"{first_name(rng)} {surname(rng)}"
    return name + rng.choice((" Jr.", " II", " III", " Jr.")) if rng.random() < 0.012 else name


def brand(rng: random.Random) -> str:
    """A single-token firm: invented, dictionary word, surname, CamelCase or acronym."""
    roll = rng.random()
    if roll < 0.34:
        return syllables(rng, 1, 3) + pick(rng, "brand_ends")
    if roll < 0.52:
        return rng.choice(common_words()).capitalize()
    if roll < 0.66:
        return surname(rng).split()[-1].capitalize()
    if roll < 0.76:
        inner = syllables(rng, 1, 2) if rng.random() < 0.5 else rng.choice(common_words()).capitalize()
        outer = pick(rng, "brand_starts")
        tail = pick(rng, "brand_tails")
        return outer + inner if rng.random() < 0.5 else inner + tail
    return acronym(rng)


def acronym(rng: random.Random) -> str:
    letters = "ABCDEFGHIKLMNOPRSTUWX"
    if rng.random() < 0.3:
        syllable_pair = "".join(rng.choice("BCDFGLMNPRST") + rng.choice("AEIOU") for _ in range(2))
        return syllable_pair + rng.choice(("", "", "CO", "D", "N"))
    name = "".join(rng.choice(letters) for _ in range(rng.choice((2, 3, 3, 3, 3, 4, 4, 5))))
    return name[:-2] + "&" + name[-1] if len(name) > 2 and rng.random() < 0.04 else name


def city(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.68:
        return pick(rng, "cities")
    return pick(rng, "city_makers").format(syllables(rng, 1, 3) if roll < 0.9 else surname(rng).split()[-1])


def country(rng: random.Random) -> str:
    if rng.random() < 0.88:
        return pick(rng, "countries")
    return pick(rng, "country_makers").format(syllables(rng, 1, 2))


def region(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.35:
        return pick(rng, "states")
    if roll < 0.6:
        return pick(rng, "regions")
    maker = pick(rng, "region_makers")
    return maker.format(rng.choice((syllables(rng, 1, 3), surname(rng).split()[-1], city(rng))))


def fill(rng: random.Random, maker: str) -> str:
    """Fill an organisation or event pattern: c city, s surname, n noun, a adjective, f field or first name, ..."""
    values = {
        "c": lambda: city(rng),
        "g": lambda: country(rng).removeprefix("the "),
        "s": lambda: surname(rng).split()[-1],
        "t": lambda: surname(rng).split()[-1],
        "n": lambda: rng.choice(common_words()).capitalize(),
        "m": lambda: rng.choice(common_words()).capitalize(),
        "a": lambda: rng.choice(table("org_adjectives") if rng.random() < 0.6 else table("nationalities")),
        "i": lambda: pick(rng, "industry_words"),
        "f": lambda: first_name(rng),
        "b": lambda: brand(rng),
        "y": lambda: str(rng.randint(1990, 2027)),
    }
    return re.sub(r"\{(\w)\}", lambda match: values[match[1]](), maker)


def company(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.46:
        return brand(rng)
    if roll < 0.62:
        return f"{brand(rng)} {pick(rng, 'industry_words')}"
    if roll < 0.76:
        return f"{brand(rng)} {pick(rng, 'legal')}".removesuffix(" &")
    if roll < 0.80:
        return f"{brand(rng)} {pick(rng, 'industry_words')} {pick(rng, 'legal')}".removesuffix(" &")
    if roll < 0.92:
        return fill(rng, pick(rng, "finance_makers"))
    return f"{surname(rng)} {surname(rng)}" if roll < 0.96 else f"{brand(rng)} {syllables(rng)}"


def government(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.35:
        head = pick(rng, "gov_heads").replace("{f}", pick(rng, "gov_fields"))
        name = fill(rng, head.replace("the Interior Ministry", "Interior Ministry"))
        return name if rng.random() < 0.9 else f"{pick(rng, 'nationalities')} {name}"
    if roll < 0.8:
        adjective = rng.choice((pick(rng, "org_adjectives"), pick(rng, "nationalities"), "U.S.", ""))
        return f"{adjective} {pick(rng, 'public_bodies')}".strip()
    return acronym(rng)


def party(rng: random.Random) -> str:
    word, nationality = rng.choice(common_words()).capitalize(), pick(rng, "nationalities")
    return rng.choice(("", "", word + " ", nationality + " ")) + pick(rng, "party_words")


def lowercase_word(rng: random.Random) -> str:
    """A common English word, or an invented one standing for the vocabulary the corpus does not have."""
    return rng.choice(common_words()) if rng.random() < 0.7 else syllables(rng, 2, 4).lower()
