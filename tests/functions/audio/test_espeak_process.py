"""What becomes of the service, and of other recordings, when a text makes espeak-ng fail."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from functions.audio import confined_process, espeak
from functions.audio.confined_process import CannotSpeak
from functions.audio.errors import SpeechFailed
from functions.audio.espeak import EspeakSpeech, speakers
from functions.audio.espeak_process import Manner, Sound, Speakers
from functions.audio.schemas import AudioRequest
from tests.conftest import ROOT, problem, run_service, wait_until

TEXT = "A new library will be built."
# Each makes espeak-ng 1.52 write where it must not (public reports: espeak-ng/espeak-ng 831, 2495, 2489, 1827).
DEADLY = ["---\u0905\u0928\u0941\u091a\u094d\u091b\u0947\u0926", "s'" * 70, "a." * 200]
NORMAL = Manner("en-us", 175, 100, 50)
NO_LIMIT = float("inf")


def pids(speakers: Speakers) -> list[int]:
    """Of the process at work and of the one in reserve."""
    return [child._process.pid for child in (speakers._at_work, speakers._spare) if child is not None]


@pytest.fixture
def own() -> Iterator[Speakers]:
    made = Speakers(espeak._paths)
    yield made
    made.end()


def seconds(of: Speakers, text: str, manner: Manner = NORMAL) -> float:
    heard: list[Sound] = []
    of.say(manner, text, heard.append)
    return sum(len(sound.samples) for sound in heard) / 2 / 22_050


async def recording(text: str) -> bytes:
    stream = EspeakSpeech().stream(AudioRequest(text=text), NO_LIMIT)
    return b"".join([piece async for piece in stream if isinstance(piece, bytes)])


@pytest.mark.parametrize("text", DEADLY, ids=ascii)
def test_a_text_that_kills_espeak_ng_fails_and_no_other_does(own: Speakers, text: str) -> None:
    with pytest.raises(CannotSpeak, match="signal"):
        seconds(own, text)
    assert seconds(own, TEXT) == pytest.approx(1.6, abs=0.5)


def test_the_part_that_killed_it_is_remembered_and_costs_no_process_again(own: Speakers) -> None:
    with pytest.raises(CannotSpeak):
        seconds(own, DEADLY[0])
    before = pids(own)
    with pytest.raises(CannotSpeak, match="signal"):
        seconds(own, DEADLY[0])
    assert pids(own) == before
    # In another manner it is another part.
    with pytest.raises(CannotSpeak):
        seconds(own, DEADLY[0], Manner("en-us", 176, 100, 50))
    assert pids(own) != before


def test_who_speaks_when_an_earlier_text_has_done_the_damage_is_heard_all_the_same(own: Speakers) -> None:
    seconds(own, TEXT)
    os.kill(pids(own)[0], signal.SIGKILL)
    assert seconds(own, "Another sentence of the same kind.") > 1


def test_a_process_that_hangs_is_replaced(own: Speakers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined_process, "SILENCE_SECONDS", 0.2)
    seconds(own, TEXT)
    hung = pids(own)[0]
    os.kill(hung, signal.SIGSTOP)
    assert seconds(own, TEXT) > 1
    assert hung not in pids(own)
    assert not Path(f"/proc/{hung}").exists()


def test_recordings_are_whole_while_the_processes_are_killed_again_and_again() -> None:
    over = threading.Event()

    def killer() -> None:
        killed = set[int]()
        while not over.wait(0.01) and len(killed) < 5:
            for pid in set(pids(speakers)[:1]) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                # Until the next one is at work with what this one was at.
                over.wait(1)

    async def together() -> list[bytes | BaseException]:
        wishes = (recording(f"{TEXT} It is number {number}.") for number in range(20))
        return await asyncio.gather(*wishes, return_exceptions=True)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        made = asyncio.run(together())
    finally:
        over.set()
        thread.join()
    # One that was killed twice within a part counts as unspeakable.
    assert sum(isinstance(one, bytes) and len(one) > 10_000 for one in made) >= 15
    assert all(isinstance(one, bytes | SpeechFailed) for one in made)
    speakers.end()


def test_no_descriptor_and_no_zombie_is_left_of_many_that_died(own: Speakers) -> None:
    seconds(own, TEXT)
    seen = set(pids(own))
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        os.kill(pids(own)[0], signal.SIGKILL)
        seconds(own, TEXT)
        seen |= set(pids(own))
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1
    assert {pid for pid in seen if Path(f"/proc/{pid}").exists()} == set(pids(own))


def test_the_process_may_read_its_own_data_and_do_nothing_else() -> None:
    code = f"""
import os, socket, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from functions.audio.confinement import confine
readable = {str(ROOT / "functions")!r}
missing = confine(readable, 1 << 30, 16)
def can(work):
    try:
        work()
        return True
    except OSError:
        return False
print(missing == [], can(lambda: open(readable + "/audio/pieces.py").read()), can(lambda: open("/etc/passwd").read()),
      can(lambda: open(readable + "/new", "w")), can(lambda: open("/tmp/new", "w")), can(socket.socket),
      can(lambda: os.kill(os.getppid(), 0)), can(os.fork), can(lambda: os.execv("/bin/true", ["true"])))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    complete, own_data, *forbidden = ran.stdout.split()
    assert own_data == "True"
    # A kernel without Landlock or seccomp cannot refuse all of it; what is missing is told.
    assert forbidden == ["False"] * 7 or complete == "False"


def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from functions.audio.espeak import speakers
speakers.start()
print(speakers._at_work._process.pid, speakers._spare._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    started = ran.stdout.split()
    assert len(started) == 2
    wait_until(lambda: not any(alive(pid) for pid in started), "the processes end")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_service_outlives_deadly_texts_and_never_holds_the_library_itself(tmp_path: Path) -> None:
    with run_service(tmp_path / "log.txt", AUDIO__ENGINE="espeak-ng") as service:
        for text in DEADLY:
            try:
                response = httpx.post(f"{service.url}/audio", json={"text": text}, timeout=20)
            except httpx.RemoteProtocolError:
                # It was cut, as some of it was heard before.
                continue
            assert response.status_code == 502, text
            assert problem(response)["title"] == "The text could not be spoken"
        assert "Traceback" not in service.log_text()
        begun = time.monotonic()
        response = httpx.post(f"{service.url}/audio", json={"text": TEXT}, timeout=20)
        assert response.status_code == 200
        assert time.monotonic() - begun < 10
        assert "espeak" not in Path(f"/proc/{service.process.pid}/maps").read_text()
        assert service.process.poll() is None
