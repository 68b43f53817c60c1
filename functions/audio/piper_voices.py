"""Which voice of the hub's `rhasspy/piper-voices` speaks for a locale, with the licence that its MODEL_CARD tells.

    python -m functions.audio.piper_voices > docs/voices.md

Only voices whose card names a licence that allows any use of them; not those with "See URL", non-commercial or unknown
ones. The licence is that of the recordings. A voice may have been tuned from another one, which has a licence of its
own; the table says so. Voices whose phonemes are not espeak-ng's are left out, and those of many speakers, of whom
nobody tells who is who.
"""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from common.remote_files import HubFile
from functions.audio.voices import BUNDLED, Gender

REPOSITORY = "rhasspy/piper-voices"
_NABU_CASA = "https://github.com/NabuCasa/voice-datasets"
_KAZAKH = "https://github.com/IS2AI/Kazakh_TTS"
_FESTCAT = "https://collectivat.cat/asr#upc-festcat-tts-corpora"

# name | gender, where a source tells it | licence of the recordings | recordings | tuned from; else it was trained from
# scratch. The first of a locale is that of its language.
TABLE = f"""
ca_ES-upc_ona-medium | Female | CC-BY-SA-3.0 | {_FESTCAT} | lessac
ca_ES-upc_pau-x_low | Male | CC-BY-SA-3.0 | {_FESTCAT} |
cs_CZ-jirka-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
da_DK-talesyntese-medium | | CC0-1.0 | https://www.nb.no/sprakbanken/en/resource-catalogue/oai-nb-no-sbr-21/ | lessac
de_DE-thorsten-medium | Male | CC0-1.0 | https://github.com/thorstenMueller/Thorsten-Voice | lessac
el_GR-rapunzelina-low | Female | CC0-1.0 | https://www.kaggle.com/datasets/bryanpark/greek-single-speaker-speech-dataset | ryan
en_US-joe-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
en_US-ljspeech-medium | Female | public domain | https://keithito.com/LJ-Speech-Dataset/ |
en_GB-cori-medium | Female | public domain | https://librivox.org |
en_GB-northern_english_male-medium | Male | CC-BY-SA-4.0 | http://www.openslr.org/83/ | lessac
es_ES-davefx-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
es_MX-ald-medium | | Unlicense | https://huggingface.co/datasets/rmcpantoja/Ald_Mexican_Spanish_speech_dataset | davefx
fa_IR-amir-medium | Male | CC0-1.0 | https://datacula.com/tts-databases | lessac
fi_FI-harri-medium | Male | CC0-1.0 | https://www.kaggle.com/bryanpark/finnish-single-speaker-speech-dataset | lessac
fr_FR-siwis-medium | Female | CC-BY-4.0 | https://datashare.is.ed.ac.uk/handle/10283/2353 | lessac
hu_HU-anna-medium | Female | CC0-1.0 | {_NABU_CASA} | lessac
hu_HU-imre-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
kk_KZ-raya-x_low | | CC-BY-4.0 | {_KAZAKH} |
lv_LV-aivars-medium | Male | CC0-1.0 | https://huggingface.co/RaivisDejus/Piper-lv_LV-Aivars-medium | not told
nl_BE-nathalie-medium | Female | CC0-1.0 | https://github.com/rhasspy/dataset-voice-nathalie | lessac
nl_BE-rdh-medium | Male | CC0-1.0 | https://github.com/r-dh/dutch-vl-tts |
no_NO-talesyntese-medium | | CC0-1.0 | https://www.nb.no/sprakbanken/en/resource-catalogue/oai-nb-no-sbr-15/ | lessac
pl_PL-gosia-medium | Female | CC0-1.0 | {_NABU_CASA} | lessac
pl_PL-mc_speech-medium | | CC0-1.0 | https://www.kaggle.com/datasets/czyzi0/the-mc-speech-dataset | lessac
pt_BR-faber-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
pt_PT-tugão-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
ro_RO-mihai-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
ru_RU-dmitri-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
sk_SK-lili-medium | Female | CC0-1.0 | {_NABU_CASA} | lessac
sl_SI-artur-medium | Male | CC-BY-4.0 | https://huggingface.co/datasets/ppisljar/artur_studio_tts/ | not told
sv_SE-nst-medium | | CC0-1.0 | https://www.nb.no/sprakbanken/en/resource-catalogue/oai-nb-no-sbr-17/ |
tr_TR-fahrettin-medium | Male | CC0-1.0 | {_NABU_CASA} | lessac
uk_UA-lada-x_low | Female | Apache-2.0 | https://github.com/egorsmkv/ukrainian-tts-datasets/tree/main/lada |
vi_VN-vais1000-medium | Female | CC-BY-4.0 | https://ieee-dataport.org/documents/vais-1000-vietnamese-speech-synthesis-corpus | lessac
"""  # noqa: E501
# What the hub calls otherwise than the speech cloud.
LANGUAGES = {"no": "nb"}
TUNED_FROM = {
    "": "trained from scratch",
    "not told": "not told",
    "lessac": "en_US-lessac (recordings for research)",
    "ryan": "en_US-ryan (recordings CC-BY-NC-SA-4.0)",
    "davefx": "es_ES-davefx, and that from en_US-lessac",
}


PAGE = """\
# Voices without a cloud

<!-- Written by `python -m functions.audio.piper_voices > docs/voices.md`; a test compares. -->

While the speech cloud is away, [Piper](https://github.com/OHF-Voice/piper1-gpl) speaks {number} languages, with these
voices of the hub's [piper-voices](https://huggingface.co/rhasspy/piper-voices). The others are espeak-ng's. `GET
/audio/voices` says for each voice of the cloud which one is its `local` one. A voice has 21 to 63 MB and comes when
it is first needed, or ahead by `FACTORY_AUDIO__PIPER_PRELOAD`; `make run` brings `en_US-joe-medium` along.

The licence is that of the recordings, as the voice's card tells it; only voices are used whose card names one that
allows any use. Most of them were not trained from scratch: training began with another voice, whose recordings have
terms of their own. Whether these bind a voice that was tuned from it is an open question. Who wants none of them sets
`FACTORY_AUDIO__ENGINE` to `edge-tts` or `espeak-ng`. Where a licence asks for attribution, this table is it.

How they sound beside espeak-ng: the first 3 s of the same sentence, from 0 to 8 kHz, by `python -m
benchmarks.audio.picture`. The sentence takes espeak-ng 4.2 s at -21.3 dB of full scale (RMS), Piper 4.1 to 4.3 s at
about -21.5: no two of its recordings are the same.

![Spectrograms of espeak-ng and of Piper](audio-voices.svg)

| voice, with its card | speaks for | gender | licence | recordings | tuned from |
|---|---|---|---|---|---|
{rows}
"""


@dataclass(frozen=True)
class PiperVoice:
    """`name` as in `en_US-joe-medium`; `speaker` is the number of one in a model of several."""

    name: str
    gender: Gender | None
    licence: str
    recordings: str
    tuned_from: str
    speaker: int | None = None

    @property
    def locale(self) -> str:
        """As the speech cloud writes it: `en-US`."""
        language, region = self.name.partition("-")[0].split("_")
        return f"{LANGUAGES.get(language, language)}-{region}"

    @property
    def model(self) -> HubFile:
        locale, name, quality = self.name.split("-")
        language = locale.partition("_")[0]
        return HubFile(REPOSITORY, f"{language}/{locale}/{name}/{quality}/{self.name}.onnx")

    @property
    def config(self) -> HubFile:
        return HubFile(REPOSITORY, f"{self.model.file}.json")


@lru_cache(maxsize=1024)
def piper_voices(locale: str, gender: Gender) -> tuple[PiperVoice, ...]:
    """The voices of the language of a locale: first that of the locale, then of the gender."""
    return tuple(
        sorted(
            (voice for voice in VOICES.values() if _language(voice.locale) == _language(locale)),
            key=lambda voice: (voice.locale != locale, voice.gender != gender, voice.gender is not None),
        )
    )


def piper_voice(locale: str, gender: Gender) -> PiperVoice | None:
    """The first of them."""
    return next(iter(piper_voices(locale, gender)), None)


def _language(locale: str) -> str:
    return locale.partition("-")[0]


def _voices() -> dict[str, PiperVoice]:
    found: dict[str, PiperVoice] = {}
    for row in TABLE.strip().splitlines():
        name, gender, licence, recordings, tuned_from = (cell.strip() for cell in row.split("|"))
        known: Gender | None = "Female" if gender == "Female" else "Male" if gender == "Male" else None
        found[name] = PiperVoice(name, known, licence, recordings, tuned_from)
    return found


def page() -> str:
    """docs/voices.md."""
    chosen: dict[str, dict[str, None]] = {name: {} for name in VOICES}
    for voice in BUNDLED.values():
        if (found := piper_voice(voice.locale, voice.gender)) is not None:
            chosen[found.name][voice.locale] = None
    languages = {_language(voice.locale) for voice in VOICES.values()}
    rows = [
        f"| [`{voice.name}`]({_card(voice)}) | {', '.join(chosen[voice.name])} | {voice.gender or 'not told'} "
        f"| {voice.licence} | {voice.recordings} | {TUNED_FROM[voice.tuned_from]} |"
        for voice in VOICES.values()
    ]
    return PAGE.format(number=len(languages), rows="\n".join(rows))


def _card(voice: PiperVoice) -> str:
    return f"https://huggingface.co/{REPOSITORY}/blob/main/{quote(voice.model.file.rpartition('/')[0])}/MODEL_CARD"


VOICES = _voices()

if __name__ == "__main__":
    print(page(), end="")
