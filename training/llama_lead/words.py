"""Words and sentence templates of the training text. The held-out text (`heldout.py`) has its own."""

# ruff: noqa: SIM905 - word lists are easier to read and to extend as running text

from __future__ import annotations

NOUNS = """
report plan study bridge school hospital budget court judge minister mayor council factory plant train station airport
harbor storm flood fire drought harvest farm market price wage tax law bill vote election campaign party leader union
strike worker teacher student doctor nurse patient vaccine virus clinic drug trial research scientist engineer rocket
satellite telescope planet ocean river lake island forest mountain road highway tunnel car truck engine battery phone
computer network chip software company bank fund loan bond share investor profit loss revenue sales customer store shop
restaurant hotel museum theater film song album artist writer book novel prize award team coach player season match goal
stadium race record champion police officer prosecutor lawyer crime theft fraud attack bomb border army soldier treaty
summit embassy sanction refugee village town city region province country government parliament senate committee
agency regulator office building apartment house home family child parent neighbor resident tourist passenger pilot
flight crew ship port cargo container pipeline oil gas coal power grid water dam sewer waste plastic carbon emission
climate temperature heat snow ice glacier earthquake rescue shelter food rice wheat bread milk coffee dog cat horse bird
whale museum garden park statue church temple mosque festival holiday parade concert website app account password email
message photo video camera robot drone laser sensor model machine tool metal steel copper gold stone glass paper wood
letter statement speech interview meeting deal contract offer bid merger lawsuit verdict sentence prison appeal claim
rule standard license permit inspection audit review survey poll figure number rate level target goal step move idea
problem risk threat warning delay shortage demand supply export import tariff trade debt deficit growth recession job
""".split()

ADJECTIVES = """
new old large small local national federal regional former senior young public private major minor early late recent
annual monthly daily final first second third last next strong weak high low heavy light sharp slow fast quiet empty
crowded broken damaged modern ancient historic rare common popular famous unknown foreign domestic military civil legal
illegal medical digital electric nuclear solar financial economic political social cultural religious scientific
technical environmental urban rural coastal northern southern eastern western central independent official temporary
permanent emergency special unusual unexpected serious severe mild successful controversial long-awaited state-owned
so-called well-known two-day three-year record-breaking hard-hit fast-growing long-term short-term high-speed part-time
""".split()

PAST = """
approved rejected opened closed announced delayed cancelled launched tested built repaired destroyed sold bought leased
raised cut doubled halved reported denied confirmed reviewed signed broke won lost led joined left visited inspected
funded blocked backed opposed criticized praised defended published revealed discovered measured counted recorded
tracked moved shipped delivered stored produced designed replaced removed restored protected threatened ended
started extended
suspended banned allowed ordered offered accepted refused missed reached passed hit beat followed questioned warned
""".split()

BASE_VERBS = """
approve reject open close announce delay cancel launch test build repair sell buy raise cut double report deny confirm
review sign win lose lead join leave visit inspect fund block back oppose criticize publish reveal discover measure move
ship deliver store produce design replace remove restore protect end start extend suspend ban allow order offer accept
""".split()

ADVERBS = "quickly slowly quietly finally also still already later again largely partly nearly barely formally".split()
ROLES = """
President Minister Senator Mayor Governor Professor Judge Captain Dr. Mr. Mrs. Ms. Sen. Gov. Gen. Rep. Prof. Lt. Col.
Sgt. Capt. Rev. Sir Inspector Spokesman Spokeswoman Director Chairman
""".split()
OFFICES = (
    "the mayor|a spokesman|a spokeswoman|the finance minister|the chief executive|a police officer|the union's leader|"
    "the head coach|an analyst at {company}|the lead author|a resident of {city}|the deputy director|an official who "
    "asked not to be named|the vice president|the company's chairman|the school's principal|a former judge"
).split("|")
MONTHS = "January February March April May June July August September October November December".split()
SHORT_MONTHS = "Jan. Feb. Aug. Sept. Oct. Nov. Dec.".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COMPANY_ENDS = (
    "Inc. Corp. Ltd. Co. Inc Group Holdings PLC LLC S.A. & Co. Bros. Partners Labs Bank Airlines Motors".split()
)
ACRONYMS = "U.S. U.K. U.N. E.U. NASA NATO FBI CIA WHO IMF OPEC UNESCO D.C. FIFA BBC NBA NFL GDP AI EU UN US UK".split()
ABBREVIATIONS = "No. St. vs. Mt. Ft. Ave. approx. etc. e.g. i.e. Jr. Sr. Ph.D. a.m. p.m. No. v. cf. est. min.".split()

NUMBERS = "two|three|four|five|six|seven|eight|nine|ten|a dozen|hundreds of|20-odd".split("|")

LISTS = {
    "past": PAST,
    "base": BASE_VERBS,
    "adverb": ADVERBS,
    "role": ROLES,
    "office": OFFICES,
    "day": DAYS,
    "month": MONTHS,
    "short_month": SHORT_MONTHS,
    "acronym": ACRONYMS,
}

TEMPLATES: dict[str, list[str]] = {
    "noun_phrase": [
        "the {noun}", "the {adjective} {noun}", "a {adjective} {noun}", "the {noun} of the {noun}", "{person}",
        "{person}", "{company}", "{company}", "{role} {surname}", "{role} {person}",
        "{person}, {age}, a {noun} {noun} from {city},", "{person}, {office},", "{number} {noun}s",
        "about {number} {adjective} {noun}s", "{city}", "the {city} {noun}", "{city}'s {noun}", "its {noun}",
        "{surname}'s {noun}", "the {acronym} {noun}", "the {acronym}", "{word}", "the {word} {noun}",
        "the {noun} (which {past} the {noun})", "the “{noun}” {noun}", "{street}", "{word}-{word}",
        "the {noun}'s {adjective} {noun}", "officials in {city}", "{noun}s and {noun}s",
        "the {noun}, {noun} and {noun}",
    ],
    "object": [
        "{noun_phrase}", "the {adjective} {noun}", "the {noun}", "a {noun}", "{number} {noun}s", "{money}",
        "{percent}", "the {noun} in {city}", "a {money} {noun}", "more than {number} {noun}s",
        "the {noun} No. {small}", "{noun} {small}",
    ],
    "verb_phrase": [
        "{past} {object}", "{past} {object}", "has {past} {object}", "had {adverb} {past} {object}",
        "will {base} {object}", "would {base} {object}", "{past} {object} and {past} {object}",
        "is expected to {base} {object}", "was {past} by {object}", "said it would {base} {object}",
        "did not {base} {object}", "couldn't {base} {object}", "rose {percent} to {money}",
        "fell {percent} from {money}", "{adverb} {past} {object}", "plans to {base} {object}", "was {past} in {city}",
        "says that {noun_phrase} {past} {object}", "agreed to {base} {object}, {past} {object} and {base} {object}",
        "was born in {city} in {year}", "died at the age of {age}", "scored {small} points", "won {small}-{small}",
    ],
    "lead": [
        "on {day},", "on {date},", "in {year},", "in {city},", "last {day},", "at {time} on {day},",
        "after {noun_phrase} {past} {object},", "according to {person},", "however,", "meanwhile,", "in a statement,",
        "for {small} years,", "earlier this week,", "despite the {noun},", "because the {noun} {past} {object},",
        "as {noun_phrase} {past} {object},", "but", "and", "still,",
    ],
    "tail": [
        "on {day}", "on {date}", "in {year}", "in {city}", "at {time}", "after the {noun} {past} {object}",
        "for {money}", "because of the {adjective} {noun}", "while {noun_phrase} {past} {object}", "by {date}",
        "near {street}", "{person} said", "with {number} {noun}s", "despite {object}", "since {year}",
        "a {noun} said", "according to {noun_phrase}", "with {company}", "in the {adjective} {noun}",
        "— the {adjective} {noun} of the {noun} —", "which {past} {object}", "who {past} {object}",
        "({noun} {small})", "(see {url})", "at {url}", "up from {number} in {year}", "down {percent} from {date}",
        "in the {acronym}",
    ],
    "clause": [
        "{noun_phrase} {verb_phrase}", "{noun_phrase} {verb_phrase}", "{noun_phrase} {verb_phrase} {tail}",
        "{noun_phrase} {verb_phrase} {tail}", "{noun_phrase} {verb_phrase} {tail} {tail}",
    ],
    "quote": [
        "{clause}", "we {past} {object}", "it's {adjective}, and we don't {base} {object}", "I've {past} {object}",
        "this is a {adjective} {noun}", "they're {adjective}", "there is no {noun} in {city}",
        "we will {base} the {noun}",
    ],
    "speaker": [
        "{person}", "{role} {surname}", "{surname}", "{office}", "he", "she", "the {noun}", "{person}, {office}",
    ],
    "said": ["said", "told reporters", "added", "wrote", "said in a statement", "told the {noun}", "said on {day}"],
    "sentence": ["{clause}."] * 8 + ["{lead} {clause}."] * 5 + [
        "{clause}, and {clause}.", "{clause}, but {clause}.", "{clause}; {clause}.", "{clause} - {clause}.",
        "{clause}: {noun}, {noun} and {noun}.", '"{quote}," {speaker} {said}.', '"{quote}," {said} {speaker}.',
        "“{quote},” {speaker} {said}.", '{speaker} {said}: "{quote}."', "{speaker} {said} that {clause}.",
        "“{quote},” {speaker} {said}, “and {quote}.”", '{speaker} {said} "{noun} {noun}" {tail}.',
        "'{quote},' {speaker} {said}.", '"Will {noun_phrase} {base} {object}?" {speaker} asked.',
        '"{quote}!" {speaker} {said}.', "{clause} in the {acronym}.", "{clause} at {time}.",
        "{clause}, {role} {surname} {said}.", "did {noun_phrase} {base} {object}?",
        "what would {noun_phrase} {base} {tail}?", "{clause}!", "({clause}.)", "{clause} ({acronym}).",
        "there {past} {object}.", '{speaker} {said} it was "a {adjective} {noun}."',
        "{speaker} called it “a {adjective} {noun}.”", "it {verb_phrase}.", "he {verb_phrase}.",
        "she {verb_phrase} {tail}.", "they {verb_phrase} {tail}.", "{speaker} {said} so.", "{clause}...",
        "{number} {noun}s {past} {object}.", "{percent} of {noun}s {past} {object} {tail}.",
        "{clause}, {verb_ing} {object}.", "{company}, which {past} {object} in {year}, {verb_phrase}.",
        "{company} v. {company} was {past} {tail}.", "{shout} {clause}.",
    ],
    "shout": ["{upper} {upper}:", "{upper}!", "NEW: the", "{upper} -", "UPDATE {small}:"],
    "short": [
        "{noun}s {past}.", "it {past}.", "why?", "no.", "{person} {past}.", "the {noun} {past}.", "{word} {word}.",
        "not {adjective}.",
    ],
    "dateline": [
        "{upper_city} ({acronym}) - ", "{upper_city}, {short_month} {small} — ", "{upper_city} — ",
        "{upper_city} (AP) — ", "{day}, {month} {small}: ", "{upper_city}, {city} (Reuters) - ", "By {person} - ",
    ],
}  # fmt: skip
