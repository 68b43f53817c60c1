"""Scraped pages of twelve invented sites (pages.txt). "~" opens the site's lines, the others are the article's."""

from pathlib import Path

import pytest

from common.sentences import sentences
from functions.summarize.condense import condense

TEXT = Path(__file__).with_name("pages.txt").read_text(encoding="utf-8")
PAGES = dict(page.split("\n", 1) for page in TEXT.removeprefix("=== ").split("\n\n=== "))


def count(text: str) -> int:
    return round(len(text) / 4.3)


def page(name: str) -> tuple[str, set[str]]:
    """The text of a page, and the sentences that are the site's."""
    lines = PAGES[name].strip().splitlines()
    of_site = {piece.strip() for line in lines if line.startswith("~") for piece in sentences(line[1:])}
    return "\n\n".join(line.removeprefix("~") for line in lines), of_site


@pytest.mark.parametrize("budget", [60, 100, 200])
@pytest.mark.parametrize("name", PAGES)
def test_what_a_site_puts_around_an_article_is_not_read_to_the_model(name: str, budget: int) -> None:
    text, of_site = page(name)
    kept = [piece.strip() for piece in sentences(condense(text, min(budget, count(text) - 1), count).text)]
    assert kept
    assert not of_site.intersection(kept)


def test_a_page_of_nothing_but_menus_still_gives_something() -> None:
    assert condense("Home | News | Sport\n\nSign in\n\nSubscribe now!\n\n" * 3, 8, count).text
