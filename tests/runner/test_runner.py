"""`python local_runner.py` as an operator uses it."""

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn

import local_runner
from tests.conftest import ROOT, Runner, problem, run_service, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."


def test_it_says_where_it_is_and_where_the_documentation_is(runner: Runner) -> None:
    first_line = runner.log_text().splitlines()[0]
    assert runner.url in first_line
    assert f"{runner.url}/docs" in first_line
    assert "embedded" in first_line


def test_help_lists_its_options() -> None:
    command = [sys.executable, str(ROOT / "local_runner.py"), "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(option in printed for option in ("--host", "--port", "--profile", "--reload"))


def test_a_port_in_use_is_said_in_a_line_and_ends_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, str(ROOT / "local_runner.py"), "--host", "127.0.0.1", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "already in use" in ended.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_works_from_any_folder(tmp_path: Path) -> None:
    with run_service(tmp_path / "log.txt") as runner:
        assert httpx.get(f"{runner.url}/docs").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", range(3))
def test_it_ends_cleanly_while_its_models_load(tmp_path: Path, number: signal.Signals, moment: int) -> None:
    with run_service(tmp_path / "log.txt") as runner:
        threading.Event().wait(0.03 * moment)
        runner.process.send_signal(number)
        assert runner.process.wait(15) == 0
    log = runner.log_text()
    assert not any(word in log for word in ("Traceback", "terminate called", "Fatal Python error")), log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_once_its_models_are_loaded(tmp_path: Path, number: signal.Signals) -> None:
    with run_service(tmp_path / "log.txt") as runner:
        wait_until(lambda: httpx.get(f"{runner.url}/health/ready").status_code == 200, "it is ready")
        runner.process.send_signal(number)
        assert runner.process.wait(15) == 0
    assert "Traceback" not in runner.log_text()


def test_what_is_under_way_is_finished_after_sigterm_and_nothing_new_begun(tmp_path: Path) -> None:
    with SpeechCloud() as cloud, run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url) as runner:
        cloud.fault = Fault.DRIP
        with httpx.stream("POST", f"{runner.url}/audio", json={"text": TEXT}, timeout=30) as response:
            pieces = response.iter_raw()
            received = next(pieces)
            runner.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refused(runner.url), "no new request is taken")
            assert not cloud.turns[0].ended.is_set()
            received += b"".join(pieces)
        assert runner.process.wait(15) == 0
    assert len(received) == pytest.approx(6000 * seconds_of(TEXT), rel=0.02)


def test_what_takes_too_long_after_sigterm_is_cut(tmp_path: Path) -> None:
    settings = {"DRAIN_SECONDS": 1, "AUDIO__BETWEEN_AUDIO_SECONDS": 60}
    with SpeechCloud() as cloud, run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url, **settings) as runner:
        cloud.fault = Fault.STALL
        with httpx.stream("POST", f"{runner.url}/audio", json={"text": TEXT}, timeout=30) as response:
            pieces = response.iter_raw()
            next(pieces)
            runner.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert runner.process.wait(15) == 0


def test_what_has_not_begun_to_answer_in_time_after_sigterm_is_a_503(tmp_path: Path) -> None:
    settings = {"DRAIN_SECONDS": 1, "AUDIO__PATIENCE_SECONDS": 60, "AUDIO__FIRST_AUDIO_SECONDS": 60}
    answers: list[httpx.Response] = []
    with SpeechCloud() as cloud, run_service(tmp_path / "log.txt", AUDIO__ENDPOINT=cloud.url, **settings) as runner:
        cloud.fault = Fault.MUTE

        def ask() -> None:
            answers.append(httpx.post(f"{runner.url}/audio", json={"text": TEXT}, timeout=30))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: bool(cloud.turns), "the cloud is asked")
        runner.process.send_signal(signal.SIGTERM)
        assert runner.process.wait(15) == 0
        thread.join(10)
    assert problem(answers[0])["status"] == 503
    assert answers[0].headers["retry-after"] == "1"


def test_sigterm_ends_a_start_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "local_runner.py"), "--port", "0"], stderr=log, stdout=log
        )
    wait_until(lambda: catches_sigterm(process.pid), "python runs the file")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", timeout=1)
    except httpx.TransportError:
        return True
    return False


def test_an_answer_on_a_connection_that_is_used_again_is_not_held_back() -> None:
    listener = local_runner.listen(uvicorn.Config("local_runner:app", host="127.0.0.1", port=0, log_config=None))
    listener.listen()
    with listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
