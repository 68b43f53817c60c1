"""The table of Piper voices: who speaks for whom, and under which licence."""

import pytest

from functions.audio.piper_voices import REPOSITORY, TUNED_FROM, VOICES, page, piper_voice
from functions.audio.voices import BUNDLED, Gender
from tests.conftest import ROOT

# None of them forbids a use.
LICENCES = {"CC0-1.0", "public domain", "Unlicense", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "Apache-2.0"}


def test_at_least_twenty_languages_have_one() -> None:
    assert len({voice.locale.partition("-")[0] for voice in VOICES.values()}) >= 20


@pytest.mark.parametrize("voice", VOICES.values(), ids=lambda voice: voice.name)
def test_each_voice_is_a_file_of_the_hub_with_a_licence_that_allows_its_use(voice: object) -> None:
    from functions.audio.piper_voices import PiperVoice

    assert isinstance(voice, PiperVoice)
    assert voice.licence in LICENCES
    assert voice.tuned_from in TUNED_FROM
    assert voice.recordings.startswith("http")
    assert voice.model.repo == REPOSITORY
    assert voice.model.file.endswith(f"/{voice.name}.onnx")
    assert voice.config.file == f"{voice.model.file}.json"


def test_a_voice_speaks_its_own_language_only() -> None:
    spoken = [(voice, piper_voice(voice.locale, voice.gender)) for voice in BUNDLED.values()]
    assert all(local.locale.partition("-")[0] == voice.locale.partition("-")[0] for voice, local in spoken if local)
    assert any(local is None for _, local in spoken)


@pytest.mark.parametrize(
    ("locale", "gender", "name"),
    [
        ("en-US", "Male", "en_US-joe-medium"),
        ("en-US", "Female", "en_US-ljspeech-medium"),
        ("en-GB", "Female", "en_GB-cori-medium"),
        ("en-AU", "Male", "en_US-joe-medium"),
        # Of the locale rather than of the gender.
        ("de-DE", "Female", "de_DE-thorsten-medium"),
        ("de-AT", "Female", "de_DE-thorsten-medium"),
        ("pt-PT", "Female", "pt_PT-tugão-medium"),
        ("nb-NO", "Female", "no_NO-talesyntese-medium"),
        ("km-KH", "Female", None),
    ],
)
def test_who_speaks_for_whom(locale: str, gender: Gender, name: str | None) -> None:
    found = piper_voice(locale, gender)
    assert (found.name if found else None) == name


def test_the_page_of_voices_is_what_the_table_says() -> None:
    assert (ROOT / "docs/voices.md").read_text(encoding="utf-8") == page(), "write it anew; its head says how"
