"""News-like articles for the evaluation: other templates, word list and Faker locales than those of the training."""

from __future__ import annotations

import random

from faker import Faker

from training.llama_lead.grammar import Grammar, Rule

SEED = 9041
LOCALES = ["en_GB", "en_IN", "it_IT", "pl_PL", "nl_NL"]
WORDS: dict[str, list[str]] = {
    "subject": [
        "ferry operator", "brewery", "orchestra", "tenants' association", "lighthouse trust", "dairy cooperative",
        "county archive", "wind turbine maker", "seed bank", "rail watchdog", "chess federation", "lifeboat station",
        "vineyard", "shipyard", "appeals tribunal", "telecoms carrier", "beekeepers' guild", "customs authority",
        "zoo", "carmaker", "pension scheme",
    ],
    "matter": [
        "turbine", "timetable", "pier", "canal lock", "subsidy", "allotment", "archive", "reservoir", "flood barrier",
        "ballot", "tram line", "quarry", "greenhouse", "cable", "ferry", "mural", "choir", "cycle path", "landfill",
        "fishing quota", "cathedral roof", "dispute", "compensation package", "manuscript", "bakery",
        "runway extension", "stray satellite",
    ],
    "quality": [
        "ageing", "costly", "disputed", "much-delayed", "leaky", "award-winning", "derelict", "long-promised",
        "waterlogged", "unpopular", "half-finished", "bankrupt", "prize-winning", "overcrowded", "Victorian",
        "ambitious", "hand-built",
    ],
    "did": [
        "scrapped", "unveiled", "mothballed", "auctioned off", "refurbished", "shelved", "overhauled", "patched up",
        "outlined", "ditched", "inherited", "demolished", "flooded", "earmarked", "salvaged", "upgraded", "condemned",
        "postponed",
    ],
    "do": [
        "scrap", "unveil", "refurbish", "shelve", "overhaul", "demolish", "salvage", "upgrade", "postpone",
        "outsource",
    ],
    "mood": ["relieved", "furious", "baffled", "cautiously optimistic", "worn out", "not surprised", "heartbroken"],
    "post": [
        "chairwoman", "harbourmaster", "treasurer", "head gardener", "ombudsman", "curator", "shop steward", "ranger",
    ],
    "title": ["Mr.", "Ms.", "Dr.", "Prof.", "Mrs.", "Sen."],
    "suffix": ["Ltd.", "PLC", "& Sons", "Inc.", "Group", "S.p.A.", "Trust"],
    "weekday": ["Wednesday", "Friday", "Sunday", "Thursday morning", "Tuesday evening", "Saturday night"],
}  # fmt: skip

TEMPLATES: dict[str, list[str]] = {
    "who": [
        "the {subject}", "a {quality} {subject} outside {town}", "{name}, the {subject}'s {post},", "{title} {last}",
        "{firm}", "campaigners in {town}", "roughly {count} households", "nobody at the {subject}",
        "the {post} of {firm}, {name},",
    ],
    "what": [
        "the {quality} {matter}", "its {matter}", "plans for a {matter}", "a {matter} worth {sum}",
        "the town's only {matter}", "a {quality} {matter} near {town}", "{count} tonnes of gravel",
        "the {matter} and the {matter}", "a {sum} {matter}",
    ],
    "event": [
        "{who} {did} {what}", "{who} has quietly {did} {what}", "{who} is due to {do} {what} by {when}",
        "{who} {did} {what} on {weekday}", "{who} may yet {do} {what}", "{who} spent {sum} on {what}",
        "{who} was told to {do} {what} before {when}", "nearly {share} of residents want to keep {what}",
        "{what} has been {did} by {who}", "{who} owes {sum} for {what}",
    ],
    "line": [
        "{event}.", "{event}.", "{event}, according to documents seen by this newspaper.",
        "{event}, its {post} confirmed on {weekday}.", "When {who} {did} {what}, {who} felt {mood}.",
        "In {year}, {who} {did} {what}.", "By contrast, {event}.", "Even so, {event}.", "{event} - again.",
        "\"People here are {mood},\" {name} explained.",
        "“Frankly, we are {mood},” said {title} {last}, who lives in {town}.",
        "{name}, {age}, recalls that {who} {did} {what}.", "Asked whether {event}, {title} {last} shrugged.",
        "Costs climbed {share} to {sum}.", "Its shares slipped {share} in early trading at {hour}.",
        "Work begins at {hour} on {weekday}.", "Is one {matter} really worth {sum}?",
        "Founded in {year}, {firm} employs {count} people.", "{event}, though {who} insists otherwise.",
        "Neighbours call it “{quality}”.", "The {matter}, known locally as \"Old {last}\", was {did} in {year}.",
        "Similar rows broke out in {town} (and, later, {town}).", "A hearing is set for {when} in {town}.",
        "{title} {last} told the inquiry: \"It was {quality}.\"", "What happens next is unclear.",
        "{last} did not reply to a request for comment.", "{event} — a first for {town}.",
        "Three things changed: {what}, {what} and {what}.",
    ],
    "when": [
        "the end of {year}", "14 October", "mid-March", "the summer", "Nov. 3", "next spring", "5 p.m. on Monday",
        "year's end",
    ],
}  # fmt: skip


class ArticleSource:
    """Draws held-out articles; the same seed gives the same articles."""

    def __init__(self, seed: int = SEED) -> None:
        self.rng = rng = random.Random(seed)
        faker = Faker(LOCALES)
        faker.seed_instance(seed)
        lasts = [faker.last_name() for _ in range(120)]
        names = [f"{faker.first_name()} {rng.choice(lasts)}" for _ in range(80)]
        towns = [faker.city() for _ in range(120)]
        self.people = names
        makers: dict[str, Rule] = {
            "name": names, "last": lasts, "town": towns,
            "firm": lambda: f"{rng.choice(lasts)} {rng.choice(WORDS['suffix'])}",
            "count": lambda: rng.choice([f"{rng.randint(2, 90)},{rng.randint(100, 999)}", str(rng.randint(11, 900))]),
            "sum": lambda: rng.choice("£€$") + f"{rng.uniform(1, 60):.1f}" + rng.choice(["m", "bn", " million"]),
            "share": lambda: rng.choice([f"{rng.uniform(0.2, 60):.1f} percent", f"{rng.randint(2, 88)}%"]),
            "age": lambda: str(rng.randint(18, 93)), "year": lambda: str(rng.randint(1790, 2031)),
            "hour": lambda: rng.choice(["7:30 a.m.", "noon", "11 p.m.", "08:15 GMT", "six in the morning"]),
        }  # fmt: skip
        self.grammar = Grammar({**TEMPLATES, **WORDS, **makers}, rng)

    def article(self, fewest: int = 4, most: int = 25) -> tuple[str, list[int]]:
        """An article of `fewest` to `most` sentences in paragraphs, and the character offset where each of them ends.

        In every third article one person opens several sentences.
        """
        rng = self.rng
        sentences = [self.grammar.sentence("line") for _ in range(rng.randint(fewest, most))]
        if rng.random() < 0.33:
            person = rng.choice(self.people)
            for index in rng.sample(range(len(sentences)), max(2, len(sentences) // 3)):
                sentences[index] = self.grammar.expand(f"{person} {{did}} {{what}} in {{town}}.")
        paragraph = rng.choice([1, 2, 3, 100])
        gaps = ["\n\n" if index % paragraph == paragraph - 1 else " " for index in range(len(sentences))]
        ends, article = [], ""
        for text, gap in zip(sentences, gaps, strict=True):
            article += text
            ends.append(len(article))
            article += gap
        return article.rstrip(), ends
