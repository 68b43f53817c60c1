"""The kinds of entities that the articles are marked with, and the words that people ask for them with."""

COARSE = ("person", "organization", "location", "date", "money", "product", "event")

# Kind: the class that it belongs to ("" is none of the seven), and words for it.
_TABLE = """
company | organization | company; firm; business; corporation; company name; enterprise; commercial company;
    manufacturer
agency | organization | government agency; agency; ministry; government body; public authority; authority;
    government department
bank | organization | bank; financial institution; lender
school | organization | school; university; college; academic institution; educational institution; research institute
hospital | organization | hospital; clinic; medical centre; healthcare provider
club | organization | sports team; team; club; football club; sports club
league | organization | league; sports league; federation; governing body; sports association
newspaper | organization | newspaper; media; news organization; media outlet; publication; broadcaster;
    publisher; news agency
party | organization | political party; party; political organization
union | organization | union; trade union; labour union
band | organization | band; orchestra; musical group; music group; theatre company
museum | organization | museum; gallery; cultural institution
court | organization | court; tribunal; court of law
ngo | organization | charity; NGO; non-profit; non-governmental organization; campaign group; association
org | organization | international organization; council; committee; body; group
country | location | country; nation; state; country name; sovereign state
city | location | city; town; city name; city or town; village; municipality
region | location | region; state; province; continent; area; county
facility | location | facility; building; airport; venue; stadium; landmark; structure; station
road | location | road; street; highway; street name
water | location | river; body of water; lake; sea; river or lake
mountain | location | mountain; mountain range; peak
celestial | location | planet; celestial body; astronomical object
loc | location | geographical feature; geographic location; natural feature
software | product | software; app; application; AI model; operating system; online service
device | product | device; gadget; machine; electronic device; phone; hardware
vehicle | product | vehicle; ship; aircraft; car model; spacecraft; vessel; car
drug | product | drug; medicine; vaccine; medication; treatment
book | product | book; novel; book title; title of a book
film | product | film; movie; series; TV show; film title
song | product | song; album; musical work; opera; song title
journal | product | journal; scientific journal; newsletter
game | product | game; video game; board game
food | product | food; drink; beverage; food product
tournament | event | tournament; competition; championship; race; sporting event; sports event; cup
festival | event | festival; conference; fair; summit; conference or festival; exhibition
storm | event | storm; natural disaster; hurricane; earthquake; disaster
case | event | legal case; court case; lawsuit; law case
award | event | award; prize; honour
operation | event | military operation; operation; mission; police operation
war | event | war; conflict; battle
election | event | election; vote; referendum
nationality | | nationality; NORP; demonym; nationality or ethnicity; ethnic group; people group
language | | language; spoken language; language name
title | | job title; position; title; occupation; profession; role; office; job
law | | law; act; legislation; treaty; regulation; legal document
species | | species; animal; plant; animal or plant
percentage | | percentage; percent; share; rate
duration | | duration; length of time; period; time span
age | | age; person's age; years of age
time | | time of day; clock time; hour; time
quantity | | quantity; measurement; amount with unit; size; weight; distance
disease | | disease; illness; medical condition; disorder
religion | | religion; faith; religious group
substance | | substance; chemical; material; chemical element
score | | score; result; final score; sports result
"""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "person": (
        *("person", "name", "full name", "person name", "individual", "PER", "human", "people", "name of a person"),
        "human being",
    ),
    "organization": (
        *("organization", "organisation", "ORG", "institution", "company or organization", "organization name"),
        "company, agency or institution",
    ),
    "location": (
        *("location", "place", "LOC", "GPE", "geographical location", "geopolitical entity", "location name"),
        *("geographic place", "place name"),
    ),
    "date": ("date", "date or time", "calendar date", "day", "point in time", "when", "temporal expression"),
    "money": (
        *("money", "amount of money", "sum of money", "price", "monetary value", "currency amount", "cost"),
        "financial amount",
    ),
    "product": ("product", "product name", "commercial product", "product or work", "brand of product"),
    "event": ("event", "named event", "event name", "occasion", "happening"),
}
CLASS: dict[str, str] = {kind: kind for kind in COARSE}
for _line in _TABLE.strip().replace("\n    ", " ").splitlines():
    _kind, _class, _words = (part.strip() for part in _line.split("|"))
    CLASS[_kind] = _class
    SYNONYMS[_kind] = tuple(word.strip() for word in _words.split(";"))

FINE = {name: tuple(kind for kind in SYNONYMS if CLASS[kind] == name and kind != name) for name in COARSE}
OTHER = tuple(kind for kind in SYNONYMS if not CLASS[kind])
# What neither the articles nor the generated sentences hold.
ABSENT = (
    *("phone number", "email address", "URL", "IP address", "gene", "programming language", "file name", "weapon"),
    *(
        "account number",
        "credit card number",
        "body part",
        "symptom",
        "ISBN",
        "postal code",
        "passport number",
        "skill",
    ),
    *("protein", "chemical formula", "colour", "hashtag", "username", "licence plate", "mathematical term"),
)
