"""The word lists of lexicon.toml, and the tables of Faker used as material for names."""

import importlib
import random
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

LOCALES = """
en_US en_GB en_IE en_IN en_NG en_KE en_NZ en_PK de_DE de_AT de_CH fr_FR fr_CA fr_BE es_ES es_MX es_AR es_CO
it_IT nl_NL nl_BE pl_PL pt_BR pt_PT sv_SE no_NO da_DK fi_FI tr_TR id_ID cs_CZ hu_HU ro_RO hr_HR et_EE lt_LT
sl_SI yo_NG ha_NG ig_NG zu_ZA sw en_TH tw_GH vi_VN az_AZ sk_SK
"""
LATIN = re.compile(r"^[A-ZÀ-ÖØ-ÞŁŚŠŽČĆĐĞİŞŐŰŻŹ][A-Za-zÀ-ÖØ-öø-ÿĀ-ſ'\- ]+$")


@cache
def _document() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "lexicon.toml").read_text(encoding="utf-8"))


@cache
def table(name: str, section: str = "") -> tuple[str, ...]:
    """The entries of one list of lexicon.toml."""
    block: str = (_document()[section] if section else _document())[name]
    return tuple(entry.strip() for entry in block.replace("\n", " ").split(";"))


def pick(rng: random.Random, name: str) -> str:
    return rng.choice(table(name))


@cache
def person_tables() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """First and last names by locale, Latin script only."""
    tables = {}
    for locale in LOCALES.split():
        try:
            provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        except ModuleNotFoundError:
            continue
        first, last = (_latin_names(provider, kind) for kind in ("first_names", "last_names"))
        if min(len(first), len(last)) > 15:
            tables[locale] = (first, last)
    return tables


def _latin_names(provider: type, kind: str) -> tuple[str, ...]:
    names: list[str] = []
    for suffix in ("", "_male", "_female", "_unisex"):
        value = getattr(provider, kind + suffix, ())
        names += [n for n in value if isinstance(n, str)] if isinstance(value, (tuple, list, dict)) else []
    return tuple(sorted({n.strip() for n in names if LATIN.match(n.strip()) and len(n) < 20}))


@cache
def common_words() -> tuple[str, ...]:
    """Common English words: fillers of the grammar, and material for brands made of dictionary words."""
    words = importlib.import_module("faker.providers.lorem.en_US").Provider.word_list
    return tuple(sorted({w for w in words if w.isalpha() and 4 <= len(w) <= 9}))


@cache
def job_titles() -> tuple[str, ...]:
    jobs = importlib.import_module("faker.providers.job.en_US").Provider.jobs
    return tuple(sorted({job.split(",")[0].lower() for job in jobs if "/" not in job and "(" not in job}))
