"""What tells the lines of a web page around an article (menus, adverts, captions, bylines) from its sentences.

A logistic model over figures about a line and the lines beside it; `weights.csv` has one line for each name here. The
lists hold words of web pages, not lines. Figures that need English are 0 in other languages.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from functions.summarize.sentence_features import ends_with_stop
from functions.summarize.terms import FUNCTION_WORDS, Terms

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOWN = "share of its words that other sentences have"
NAMES = (
    "is a paragraph",
    "ends without a stop",
    "is a paragraph without a stop",
    "words missing to 12",
    "has at most 4 words",
    "is a paragraph of at most 8 words",
    "share of words with a capital, above the article's",
    "is in capitals",
    "separators",
    "words of web pages",
    "share of words of web pages",
    "words of web pages in a paragraph",
    "opens with an imperative of web pages",
    "words for you and us",
    "words of grammar missing",
    "has no verb of a report",
    "share of words with a digit",
    "has an address, a sign of rights or a tag",
    "has a colon in its first words",
    "opens as a byline",
    KNOWN,
    "has a short line without a stop beside it",
    "has quotation marks",
    "is an exclamation",
    "is the first line without a stop",
    "offers something",
)

# What no sentence of a report has that is a line of the page by its shape alone.
MARKS = (
    "is in capitals",
    "separators",
    "words of web pages",
    "opens with an imperative of web pages",
    "words for you and us",
    "has an address, a sign of rights or a tag",
    "has a colon in its first words",
    "opens as a byline",
    "is an exclamation",
    "offers something",
)
_MARKS = [NAMES.index(name) for name in MARKS]

# Words of menus, share lists, sign-ups, captions, notices and adverts, in the languages of many sites.
_SITE_WORDS = """
    account accept ad ads advert advertisement advertising advertiser agency alerts app apps archive article
    blog bookmark bookmarks browser caption click comment comments commented consent contact content cookie
    cookies copy copyright courtesy credit crossword deals digital disclaimer discount download editor edition
    email e-mail enable epaper essentials events explore facebook faq faqs feed follow follower footage free
    gallery games getty help home homepage horoscope image images inbox instagram javascript jobs join latest
    link linkedin links listen live log login logo logged loading mail member members membership menu messenger
    min mins minute minutes more most navigation newsletter newsletters next notifications obituaries offer
    offers online opinion page pages partner partners password permission photo photograph photographer
    photographs photos picture pictures play podcast podcasts poll popular popup post posted posts premium
    preferences previous print privacy product profile promo promoted promotion published puzzles rates rating
    read reader readers reading recommended reddit register related replies reply reprint reprinted reserved
    rights rss save scroll search sections settings share shares shop shopping sidebar sign signup site sitemap
    sky skip slideshow sponsor sponsored stories story subscribe subscribed subscriber subscribers subscription
    subscriptions supplied support tag tags tap tablet telegram terms tickets tiktok today topics top trending
    trial tv tweet twitter unlimited unlock unsubscribe updated updates upgrade video videos view views visit
    watch watchlist weather website weekly whatsapp widget youtube reuters afp shutterstock istock unsplash
    wikimedia handout epa pa anzeige werbung datenschutz impressum foto fotos bild mehr lesen weiterlesen auch
    teilen kommentare anmelden abonnieren abo startseite newsletter-anmeldung quelle nutzungsbedingungen
    akzeptieren publicité lire partager abonnez-vous inscrivez-vous connexion accueil commentaires crédit aussi
    mentions légales publicidad leer también compartir suscríbete suscríbase iniciar sesión inicio comentarios
    aviso derechos reservados publicidade leia também compartilhar assine cadastre-se entrar direitos
    comentários pubblicità leggi anche condividi iscriviti accedi commenti riservati reklam paylaş abone ayrıca
    oku giriş yorumlar
"""
SITE_WORDS = frozenset(_SITE_WORDS.split())
_IMPERATIVES = """
    accept add book browse buy call check choose claim click compare contact continue copy create discover
    donate download email enable enjoy enter explore find follow get give go grab hear help install join learn
    listen load log make manage meet order play read receive register report save scroll see send share shop
    show sign skip start stay subscribe support swipe switch take tap tell try turn unlock upgrade use view
    visit vote want watch win write lesen abonnieren folgen teilen lisez inscrivez abonnez suivez partagez lee
    suscríbete síguenos comparte leia assine siga leggi iscriviti segui
"""
IMPERATIVES = frozenset(_IMPERATIVES.split())
_OFFER = re.compile(
    r"\bfrom (?:just|only|as)\b|\boff\b|\bfree\b|\bdeals?\b|\bsave\b|\bbest\b|\btoday\b|\boffers?\b|\bper month\b"
    r"|/(?:month|week|year|mo)\b|\bonly [$€£]|\bexclusive\b|\btrial\b|\bdon['’]t miss\b|\bnever miss\b"
    r"|\bsell(?:ing)? fast\b",
    re.IGNORECASE,
)
_YOU = re.compile(r"\b(?:you|your|yours|us|our)\b", re.IGNORECASE)
_SEPARATOR = re.compile(r"[|»›→▸▶•·←‹/✓✕×★☆►⟩]|(?:\s[-–—>]\s)")
_ADDRESS = re.compile(r"@\w|\w@|https?:|www\.|\w\.(?:com|org|net|co|de|fr|es|io)\b|[©®™]|#\w|\(c\)", re.IGNORECASE)
_BYLINE = re.compile(
    r"(?:[Bb]y|BY|[Ww]ords|[Tt]ext|[Ww]ritten by|[Rr]eporting by|[Ee]diting by|Von|Par|Por|Di)[:\s]\s*[A-Z]\S+(?:\s|$)"
)
_LABEL = re.compile(r"\s*(?:[^\s:]+\s+){0,2}[^\s:]*:(?=\s|$)")
_QUOTES = re.compile('["“”„«»「」]')
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|will|would|could|may|might|says|said|did|does|told|\w{2,}ed|made|rose"
    r"|fell|won|lost|took|found|gave|came|went|put|cut|set|left|held|kept|began|saw|ran|met|paid|sold|built|sent|led"
    r"|grew|hit|became|fled|died|broke|\w{3,}(?:n't|n’t)|plans|wants|expects|runs|makes|takes|hopes|gives|opens|ends)\b"
)
# Only so much of a line is looked at: what is longer is a sentence or hopeless.
_LOOK = 400


def features(
    sentences: Sequence[str], paragraphs: "NDArray[np.intp]", terms: Terms, capitals: "NDArray[np.float64]"
) -> "NDArray[np.float64]":
    """A row for each sentence and a column for each of NAMES.

    `paragraphs`: which one each sentence is in. `capitals`: the share of its words with a capital.
    """
    n = len(sentences)
    lines = [sentence[:_LOOK] for sentence in sentences]
    alone = np.bincount(paragraphs, minlength=1)[paragraphs] == 1
    size = np.array([len(line.split()) + _unspaced_words(line) for line in lines], np.float64)
    stopless = np.array([not ends_with_stop(sentence) for sentence in sentences], bool)
    short_line = stopless & alone & (size <= 8)
    beside = np.zeros(n, bool)
    beside[1:] |= short_line[:-1]
    beside[:-1] |= short_line[1:]
    words = [[word.strip(".,:;!?()[]\"'“”‘’|»›•").lower() for word in line.split()] for line in lines]
    of_site = np.array([sum(word in SITE_WORDS for word in line) for line in words], np.float64)
    known = _known(terms, n)
    numbers = np.bincount(terms.sentence, weights=terms.is_number, minlength=n)
    first_stopless = np.zeros(n, bool)
    if stopless.any() and stopless[:2].any():
        first_stopless[int(np.argmax(stopless))] = True
    english = float(terms.is_english)
    grammar = np.array([sum(w in FUNCTION_WORDS for w in line) / max(1, len(line)) for line in words])
    columns = [
        alone,
        stopless,
        alone & stopless,
        np.maximum(0, 1 - size / 12),
        size <= 4,
        alone & (size <= 8),
        capitals - (capitals.mean() if n else 0),
        [line.isupper() and len(line) > 2 for line in lines],
        [min(3, len(_SEPARATOR.findall(line))) / 3 for line in lines],
        np.minimum(of_site, 4) / 4,
        of_site / np.maximum(size, 3),
        alone * np.minimum(of_site, 3) / 3,
        [next((w for w in line if w), "") in IMPERATIVES for line in words],
        [min(2, len(_YOU.findall(line))) / 2 for line in lines],
        english * np.maximum(0, 0.3 - grammar) / 0.3,
        [english * (_VERB.search(line) is None) for line in lines],
        numbers / np.maximum(size, 3),
        [_ADDRESS.search(line) is not None for line in lines],
        [_LABEL.match(line) is not None for line in lines],
        [_BYLINE.match(line) is not None for line in lines],
        known,
        beside,
        [_QUOTES.search(line) is not None for line in lines],
        [line.endswith("!") for line in lines],
        first_stopless,
        [min(2, len(_OFFER.findall(line))) / 2 for line in lines],
    ]
    return np.column_stack(columns).astype(np.float64)


def is_plain(figures: "NDArray[np.float64]") -> "NDArray[np.bool_]":
    """Of each row of `features` whether it is without any mark of a web page but its shape."""
    plain: NDArray[np.bool_] = (figures[:, _MARKS] == 0).all(axis=1)
    return plain


def _unspaced_words(line: str) -> int:
    return sum("\u3041" <= character <= "\u9fff" for character in line) // 2


def _known(terms: Terms, sentences: int) -> "NDArray[np.float64]":
    """Of each sentence the share of its words, without those of grammar, that another one has too."""
    sentence, term = terms.pairs
    counts = ~terms.of_grammar[term]
    known = np.bincount(sentence, weights=counts & (terms.frequency[term] > 1), minlength=sentences)
    return known / np.maximum(1, np.bincount(sentence, weights=counts, minlength=sentences))
