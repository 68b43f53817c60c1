"""Parts of kept recordings: what `Range` means, and how a player seeks."""

import re
import socket
import threading
from contextlib import ExitStack

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.audio.errors import RangeNotSatisfiable
from functions.audio.formats import MP3, SOUNDS
from functions.audio.ranges import parsed
from functions.audio.service import places
from tests.conftest import problem, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud, seconds_of
from tests.functions.audio.conftest import SetAudio, seconds
from tests.functions.audio.sounds import decoded
from tests.strategies import joined

TEXT = "The committee met on Tuesday to talk about the new bridge over the river."
LONG = "The council of the town voted on Tuesday to build a library beside the old harbour. " * 230
UNSATISFIABLE = "unsatisfiable"
OTHERS = [name for name, wanted in SOUNDS.items() if wanted is not MP3]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=0-", range(10)),
        ("bytes=0-9", range(10)),
        ("bytes=3-5", range(3, 6)),
        ("bytes=9-", range(9, 10)),
        ("bytes=5-100", range(5, 10)),
        ("bytes=-3", range(7, 10)),
        ("bytes=-100", range(10)),
        ("Bytes=1-2", range(1, 3)),
        ("bytes= 1-2 ", range(1, 3)),
        ("bytes=,1-2, ,", range(1, 3)),
        ("bytes=0001-" + "9" * 5000, range(1, 10)),
        ("bytes=" + "0" * 5000 + "1-1", range(1, 2)),
        ("bytes=10-", UNSATISFIABLE),
        ("bytes=10-20", UNSATISFIABLE),
        ("bytes=" + "9" * 5000 + "-", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
        ("bytes=5-4", None),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes", None),
        ("", None),
        ("bytes=a-b", None),
        ("bytes=1", None),
        ("bytes=--1", None),
        ("bytes=+1-2", None),
        ("bytes=1 - 2", None),
        ("bytes=1_0-", None),
        ("bytes=٣-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0-,-1", None),
        ("items=0-1", None),
        ("bytes 0-1/10", None),
    ],
)
def test_what_a_range_means(value: str, expected: object) -> None:
    found: object
    try:
        found = parsed(value, 10)
    except RangeNotSatisfiable:
        found = UNSATISFIABLE
    assert found == expected


@given(
    joined(["bytes=", "0", "1", "19", "-", ",", " ", "\t", "=", "a", "٣", "bytes", "999999"], 12), st.integers(1, 30)
)
def test_a_range_is_inside_of_the_content_or_none(value: str, size: int) -> None:
    try:
        found = parsed(value, size)
    except RangeNotSatisfiable:
        return
    assert found is None or (found.step == 1 and 0 <= found.start < found.stop <= size)


@given(st.integers(0, 40), st.integers(0, 40) | st.none(), st.integers(1, 30))
def test_a_range_is_the_slice_it_names(first: int, last: int | None, size: int) -> None:
    content = bytes(range(size))
    try:
        found = parsed(f"bytes={first}-{'' if last is None else last}", size)
    except RangeNotSatisfiable:
        assert first >= size
        return
    if last is not None and last < first:
        assert found is None
    else:
        assert found is not None
        assert content[found.start : found.stop] == content[first : None if last is None else last + 1]


def ask(client: httpx.Client, text: str = TEXT, **headers: str) -> httpx.Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/audio", json={"text": text}, headers=told)


def got(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    return client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.usefixtures("cloud")
def test_a_player_seeks_in_what_was_made_as_safari_and_chromium_do(client: httpx.Client) -> None:
    made = ask(client)
    place, size = made.headers["content-location"], len(made.content)
    whole = got(client, place)
    assert (whole.status_code, whole.content) == (200, made.content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/mpeg"
    assert whole.headers["etag"] == made.headers["etag"]
    for value, part in [
        ("bytes=0-", range(size)),
        ("bytes=0-1", range(2)),
        ("bytes=500-", range(500, size)),
        ("bytes=-100", range(size - 100, size)),
        (f"bytes=100-{size + 100}", range(100, size)),
    ]:
        answer = got(client, place, range=value)
        assert answer.status_code == 206
        assert answer.content == made.content[part.start : part.stop]
        assert answer.headers["content-length"] == str(len(part))
        assert answer.headers["content-range"] == f"bytes {part.start}-{part.stop - 1}/{size}"
        assert answer.headers["content-type"] == "audio/mpeg"


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("path", ["/audio", "/v1/audio/speech"])
def test_a_post_for_a_kept_recording_may_ask_for_a_part(client: httpx.Client, path: str) -> None:
    wish = {"text": TEXT} if path == "/audio" else {"input": TEXT}
    made = client.post(path, json=wish)
    part = client.post(path, json=wish, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, made.content[10:20])
    assert part.headers["content-location"] == made.headers["content-location"]


@pytest.mark.usefixtures("cloud")
def test_a_range_outside_is_a_416_that_tells_the_size(client: httpx.Client) -> None:
    made = ask(client)
    for answer in (
        got(client, made.headers["content-location"], range=f"bytes={len(made.content)}-"),
        ask(client, range="bytes=-0"),
    ):
        assert answer.status_code == 416
        assert answer.headers["content-range"] == f"bytes */{len(made.content)}"
        assert problem(answer)["type"].endswith("range-not-satisfiable")


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("value", ["bytes=0-1,5-6", "bytes=5-4", "lines=1-2", "nonsense", ""])
def test_a_range_that_is_not_served_is_passed_over(client: httpx.Client, value: str) -> None:
    made = ask(client)
    answer = got(client, made.headers["content-location"], range=value)
    assert (answer.status_code, answer.content) == (200, made.content)


@pytest.mark.usefixtures("cloud")
def test_two_headers_with_a_range_are_passed_over(client: httpx.Client) -> None:
    made = ask(client)
    answer = client.get(made.headers["content-location"], headers=[("Range", "bytes=0-1"), ("Range", "bytes=5-6")])
    assert answer.status_code == 200


@pytest.mark.usefixtures("cloud")
def test_if_range_holds_for_these_very_bytes_only(client: httpx.Client) -> None:
    made = ask(client)
    place, tag = made.headers["content-location"], made.headers["etag"]
    assert got(client, place, range="bytes=0-1", if_range=tag).status_code == 206
    others = [f"W/{tag}", tag.strip('"'), tag.replace("-", ""), '"other"', "Fri, 27 Nov 2026 22:00:00 GMT", "", "*"]
    for other in others:
        assert got(client, place, range="bytes=0-1", if_range=other).status_code == 200
        # A range that is not looked at cannot be wrong.
        assert got(client, place, range="bytes=99999999-", if_range=other).status_code == 200


def test_another_run_has_another_tag(client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio) -> None:
    set_audio(answer_cache_bytes=0)
    first, second = ask(client), ask(client)
    assert len(cloud.turns) == 2
    assert first.headers["etag"] != second.headers["etag"]
    # Both say the same: who has the one needs not have the other.
    assert ask(client, if_none_match=first.headers["etag"]).status_code == 304
    # There is nothing that could be had again.
    assert "content-location" not in first.headers


def test_while_it_is_made_a_range_gets_all_of_it_and_who_was_cut_off_goes_on_later(
    client: httpx.Client, base_url: str, cloud: SpeechCloud
) -> None:
    cloud.fault = Fault.DRIP
    with (
        httpx.Client(base_url=base_url, trust_env=False) as leaving,
        client.stream("POST", "/audio", json={"text": TEXT}) as staying,
    ):
        rest = staying.iter_raw()
        sound = next(rest)
        headers = {"Range": "bytes=0-1"}
        with leaving.stream("POST", "/audio", json={"text": TEXT}, headers=headers) as streamed:
            assert streamed.status_code == 200
            assert "accept-ranges" not in streamed.headers
            heard = next(streamed.iter_raw())
            place, tag = streamed.headers["content-location"], streamed.headers["etag"]
        # Nothing is had before it is finished.
        assert problem(got(client, place))["status"] == 404
        cloud.drip_seconds = 0
        sound += b"".join(rest)
    resumed = got(client, place, range=f"bytes={len(heard)}-", if_range=tag)
    assert resumed.status_code == 206
    assert heard + resumed.content == sound
    assert seconds(sound) == pytest.approx(seconds_of(TEXT), abs=0.15)


@pytest.mark.usefixtures("cloud")
def test_who_has_it_is_told_so_before_any_range(client: httpx.Client) -> None:
    made = ask(client)
    place, tag = made.headers["content-location"], made.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        answer = got(client, place, if_none_match=known, range="bytes=0-1")
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] in known
    assert got(client, place, if_none_match='"other"', range="bytes=0-1").status_code == 206
    assert got(client, f"{place}?format=wav", if_none_match=tag).status_code == 200


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("path", ["", "?format=wav"])
def test_head_tells_what_get_would(client: httpx.Client, path: str) -> None:
    place = ask(client).headers["content-location"] + path
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999999-"}):
        head, get = client.head(place, headers=headers), client.get(place, headers=headers)
        assert head.status_code == get.status_code
        assert not head.content
        for told in (head, get):
            for name in ("x-request-id", "date", "transfer-encoding"):
                told.headers.pop(name, None)
        if get.status_code != 416:
            assert head.headers == get.headers


@pytest.mark.usefixtures("cloud")
@pytest.mark.parametrize("name", OTHERS)
def test_a_kept_recording_is_had_in_each_format_without_ranges(client: httpx.Client, name: str) -> None:
    made = ask(client, accept=SOUNDS[name].media_type)
    assert made.headers["content-location"].endswith(f"?format={name}")
    # A media element prefers a format of its own in `Accept`; the address tells which one it is.
    answer = got(client, made.headers["content-location"], range="bytes=0-1", accept="audio/webm,audio/mpeg;q=0.5")
    assert answer.status_code == 200
    assert "accept-ranges" not in answer.headers
    assert answer.headers["content-type"] == SOUNDS[name].media_type
    assert answer.headers["etag"].startswith("W/")
    assert decoded(answer.content, name).seconds == pytest.approx(seconds_of(TEXT), abs=0.15)


def test_an_unknown_format_is_named(client: httpx.Client) -> None:
    assert problem(client.get("/audio/recordings/0?format=vtt"))["errors"][0]["field"] == "format"


@pytest.mark.parametrize("name", ["0" * 40, "0", "zz", "%00", "ü", "a" * 5000, "..%2F..", " "])
def test_an_address_that_nobody_was_told_is_not_found(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/audio/recordings/{name}")
    assert answer.status_code == 404
    assert problem(answer)["title"]


def test_the_address_of_a_recording_tells_nothing_of_it(client: httpx.Client, cloud: SpeechCloud) -> None:
    places_told = {ask(client, text).headers["content-location"] for text in (TEXT, TEXT, f"{TEXT} ")}
    assert len(places_told) == len(cloud.turns) == 2
    assert all(re.fullmatch("/audio/recordings/[0-9a-f]{40}", place) for place in places_told)


def test_what_is_not_kept_any_more_is_to_be_asked_for_again(
    client: httpx.Client, cloud: SpeechCloud, set_audio: SetAudio
) -> None:
    made = ask(client)
    set_audio(answer_cache_bytes=len(made.content) + 20_000)
    ask(client, "Another text of about the same length, which drops the one that was there before it.")
    answer = got(client, made.headers["content-location"])
    assert answer.status_code == 404
    assert "POST /audio" in problem(answer)["detail"]
    assert ask(client).headers["content-location"] == made.headers["content-location"]
    assert got(client, made.headers["content-location"]).status_code == 200
    assert len(cloud.turns) == 3


def test_a_cut_recording_is_not_found(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault, cloud.messages_before = Fault.CLOSE_AFTER_AUDIO, 3
    with client.stream("POST", "/audio", json={"text": TEXT}) as streamed:
        place = streamed.headers["content-location"]
        with pytest.raises(httpx.RemoteProtocolError):
            streamed.read()
    assert got(client, place).status_code == 404


def test_a_stand_in_is_had_under_an_address_of_its_own(client: httpx.Client, cloud: SpeechCloud) -> None:
    cloud.fault = Fault.FORBIDDEN
    spoken = ask(client)
    cloud.fault = Fault.NONE
    said = ask(client)
    assert spoken.headers["x-audio-engine"] == "espeak-ng"
    assert got(client, spoken.headers["content-location"]).content == spoken.content
    assert got(client, said.headers["content-location"]).content == said.content


@pytest.mark.usefixtures("cloud")
def test_who_takes_nothing_of_a_kept_recording_holds_up_nobody(client: httpx.Client) -> None:
    made = ask(client, LONG)
    url = httpx.URL(client.base_url)
    with ExitStack() as deaf:
        for query in ("", "?format=wav"):
            opened = deaf.enter_context(socket.socket())
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            opened.connect((url.host, url.port))
            opened.sendall(f"GET {made.headers['content-location']}{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: places._held.total() == 2, "they are waited for")
        # They hold up nobody.
        assert got(client, made.headers["content-location"], range="bytes=0-1").status_code == 206
        with client.stream("GET", f"{made.headers['content-location']}?format=flac") as streamed:
            assert next(streamed.iter_raw()).startswith(b"fLaC")
    wait_until(lambda: places._held.total() == 0, "they are let go")


@pytest.mark.usefixtures("cloud")
def test_many_ask_for_parts_at_the_same_time(client: httpx.Client, base_url: str) -> None:
    made = ask(client)
    parts: list[bytes] = []

    def seek(number: int) -> None:
        with httpx.Client(base_url=base_url, trust_env=False) as other:
            answer = got(other, made.headers["content-location"], range=f"bytes={number * 100}-{number * 100 + 99}")
            parts.append(answer.content)

    threads = [threading.Thread(target=seek, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(parts) == sorted(made.content[at : at + 100] for at in range(0, 800, 100))
