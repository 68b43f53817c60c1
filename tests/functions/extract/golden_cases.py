"""The texts whose entities are recorded from the `gliner` package and compared with ours."""

from dataclasses import dataclass, field

DEFAULT_LABELS = ["Person", "Organization", "Location"]


@dataclass(frozen=True)
class Case:
    text: str
    labels: list[str] = field(default_factory=lambda: list(DEFAULT_LABELS))
    threshold: float = 0.5
    flat_ner: bool = True
    multi_label: bool = False


NEWS = [
    "Apple Inc. announced that Tim Cook will visit Paris.",
    "The European Central Bank left interest rates unchanged on Thursday, Christine Lagarde said in Frankfurt.",
    "Nokia shares fell 6 percent in Helsinki after the company cut its outlook for 2025.",
    "Police in Manchester arrested two men on Friday; neither was named.",
    "Maria Silva, a nurse from Porto, ran the race in 2:41:07.",
    "Heavy rain closed roads across Kerala and Tamil Nadu, the weather office said.",
    "It was a quiet day and nothing happened.",
    '"We did not expect this," said Dr. Amina Yusuf of the University of Lagos.',
    "Toyota and Panasonic will build a battery plant near Nagoya for $2.1 billion.",
    "BREAKING: Quake of magnitude 6.2 strikes off Honshu, no tsunami warning",
    "Jean-Luc Picard's cousin, Marie-Claire O'Neill, moved to Saint-Étienne.",
    "The U.N. envoy met King Abdullah II in Amman.",
    "Barcelona beat Real Madrid 3-1; Lewandowski scored twice.",
    "A spokesman for Lufthansa declined to comment.",
    "SpaceX launched 23 satellites from Cape Canaveral at 4:12 a.m. EDT.",
    "In Lima, Bogotá, Quito and La Paz, shops opened late.",
    "Anna Karlsson was born in Uppsala in 1974, studied at MIT and joined Ericsson.",
    "Ministers from Chile, Peru, Kenya and Japan met the head of the World Bank, Ajay Banga.",
    "The bill, drafted by Senator Ruiz, passed 61-38.",
    "Deutsche Bahn trains between Köln and Düsseldorf were delayed for hours.",
    "Who will replace Erik Ten Hag?",
    "Mr. and Mrs. Smith went to Washington.",
    "New York-based Acme Corp. hired Jane Doe, formerly of Globex, as CFO.",
    "Samsung's Galaxy S24 costs €899 in Germany, Reuters reported.",
    "He said yes.",
]
ODD = [
    "a",
    ".",
    "?!",
    "... --- ...",
    "()[]{}<>",
    "!!!???###",
    "12345",
    "  leading and trailing space  ",
    "tabs\tand\nnew\r\nlines in London",
    "🙂",
    "🎉🎉 Party in Berlin 🎉🎉",
    "Emma 👩‍🚀 flew to Mars 🚀 with NASA 🇺🇸.",
    "x" * 90,
    "snake_case_word and kebab-case-word by Guido van Rossum",
    "<<ENT>> Person <<SEP>> Tim Cook [SEP] Paris [CLS]",
    "<|eot_id|> Tim Cook <|eot_id|>",
    "東京でソニーが新製品を発表した。",
    "苹果公司宣布蒂姆·库克将访问巴黎。",
    "삼성전자는 서울에서 신제품을 발표했다.",
    "Ангела Меркель приехала в Москву.",
    "أعلنت شركة أرامكو في الرياض.",
    "Η Αθήνα και ο Γιώργος Παπαδόπουλος",
    "Zoë, Łukasz and Đorđe met in São Paulo, Kraków and Niš.",
    "e\u0301cole d\u2019E\u0301te\u0301 a\u0300 Besanc\u0327on",
    "APPLE INC. ANNOUNCED THAT TIM COOK WILL VISIT PARIS.",
    "apple inc. announced that tim cook will visit paris.",
    "http://example.com/a?b=c and mail@example.org by John",
    "$5m, €3.2bn and ¥900",
]
LONG_NEWS = " ".join(NEWS)

CASES = [
    *(Case(text) for text in NEWS),
    *(Case(text) for text in ODD),
    Case(NEWS[0], ["person"]),
    Case(NEWS[0], ["PERSON", "COMPANY", "CITY"]),
    Case(NEWS[0], ["Person", "person", "PERSON", "Human"], threshold=0.1),
    Case(NEWS[0], ["Location", "Organization", "Person"]),
    Case(NEWS[0], ["zebra crossing", "Ünïcödé"], threshold=0.05),
    Case(NEWS[8], ["Company", "City", "Amount of money", "Product", "Date"]),
    Case(NEWS[23], ["product", "price", "country", "news agency"], threshold=0.2),
    Case(NEWS[9], ["Event", "Location"], threshold=0.3),
    Case(NEWS[16], [f"label {number}" for number in range(24)], threshold=0.05),
    Case(LONG_NEWS),
    Case(LONG_NEWS, threshold=0.2),
    Case(LONG_NEWS, threshold=0.05),
    Case(LONG_NEWS, threshold=0.05, multi_label=True),
    Case(LONG_NEWS, threshold=0.05, flat_ner=False),
    Case(LONG_NEWS, threshold=0.05, flat_ner=False, multi_label=True),
    Case(LONG_NEWS, ["Person", "person", "PERSON"], threshold=0.1, multi_label=True),
    Case(LONG_NEWS.upper(), threshold=0.2),
    Case(NEWS[12], threshold=0.01, flat_ner=False),
    Case(NEWS[12], threshold=0.01, multi_label=True),
    Case(NEWS[10], threshold=0.99),
]
