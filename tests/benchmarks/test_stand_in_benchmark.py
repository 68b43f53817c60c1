"""What the benchmarks of the stand-in compute by themselves: arrivals, shares read, the picture, the knee."""

import time
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.summarize import crowds, desk, hub, min_read, outcomes, picture, reading
from benchmarks.summarize.client import Answer
from benchmarks.summarize.sides import OURS, WITH_STAND_IN, choose

MAIN = "large"
SVG = "{http://www.w3.org/2000/svg}"


def answered(sent: float = 0.0, ended: float = 10.0, **others: Any) -> Answer:
    return Answer(sent, ended, **{"status": 200, "writer": MAIN, **others})


def refused(sent: float, ended: float) -> Answer:
    return Answer(sent, ended, status=503, error="503", retry_after=2.0)


def test_arrivals_are_even_and_the_same_for_the_same_seed() -> None:
    schedule = desk.arrivals(180, seed=8)
    assert len(schedule) == 36
    assert {after.at - before.at for before, after in pairwise(schedule)} == {5.0}
    assert all(desk.SHORTEST <= arrival.tokens <= desk.LONGEST for arrival in schedule)
    assert schedule == desk.arrivals(180, seed=8)
    assert schedule != desk.arrivals(180, seed=9)


def test_the_share_that_was_read_leaves_the_frame_out() -> None:
    whole = answered(prompt_tokens=150, input_tokens=100)
    part = answered(prompt_tokens=75, input_tokens=100, condensed=True)
    known = reading.frames_of([whole], [part])
    assert known == {MAIN: 50}
    assert reading.share_read(part, known) == pytest.approx(0.25)
    assert reading.mean_read([whole, part], known) == pytest.approx(0.625)


def test_a_writer_that_never_read_a_whole_article_is_taken_to_have_the_same_frame() -> None:
    whole = answered(prompt_tokens=150, input_tokens=100)
    other = answered(prompt_tokens=100, input_tokens=100, condensed=True, writer="small")
    assert reading.frames_of([whole], [other])["small"] == 50
    assert reading.share_read(other, {}) is None


def test_answers_are_counted_by_writer_and_client() -> None:
    chains = [[answered(), refused(10, 11), answered(13, 20, writer="small")], [answered()]]
    assert outcomes.by_stand_in(chains[0], MAIN) == 1
    assert outcomes.per_client(chains) == {"least": 1, "most": 2}
    figures = outcomes.outcomes_of(choose(OURS, 2)[0], [*chains[0], answered(0, 29)])
    assert figures["in_time"] == 2
    assert figures["late"] == 1
    assert figures["refused"] == 1
    assert figures["refusal_max"] == 1
    assert figures["lost"] == 0


def test_the_side_with_a_stand_in_is_there_where_one_is_given() -> None:
    with pytest.raises(SystemExit):
        choose(WITH_STAND_IN, 2)
    model = Path("small.gguf")
    side = choose(WITH_STAND_IN, 2, stand_in=model)[0]
    assert side.program(model, {}).environment["FACTORY_SUMMARIZE__STAND_IN"] == str(model)
    assert choose(OURS, 2)[0].program(model, {}).environment["FACTORY_SUMMARIZE__STAND_IN"] == "none"


def test_the_picture_has_a_row_for_each_client_and_every_phase_as_long_as_it_took() -> None:
    phases = {"queue": 2000.0, "prefill": 5000.0, "decode": 3000.0}
    chains = [
        [answered(100, 110, phases=phases), refused(111, 112)],
        [answered(101, 111, phases=phases, writer='<"small">')],
        [answered(155, 170, phases=phases)],
    ]
    root = ET.fromstring(picture.crowd(chains, MAIN))
    assert not list(root.iter(f"{SVG}script"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [text for text in texts if text and text.startswith("client")] == ["client 1", "client 2", "client 3"]
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    widths = [float(bar.attrib["width"]) for bar in bars[:3]]
    second = (picture.WIDTH - picture.LEFT - picture.RIGHT) / picture.SECONDS
    assert widths == pytest.approx([2 * second, 5 * second, 3 * second], abs=0.2)
    assert [bar.attrib["class"] for bar in bars[3:6]] == ["stand-in waiting", "stand-in reading", "stand-in writing"]
    ends = [float(bar.attrib["x"]) + float(bar.attrib["width"]) for bar in bars]
    assert max(ends) <= picture.WIDTH - picture.RIGHT + 0.2
    assert len([path for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]) == 1


def test_the_picture_of_nobody_is_one_too() -> None:
    assert ET.fromstring(picture.crowd([], MAIN)).tag == f"{SVG}svg"


def test_a_part_has_fewer_words_of_the_reference_than_the_whole() -> None:
    article = (
        "The bridge at Lindholm opened on Monday. It cost twelve million crowns. Nobody came from Arvika to see it."
    )
    points = min_read.curve([(article, "Lindholm bridge cost million crowns.")], len, (0.4, 1.0))
    assert [point.share for point in points] == [0.4, 1.0]
    assert points[0].read <= 0.4
    assert points[0].words < points[1].words == 1.0
    assert points[1].read == 1.0


def test_the_knee_is_where_the_curve_is_farthest_above_its_chord() -> None:
    words = [0.2, 0.6, 0.8, 0.85, 0.9]
    points = [
        min_read.Point(share, share, value) for share, value in zip((0.2, 0.4, 0.6, 0.8, 1.0), words, strict=True)
    ]
    assert min_read.knee(points) == points[2]


def test_the_hub_keeps_its_pace_over_all_that_ask() -> None:
    pace = hub.Pace(1e6)
    begun = time.monotonic()
    for _ in range(4):
        pace.wait(25_000)
    assert time.monotonic() - begun >= 0.1


def test_the_tables_name_each_figure_once() -> None:
    for rows in (crowds.ROWS, crowds.ANSWERS, desk.ROWS):
        assert len({row.key for row in rows}) == len(rows)
