"""The fallback voice in ten locales, judged by a program that decodes all of the MP3."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from mutagen.mp3 import MP3

from tests.doubles.edge_server import SpeechCloud
from tests.functions.audio.conftest import SetAudio

# About what a reader takes for the sentence, in seconds.
SENTENCES = {
    "en-US-ChristopherNeural": ("The council will meet again on Tuesday morning.", (2.0, 4.5)),
    "en-GB-SoniaNeural": ("The council will meet again on Tuesday morning.", (2.0, 4.5)),
    "de-DE-KatjaNeural": ("Der Rat trifft sich am Dienstagmorgen wieder.", (2.0, 4.5)),
    "fr-FR-HenriNeural": ("Le conseil se réunira de nouveau mardi matin.", (2.0, 4.5)),
    "es-MX-DaliaNeural": ("El consejo se reunirá de nuevo el martes por la mañana.", (2.0, 5.0)),
    "pt-BR-AntonioNeural": ("O conselho se reunirá novamente na manhã de terça-feira.", (2.0, 5.0)),
    "hi-IN-SwaraNeural": ("परिषद की बैठक मंगलवार सुबह फिर होगी।", (1.5, 4.5)),
    "ar-EG-SalmaNeural": ("سيجتمع المجلس مرة أخرى صباح الثلاثاء.", (2.0, 6.0)),
    "zh-CN-XiaoxiaoNeural": ("理事会将于星期二上午再次开会。", (2.0, 6.0)),
    "ru-RU-DmitryNeural": ("Совет снова соберётся во вторник утром.", (2.0, 4.5)),
}


def decoded_seconds(path: Path) -> tuple[float, str]:
    """Of the sound that comes out of the whole file, and what the decoder had to say."""
    if shutil.which("ffmpeg"):
        # Errors: it warns of every MP3 without a header for its length, which no stream can have.
        command = ["ffmpeg", "-v", "error", "-err_detect", "explode", "-i", str(path)]
        command += ["-f", "s16le", "-ac", "1", "-ar", "24000", "-"]
    elif shutil.which("sox"):
        command = ["sox", str(path), "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", "24000", "-"]
    else:
        # Reads the headers of all frames.
        return float(MP3(path).info.length), ""
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    return len(done.stdout) / 48_000, done.stderr.decode()


@pytest.mark.parametrize("voice", SENTENCES)
def test_the_fallback_speaks_in_the_voices_language(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio, tmp_path: Path, voice: str
) -> None:
    set_audio(engine="espeak-ng")
    text, (least, most) = SENTENCES[voice]
    response = client.post("/audio", json={"text": text, "voice": voice})
    path = tmp_path / "spoken.mp3"
    path.write_bytes(response.content)
    length, complaints = decoded_seconds(path)
    assert least < length < most
    assert length == pytest.approx(len(response.content) / 6000, abs=0.1)
    assert complaints == ""
    assert cloud.handshakes == 0
