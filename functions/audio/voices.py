"""The voices that /audio may speak with, and the espeak-ng voice that stands in for each when the cloud is away.

A voice goes into the SSML as it is, so only names of a list may get that far: the bundled one below, which holds what
the cloud's own list named except Inuktitut, whose locale (`iu-Cans-CA`) edge-tts 7.3.1 cannot address, and what
`catalogue.py` has learnt from the cloud since.
"""

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Gender = Literal["Female", "Male"]

DEFAULT_VOICE = "en-US-ChristopherNeural"
# What edge-tts can address, and nothing that could end the attribute of the SSML it goes into.
NAME = re.compile(r"[a-z]{2,3}-[A-Z]{2,}-[A-Za-z][A-Za-z-]*Neural", re.ASCII)

# The espeak-ng voice of a locale, else of its language, else the language's own code. espeak-ng's `en` is British and
# its `fr` that of France. Languages that it lacks get their nearest kin that it has and whose script it reads; for
# Khmer and Lao there is none.
ESPEAK_VOICES = {
    "en-US": "en-us",
    "en-CA": "en-us",
    "en-PH": "en-us",
    "es-ES": "es",
    "es-GQ": "es",
    "es": "es-419",
    "fil": "id",
    "fr-BE": "fr-be",
    "fr-CH": "fr-ch",
    "gl": "es",
    "jv": "id",
    "km": "en-us",
    "lo": "en-us",
    "mn": "kk",
    "ps": "fa",
    "pt-BR": "pt-br",
    "so": "om",
    "su": "id",
    "zh-HK": "yue",
    "zh": "cmn",
    "zu": "tn",
}
# espeak-ng's voices are male; a variant of the vocal tract makes them female.
FEMALE_VARIANT = "+f2"

# locale | female voices | male voices; a full name is `<locale>-<name>Neural`.
TABLE = """
af-ZA | Adri | Willem
am-ET | Mekdes | Ameha
ar-AE | Fatima | Hamdan
ar-BH | Laila | Ali
ar-DZ | Amina | Ismael
ar-EG | Salma | Shakir
ar-IQ | Rana | Bassel
ar-JO | Sana | Taim
ar-KW | Noura | Fahed
ar-LB | Layla | Rami
ar-LY | Iman | Omar
ar-MA | Mouna | Jamal
ar-OM | Aysha | Abdullah
ar-QA | Amal | Moaz
ar-SA | Zariyah | Hamed
ar-SY | Amany | Laith
ar-TN | Reem | Hedi
ar-YE | Maryam | Saleh
az-AZ | Banu | Babek
bg-BG | Kalina | Borislav
bn-BD | Nabanita | Pradeep
bn-IN | Tanishaa | Bashkar
bs-BA | Vesna | Goran
ca-ES | Joana | Enric
cs-CZ | Vlasta | Antonin
cy-GB | Nia | Aled
da-DK | Christel | Jeppe
de-AT | Ingrid | Jonas
de-CH | Leni | Jan
de-DE | Amala Katja SeraphinaMultilingual | Conrad FlorianMultilingual Killian
el-GR | Athina | Nestoras
en-AU | Natasha | WilliamMultilingual
en-CA | Clara | Liam
en-GB | Libby Maisie Sonia | Ryan Thomas
en-HK | Yan | Sam
en-IE | Emily | Connor
en-IN | NeerjaExpressive Neerja | Prabhat
en-KE | Asilia | Chilemba
en-NG | Ezinne | Abeo
en-NZ | Molly | Mitchell
en-PH | Rosa | James
en-SG | Luna | Wayne
en-TZ | Imani | Elimu
en-US | Ana Aria Ava AvaMultilingual Emma EmmaMultilingual Jenny Michelle |
en-US | | Andrew AndrewMultilingual Brian BrianMultilingual Christopher Eric Guy Roger Steffan
en-ZA | Leah | Luke
es-AR | Elena | Tomas
es-BO | Sofia | Marcelo
es-CL | Catalina | Lorenzo
es-CO | Salome | Gonzalo
es-CR | Maria | Juan
es-CU | Belkys | Manuel
es-DO | Ramona | Emilio
es-EC | Andrea | Luis
es-ES | Elvira Ximena | Alvaro
es-GQ | Teresa | Javier
es-GT | Marta | Andres
es-HN | Karla | Carlos
es-MX | Dalia | Jorge
es-NI | Yolanda | Federico
es-PA | Margarita | Roberto
es-PE | Camila | Alex
es-PR | Karina | Victor
es-PY | Tania | Mario
es-SV | Lorena | Rodrigo
es-US | Paloma | Alonso
es-UY | Valentina | Mateo
es-VE | Paola | Sebastian
et-EE | Anu | Kert
fa-IR | Dilara | Farid
fi-FI | Noora | Harri
fil-PH | Blessica | Angelo
fr-BE | Charline | Gerard
fr-CA | Sylvie | Antoine Jean Thierry
fr-CH | Ariane | Fabrice
fr-FR | Denise Eloise VivienneMultilingual | Henri RemyMultilingual
ga-IE | Orla | Colm
gl-ES | Sabela | Roi
gu-IN | Dhwani | Niranjan
he-IL | Hila | Avri
hi-IN | Swara | Madhur
hr-HR | Gabrijela | Srecko
hu-HU | Noemi | Tamas
id-ID | Gadis | Ardi
is-IS | Gudrun | Gunnar
it-IT | Elsa Isabella | Diego GiuseppeMultilingual
ja-JP | Nanami | Keita
jv-ID | Siti | Dimas
ka-GE | Eka | Giorgi
kk-KZ | Aigul | Daulet
km-KH | Sreymom | Piseth
kn-IN | Sapna | Gagan
ko-KR | SunHi | HyunsuMultilingual InJoon
lo-LA | Keomany | Chanthavong
lt-LT | Ona | Leonas
lv-LV | Everita | Nils
mk-MK | Marija | Aleksandar
ml-IN | Sobhana | Midhun
mn-MN | Yesui | Bataa
mr-IN | Aarohi | Manohar
ms-MY | Yasmin | Osman
mt-MT | Grace | Joseph
my-MM | Nilar | Thiha
nb-NO | Pernille | Finn
ne-NP | Hemkala | Sagar
nl-BE | Dena | Arnaud
nl-NL | Colette Fenna | Maarten
pl-PL | Zofia | Marek
ps-AF | Latifa | GulNawaz
pt-BR | Francisca ThalitaMultilingual | Antonio
pt-PT | Raquel | Duarte
ro-RO | Alina | Emil
ru-RU | Svetlana | Dmitry
si-LK | Thilini | Sameera
sk-SK | Viktoria | Lukas
sl-SI | Petra | Rok
so-SO | Ubax | Muuse
sq-AL | Anila | Ilir
sr-RS | Sophie | Nicholas
su-ID | Tuti | Jajang
sv-SE | Sofie | Mattias
sw-KE | Zuri | Rafiki
sw-TZ | Rehema | Daudi
ta-IN | Pallavi | Valluvar
ta-LK | Saranya | Kumar
ta-MY | Kani | Surya
ta-SG | Venba | Anbu
te-IN | Shruti | Mohan
th-TH | Premwadee | Niwat
tr-TR | Emel | Ahmet
uk-UA | Polina | Ostap
ur-IN | Gul | Salman
ur-PK | Uzma | Asad
uz-UZ | Madina | Sardor
vi-VN | HoaiMy | NamMinh
zh-CN | Xiaoxiao Xiaoyi | Yunjian Yunxi Yunxia Yunyang
zh-CN-liaoning | Xiaobei |
zh-CN-shaanxi | Xiaoni |
zh-HK | HiuGaai HiuMaan | WanLung
zh-TW | HsiaoChen HsiaoYu | YunJhe
zu-ZA | Thando | Themba
"""


@dataclass(frozen=True)
class Voice:
    """`name` as edge-tts takes it, `espeak` as espeak-ng takes it (`en-us`, `de+f2`)."""

    name: str
    locale: str
    gender: Gender
    espeak: str


def voice(name: str, locale: str, gender: Gender) -> Voice:
    return Voice(name, locale, gender, _espeak_voice(locale, gender))


def _bundled() -> dict[str, Voice]:
    found: dict[str, Voice] = {}
    for row in TABLE.strip().splitlines():
        locale, female, male = (cell.strip() for cell in row.split("|"))
        names: dict[Gender, list[str]] = {"Female": female.split(), "Male": male.split()}
        for gender in names:
            for short in names[gender]:
                name = f"{locale}-{short}Neural"
                found[name] = voice(name, locale, gender)
    return found


def _espeak_voice(locale: str, gender: Gender) -> str:
    language = locale.partition("-")[0]
    stand_in = ESPEAK_VOICES.get(locale) or ESPEAK_VOICES.get(language) or language
    return stand_in + FEMALE_VARIANT if gender == "Female" else stand_in


BUNDLED = MappingProxyType(_bundled())
