"""Endless training sentences: templates, word salads, invented words and noise, from one seed."""

from __future__ import annotations

import random
import string

from faker import Faker

from training.llama_lead import words
from training.llama_lead.grammar import Grammar, Rule

FAKER_LOCALES = ["en_US", "en_CA", "fr_FR", "es_MX", "de_DE", "sv_SE"]
ONSETS = (*"bcdfghjklmnprstvwz", "ch", "qu", "sh", "st", "tr")
SYLLABLES = [onset + vowel + coda for onset in sorted(ONSETS) for vowel in "aeiou" for coda in ("", "n", "r", "l", "s")]
ACCENTED = "aeiourstnlüéñçøåß"
ENDS = ["."] * 12 + ["?", "!", '."', ".”", ".)", "...", '!"', ".'"]


class SentenceSource:
    """Draws sentences. Two sources of the same seed draw the same sentences."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._draw_names(seed)
        self.grammar = Grammar(self._rules(), self.rng)

    def sentence(self) -> str:
        """One sentence of 1 to about 45 words: a capital, digit or quote first, a full stop, `?` or `!` last."""
        draw = self.rng.random()
        if draw < 0.48:
            return self.grammar.sentence("sentence")
        if draw < 0.76:
            return self._noisy(self.grammar.sentence("sentence"))
        if draw < 0.97:
            return self._salad()
        return self.grammar.sentence("short")

    def headline(self) -> str:
        """A line without a full stop."""
        return self.grammar.sentence("clause").rstrip(",")

    def dateline(self) -> str:
        """The place or author that opens some first sentences, such as `OSLO (NATO) - `."""
        return self.grammar.sentence("dateline")

    def invented_word(self) -> str:
        """A word that is in no dictionary: syllables, random letters, or now and then letters with digits."""
        rng, draw = self.rng, self.rng.random()
        if draw < 0.6:
            return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3)))
        letters = (
            string.ascii_lowercase if draw < 0.85 else ACCENTED if draw < 0.92 else string.ascii_letters + string.digits
        )
        return "".join(rng.choice(letters) for _ in range(rng.randint(2, 9)))

    def _draw_names(self, seed: int) -> None:
        faker = Faker(FAKER_LOCALES)
        faker.seed_instance(seed)
        english = faker["en_US"]
        self.first = [faker.first_name() for _ in range(1500)]
        self.last = [faker.last_name() for _ in range(1500)]
        self.cities = [faker.city() for _ in range(1000)]
        self.streets = [english.street_name() for _ in range(300)]
        self.jobs = [english.job().lower() for _ in range(300)]
        self.urls = [faker.url() for _ in range(200)] + [english.domain_name() for _ in range(200)]
        self.phrases = [english.catch_phrase().lower() for _ in range(200)] + [english.bs() for _ in range(200)]
        self.common = english.get_words_list()

    def _rules(self) -> dict[str, Rule]:
        rng = self.rng
        pick = rng.choice
        makers: dict[str, Rule] = {
            "noun": lambda: pick(words.NOUNS) if rng.random() < 0.7 else pick(self.common),
            "adjective": lambda: pick(words.ADJECTIVES) if rng.random() < 0.8 else pick(self.common),
            "verb_ing": lambda: pick(words.BASE_VERBS).rstrip("e") + "ing",
            "word": lambda: self._capital(self.invented_word()),
            "upper": lambda: pick(words.NOUNS).upper(),
            "upper_city": lambda: pick(self.cities).upper(),
            "city": lambda: self._capital(self.invented_word()) if rng.random() < 0.2 else pick(self.cities),
            "person": self._person,
            "surname": self._surname,
            "company": self._company,
            "street": self.streets,
            "url": self.urls,
            "age": lambda: str(rng.randint(16, 97)),
            "year": lambda: str(rng.randint(1870, 2049)),
            "small": lambda: str(rng.randint(1, 31)),
            "number": self._number,
            "percent": self._percent,
            "money": self._money,
            "date": self._date,
            "time": self._time,
        }
        return {**words.TEMPLATES, **words.LISTS, **makers}

    @staticmethod
    def _capital(word: str) -> str:
        return word[:1].upper() + word[1:]

    def _surname(self) -> str:
        name = self._capital(self.invented_word()) if self.rng.random() < 0.25 else self.rng.choice(self.last)
        return self.rng.choice(["O'", "Mc", "van ", "de "]) + name if self.rng.random() < 0.05 else name

    def _person(self) -> str:
        first, middle = self.rng.choice(self.first), ""
        if self.rng.random() < 0.12:
            middle = f" {self.rng.choice(string.ascii_uppercase)}."
        if self.rng.random() < 0.06:
            first = f"{first[0]}. {self.rng.choice(string.ascii_uppercase)}."
        name = f"{first}{middle} {self._surname()}"
        return name + self.rng.choice([" Jr.", " Sr.", " III"]) if self.rng.random() < 0.03 else name

    def _company(self) -> str:
        draw, rng = self.rng.random(), self.rng
        name = self._surname() if draw < 0.5 else self._capital(self.invented_word())
        if draw > 0.85:
            name = f"{name} {self._capital(rng.choice(words.NOUNS))}"
        return f"{name} {rng.choice(words.COMPANY_ENDS)}" if rng.random() < 0.8 else name

    def _number(self) -> str:
        rng = self.rng
        small, large, spelled = str(rng.randint(2, 999)), f"{rng.randint(1000, 9999999):,}", rng.choice(words.NUMBERS)
        return rng.choice([small, large, spelled, f"{rng.uniform(1, 99):.1f} million"])

    def _percent(self) -> str:
        rng = self.rng
        unit = rng.choice([" percent", "%", " per cent", " percentage points", " points", " miles", " degrees Celsius"])
        return rng.choice([f"{rng.uniform(0, 99):.1f}", f"{rng.uniform(0, 9):.2f}", str(rng.randint(1, 100))]) + unit

    def _money(self) -> str:
        rng = self.rng
        large = [f"{rng.uniform(1, 99):.1f} billion", f"{rng.randint(1, 999)} million"]
        amount = rng.choice([*large, f"{rng.randint(1000, 99999):,}", f"{rng.uniform(0, 99):.2f}"])
        return f"{rng.choice(['$', '€', '£', 'US$', 'C$'])}{amount}" if rng.random() < 0.8 else f"{amount} euros"

    def _date(self) -> str:
        rng = self.rng
        month = rng.choice(words.MONTHS + words.SHORT_MONTHS)
        dated = f"{month} {rng.randint(1, 31)}", f"{month} {rng.randint(1, 31)}, {rng.randint(1900, 2040)}"
        return rng.choice([*dated, f"{rng.randint(1, 31)} {month}"])

    def _time(self) -> str:
        rng = self.rng
        hour = rng.choice([f"{rng.randint(1, 12)}:{rng.randint(0, 59):02d}", str(rng.randint(1, 12))])
        return hour + rng.choice([" a.m.", " p.m.", " GMT", ""])

    def _random_word(self) -> str:
        rng, draw = self.rng, self.rng.random()
        if draw < 0.30:
            return rng.choice(words.NOUNS + words.ADJECTIVES + words.PAST)
        if draw < 0.65:
            return rng.choice(self.common)
        if draw < 0.85:
            return self.invented_word()
        pools = [words.ABBREVIATIONS, words.ACRONYMS, words.ROLES, self.phrases, self.jobs]
        return (
            rng.choice(rng.choice([self.first, self.last, self.cities, *pools]))
            if draw < 0.97
            else rng.choice([self._number(), self._money(), rng.choice(self.urls)])
        )

    def _salad(self) -> str:
        rng = self.rng
        count = rng.randint(4, 12) if rng.random() < 0.4 else rng.randint(8, 28)
        parts = [self._random_word() for _ in range(count)]
        for index in range(count - 1):
            draw = rng.random()
            if draw < 0.07:
                parts[index] = parts[index].rstrip(".,") + rng.choice([",", ",", ",", ";", ":", " -", " —", "'s"])
            elif draw < 0.10:
                parts[index] = rng.choice(['"{}"', "({})", "“{}”", "'{}'", "[{}]"]).format(parts[index])
        return self._capital(" ".join(parts)).rstrip(".,;") + rng.choice(ENDS)

    def _noisy(self, sentence: str) -> str:
        rng = self.rng
        parts = sentence.split(" ")
        share = rng.choice([0.05, 0.15, 0.35])
        for index, part in enumerate(parts):
            if rng.random() < share and part.isalpha():
                word = self._replacement(part) if index else self.invented_word()
                parts[index] = self._capital(word) if part[0].isupper() else word
        return " ".join(parts)

    def _replacement(self, word: str) -> str:
        return self.rng.choice([self.invented_word, self._random_word, self._number, word.upper])()
