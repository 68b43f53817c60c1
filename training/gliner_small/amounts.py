"""Makers of dates, money, percentages, numbers and product names."""

import random

from training.gliner_small.lexicon import common_words, pick, table
from training.gliner_small.names import syllables


def date(rng: random.Random) -> str:
    """A date in one of two dozen formats."""
    day, month = rng.randint(1, 28), pick(rng, "months")
    year = rng.choice((rng.randint(1990, 2027), rng.randint(1850, 2030)))
    forms = [pick(rng, "days"), pick(rng, "days"), pick(rng, "days"), f"{month} {day}", f"{day} {month}"]
    forms += [f"{month} {year}", str(year), str(year), month, f"{month} {day}, {year}", f"{day} {month} {year}"]
    forms += [f"{pick(rng, 'short_months')} {day}", f"{pick(rng, 'short_months')} {day}, {year}"]
    forms += [f"{year}-{rng.randint(1, 12):02d}-{day:02d}", f"{pick(rng, 'days')}, {month} {day}"]
    forms += [f"{day}/{rng.randint(1, 12)}/{year}"]
    forms += [f"the {rng.choice(('1960s', '1970s', '1980s', '1990s', '2000s'))}", f"early {year}"]
    forms += [f"{rng.choice(('spring', 'summer', 'autumn', 'winter'))} {year}", f"{day}th of {month}"]
    forms += [f"{pick(rng, 'days')} {day} {month}"]
    forms += [f"the {rng.choice(('first', 'second', 'third', 'fourth'))} quarter of {year}", f"late {month}"]
    return rng.choice([*forms, f"{month} {day}th"])


def period(rng: random.Random) -> str:
    """A date that follows "in": a year, a month or another date, but no weekday."""
    year, name, any_date = str(rng.randint(1950, 2030)), pick(rng, "months"), date(rng)
    value = rng.choice((year, name, any_date))
    return year if value in table("days") else value


def day(rng: random.Random) -> str:
    return pick(rng, "days") if rng.random() < 0.8 else date(rng)


def month(rng: random.Random) -> str:
    name = pick(rng, "months")
    return name if rng.random() < 0.7 else f"{name} {rng.randint(1990, 2027)}"


def money(rng: random.Random) -> str:
    whole, decimal = str(rng.randint(1, 999)), f"{rng.randint(1, 99)}.{rng.randint(1, 9)}"
    amount = rng.choice((whole, decimal, f"{rng.randint(1, 999)},{rng.randint(0, 999):03d}"))
    scale = rng.choice((" million", " billion", " million", " billion", "", " trillion", "m", "bn"))
    symbol = rng.choice(("$", "$", "$", "€", "£", "¥", "US$", "C$", "A$", "Rs ", "USD ", "EUR ", "₹"))
    if rng.random() < 0.68:
        return f"{symbol}{amount}{scale}"
    return f"{amount}{scale if len(scale) > 3 or not scale else ''} {pick(rng, 'currencies')}"


def percentage(rng: random.Random) -> str:
    number = rng.choice((str(rng.randint(1, 99)), f"{rng.randint(0, 20)}.{rng.randint(1, 9)}"))
    return number + rng.choice(("%", "%", " percent", " per cent"))


def quantity(rng: random.Random) -> str:
    big = f"{rng.randint(1, 99)},{rng.randint(0, 999):03d}"
    small, millions = str(rng.randint(2, 900)), f"{rng.randint(2, 20)} million"
    return rng.choice((small, big, millions, "two", "hundreds of", "thousands of", "four"))


def ticker(rng: random.Random) -> str:
    exchange = rng.choice(("NYSE: ", "NASDAQ: ", "LON: ", ""))
    return exchange + "".join(rng.choice("ABCDEFGHIKLMNOPRSTX") for _ in range(rng.randint(2, 4)))


def product(rng: random.Random) -> str:
    """A product name: an invented or dictionary word with numbers, letters and the usual tails."""
    invented, word = syllables(rng, 1, 3), rng.choice(common_words()).capitalize()
    base = rng.choice((invented, word, "i" + rng.choice(("Box", "Tab", "Car", "Lens", "Kit"))))
    small, round_number = str(rng.randint(2, 20)), str(rng.randint(1, 9) * 100)
    number = rng.choice((small, round_number, rng.choice("SXZGTCQ") + str(rng.randint(1, 900))))
    tail = pick(rng, "product_tails")
    forms = [f"{base} {number}", f"{base} {number}", f"{base} {tail}", f"{base} {number} {tail}", f"{base}{tail}"]
    forms += [f"{base} {tail} {number}", f"{pick(rng, 'product_nouns')} {rng.choice('SXY3579')}", base]
    forms += [f"{base}-{number}", f"{rng.randint(1, 99) * 10 + 7} {tail}"]
    forms += [f"{rng.choice('ABCFGMSX')}{rng.randint(1, 900)}", f"{base} {number}.{rng.randint(0, 9)}"]
    return rng.choice([*forms, f"{syllables(rng, 1, 2)} {base}"])
