"""Direct invocations: one item, and batches of which no item is lost, none is done twice, and all keep their order."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from common import quotas
from common.aws_lambda import LambdaHandler
from common.errors import InvalidInput, QueueFull, Unavailable
from common.http.app import create_app
from common.invocations import BATCH_BYTES, Batch, Invocation, Pace
from common.items import Direct, name_of, object_key, size_of
from tests.conftest import SettingsEnv, lambda_event

NOT_DONE = "urn:problem-type:factory:not-done"
router = APIRouter()
seen: list[str] = []


class Wish(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, Field(min_length=1)]
    times: int = 1
    share: float | None = None
    loud: bool = False
    labels: list[str] = []


class Limits:
    requests_per_minute = 1
    characters_per_minute = 3


quotas.metered("repeat", "/repeat", limits=Limits)


@router.post("/repeat")
async def repeat(wish: Wish) -> Response:
    quotas.charge_characters("repeat", len(wish.text), "text")
    seen.append(wish.text)
    if wish.text == "busy":
        raise QueueFull("the queue is full", 3)
    if wish.text == "broken":
        raise RuntimeError("nobody expected this")
    if wish.text == "endless":
        await asyncio.Event().wait()
    if wish.text == "sound":
        return Response(b"\x00" * wish.times, media_type="audio/mpeg", headers={"x-engine": "bells"})
    return Response(json.dumps({"said": wish.text * wish.times, **wish.model_dump()}), media_type="application/json")


app = create_app(router)
direct = Direct("/repeat", Wish, lambda: 2, told={"x-engine": "engine"}, too_large="ask for less")
handler = LambdaHandler(app, direct)


@dataclass
class Context:
    """`left` is what of the time there is, in seconds."""

    left: Callable[[], float]
    aws_request_id: str = "3f2a"

    def get_remaining_time_in_millis(self) -> int:
        return round(self.left() * 1000)


def seconds_left(seconds: float) -> Context:
    return Context(lambda: seconds)


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """The one that Mangum finds on the thread."""
    seen.clear()
    quotas.forget()
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        yield
        asyncio.set_event_loop(None)


def ask(*items: Any, shared: object = None, before: object = None, context: object = None) -> dict[str, Any]:
    event = {"Items": list(items), "BatchInput": shared or {}, "Results": before or []}
    answer: dict[str, Any] = handler(event, context or seconds_left(60))
    return answer


def asked(
    texts: list[str], pace: Pace, context: Context, before: object = None, *, is_measured: bool = True
) -> dict[str, Any]:
    """`is_measured`: the pace is that of this invocation, and not of one before it."""
    event = {"Items": [{"id": text, "text": text} for text in texts], "Results": before}
    batch = Batch.of(event, Invocation(app, direct, context, 10**6), pace)
    if is_measured:
        batch.measured = replace(pace)
    return asyncio.get_event_loop().run_until_complete(batch.progress())


def test_one_item_is_the_body_of_a_request_with_an_id() -> None:
    assert handler({"id": "a-1", "text": "ho", "times": 2}, seconds_left(60)) == {
        "id": "a-1",
        "answer": {"said": "hoho", "text": "ho", "times": 2, "share": None, "loud": False, "labels": []},
    }


def test_one_item_that_is_bad_has_its_problem_details() -> None:
    result = handler({"text": "ho", "times": "2", "tims": 3}, seconds_left(60))
    assert [error["field"] for error in result["problem"]["errors"]] == ["times", "tims"]
    assert (result["problem"]["status"], result["problem"]["instance"]) == (422, "3f2a")
    assert result["id"] == handler({"text": "ho", "times": "2", "tims": 3}, None)["id"]


def test_one_answer_over_lambdas_limit_is_a_problem() -> None:
    result = handler({"text": "x" * 1000, "times": 7000}, None)
    assert result["problem"]["type"] == "urn:problem-type:factory:answer-too-large"


def test_a_batch_keeps_the_order_and_no_bad_item_loses_another() -> None:
    items = [{"id": 7, "text": "a"}, "no object", {"id": "b"}, {"id": "c", "text": "broken"}, {"id": "d", "text": "d"}]
    answer = ask(*items)
    assert answer["NotDone"] == 0
    ids = [result["id"] for result in answer["Results"]]
    assert ids == [7, name_of("no object"), "b", "c", "d"]
    assert [result.get("problem", {}).get("status") for result in answer["Results"]] == [None, 422, 422, 500, None]
    assert answer["Results"][1]["problem"]["detail"] == "item: must be an object"
    assert "nobody expected" not in json.dumps(answer)


def test_an_item_without_an_id_has_one_of_its_content() -> None:
    first, second, again = (ask({"text": text})["Results"][0]["id"] for text in ("a", "b", "a"))
    assert first == again != second
    assert len(first) == 16


def test_columns_of_csv_become_what_the_schema_takes() -> None:
    row = {"text": "12", "times": "2", "share": "0.5", "loud": "True", "labels": '["a"]', "title": "x", "id": ""}
    (result,) = ask(row)["Results"]
    assert result["answer"] == {"said": "1212", "text": "12", "times": 2, "share": 0.5, "loud": True, "labels": ["a"]}
    (result,) = ask({"text": "12", "times": "", "share": ""})["Results"]
    assert (result["answer"]["times"], result["answer"]["share"]) == (1, None)


@pytest.mark.parametrize("value", ["two", "1.5", "NaN", "2 "])
def test_a_column_that_is_no_number_is_told_by_the_schema(value: str) -> None:
    (result,) = ask({"text": "a", "times": value})["Results"]
    if value == "2 ":
        assert result["answer"]["times"] == 2
    else:
        assert result["problem"]["errors"][0]["field"] == "times"


def test_shared_fields_hold_unless_an_item_has_its_own_and_are_checked_as_they_are() -> None:
    results = ask({"text": "a"}, {"text": "b", "times": 3}, shared={"times": 2})["Results"]
    assert [result["answer"]["said"] for result in results] == ["aa", "bbb"]
    (result,) = ask({"text": "a"}, shared={"tmies": 2})["Results"]
    assert result["problem"]["errors"] == [{"field": "tmies", "detail": "unknown field"}]


def test_what_is_done_is_not_done_again() -> None:
    first = ask({"id": 1, "text": "a"}, {"id": 2, "text": "busy"}, {"id": 3})
    assert (first["NotDone"], seen) == (1, ["a", "busy"])
    seen.clear()
    second = ask({"id": 1, "text": "a"}, {"id": 2, "text": "now"}, {"id": 3}, before=first["Results"])
    assert (second["NotDone"], seen) == (0, ["now"])
    assert [result["id"] for result in second["Results"]] == [1, 2, 3]
    assert second["Results"][0] == first["Results"][0]


def test_a_batch_of_which_nothing_can_be_done_fails_so_that_it_is_tried_again_later() -> None:
    with pytest.raises(Unavailable, match="none of 2 items could be done; of the first: the queue is full"):
        ask({"text": "busy"}, {"text": "busy"})
    # Even when others were done before.
    first = ask({"text": "a"}, {"text": "busy"})
    with pytest.raises(Unavailable):
        ask({"text": "a"}, {"text": "busy"}, before=first["Results"])


def test_near_the_end_of_the_time_the_rest_is_not_done() -> None:
    # There is time for one that may take 30 s, and then for none.
    context = Context(lambda: 20.0 if seen else 31.0)
    answer = asked(["a", "b", "c", "d"], Pace(30.0, 10**6), context)
    assert answer["NotDone"] == 3
    assert [result.get("problem", {}).get("type") for result in answer["Results"]] == [None, *[NOT_DONE] * 3]
    rest = asked(["a", "b", "c", "d"], Pace(), seconds_left(60), answer["Results"])
    assert (rest["NotDone"], sorted(seen)) == (0, ["a", "b", "c", "d"])


def test_what_this_invocation_measures_goes_before_what_the_last_one_did() -> None:
    # The first one is quick: there is time for all.
    slow = Pace(30.0, 10)
    assert asked(["a", "b", "c", "d"], slow, Context(lambda: 20.0 if seen else 31.0), is_measured=False)["NotDone"] == 0
    assert slow.seconds is not None
    assert slow.seconds < 1


def test_every_invocation_brings_a_batch_on_however_little_time_there_is() -> None:
    results: object = None
    for left in (2, 1, 0):
        answer = asked(["a", "b", "c"], Pace(30.0, 10**6), seconds_left(1.01), results)
        assert answer["NotDone"] == left
        results = answer["Results"]
    assert seen == ["a", "b", "c"]


def test_a_larger_item_is_expected_to_take_longer_and_so_is_one_beside_others() -> None:
    pace = Pace()
    assert pace.expected(100, 0) is None
    pace.add(2.0, 100, 0)
    pace.add(1.0, 50, 0)
    assert (pace.expected(10, 0), pace.expected(300, 0), pace.expected(100, 3)) == (2.0, 6.0, 8.0)
    # Four at the same time: each would have taken two seconds alone.
    pace.add(8.0, 100, 3)
    assert pace.expected(100, 0) == 2.0
    pace.add(9.0, 100, 2)
    assert pace.expected(100, 0) == 3.0


def test_items_wait_for_each_other_where_there_is_no_time_for_them_at_once() -> None:
    most_at_work = []
    for seconds in (25.0, 15.0):
        batch = Batch.of({"Items": [{"text": "a"}] * 6}, Invocation(app, direct, seconds_left(seconds), 10**6), Pace())
        # Alone 10 s: in 24 two fit beside each other, in 14 one.
        batch.measured = Pace(10.0, 10**6)
        held = [0]

        async def count(batch: Batch, held: list[int]) -> None:
            while batch.finished < len(batch.items):
                held[0] = max(held[0], batch.at_work)
                await asyncio.sleep(0)

        async def both(batch: Batch, held: list[int]) -> None:
            answer, _ = await asyncio.gather(batch.progress(), count(batch, held))
            assert answer["NotDone"] == 0

        asyncio.get_event_loop().run_until_complete(both(batch, held))
        most_at_work.append(held[0])
    assert most_at_work == [2, 1]


def test_an_item_that_takes_all_the_time_has_its_problem_and_the_others_have_theirs() -> None:
    answer = asked(["endless", "a", "endless"], Pace(), seconds_left(1.2))
    kinds = [result.get("problem", {}).get("type", "").rpartition(":")[2] for result in answer["Results"]]
    assert kinds == ["out-of-time", "", "not-done"]
    answer = asked(["endless", "a", "endless"], Pace(), seconds_left(1.2), answer["Results"])
    assert answer["NotDone"] == 0
    assert sorted(seen) == ["a", "endless", "endless", "endless"]


def test_an_answer_for_which_there_is_no_room_is_told_and_the_others_are_there() -> None:
    event = {"Items": [{"text": "a" * 1000, "times": times} for times in (1, 150, 150, 1)]}
    answer = handler(event, seconds_left(60))
    statuses = [result.get("problem", {}).get("status") for result in answer]
    assert statuses == [None, None, 413, None]
    assert "ask for less" in answer[2]["problem"]["detail"]
    assert size_of(event["Items"]) + size_of(answer) < BATCH_BYTES


def test_what_is_no_json_comes_as_base64_with_what_the_headers_tell() -> None:
    (result,) = ask({"id": 1, "text": "sound", "times": 5})["Results"]
    assert result["answer"].pop("base64") == base64.b64encode(b"\x00" * 5).decode()
    assert result["answer"] == {"content_type": "audio/mpeg", "engine": "bells"}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"Items": {}}, "Items: must be a list"),
        ({"Items": [], "BatchInput": []}, "ok"),
        ({"Items": [1], "BatchInput": [1]}, "BatchInput: must be an object"),
        ({"Items": [1, 2], "Results": [{}]}, "Results: has 1 of 2 items"),
    ],
)
def test_an_event_that_is_no_batch_fails(event: object, reason: str) -> None:
    if reason == "ok":
        assert handler(event, None) == []
        return
    with pytest.raises(InvalidInput, match=reason):
        handler(event, None)


def test_without_results_so_far_the_answer_is_the_list_of_results() -> None:
    event = {"Items": [{"id": 7, "text": "a"}, {"id": 8}, {"id": 9, "text": "busy"}], "BatchInput": {"times": 2}}
    answer = handler(event, seconds_left(60))
    assert [result["id"] for result in answer] == [7, 8, 9]
    assert [result.get("problem", {}).get("status") for result in answer] == [None, 422, 503]
    # The same with nothing that could be done: it is told of each, and nothing is raised.
    (only,) = handler({"Items": [{"id": 1, "text": "busy"}]}, seconds_left(60))
    assert only["problem"]["status"] == 503


def test_neither_keys_nor_limits_are_asked_for(settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS="desk:desk-0123456789abcdef", REQUESTS_AT_WORK=1)
    results = ask(*({"text": "a longer text"} for _ in range(4)))["Results"]
    assert all("answer" in result for result in results)


def test_each_item_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "factory.access")
    ask({"text": "a"}, {"id": 2}, {"text": "b"})
    told = [record.fields for record in caplog.records if record.name == "factory.access"]  # type: ignore[attr-defined]
    assert sorted((line["id"], line["caller"], line["route"], line["status"]) for line in told) == [
        ("3f2a-0", "direct", "/repeat", 200),
        ("3f2a-1", "direct", "/repeat", 422),
        ("3f2a-2", "direct", "/repeat", 200),
    ]


@pytest.mark.parametrize("kind", ["api_gateway_v1", "api_gateway_v2", "function_url", "alb"])
def test_what_comes_by_a_front_door_is_no_direct_invocation(kind: str, settings_env: SettingsEnv) -> None:
    settings_env(API_KEYS="desk:desk-0123456789abcdef")
    event = lambda_event(kind, "POST", "/repeat", {"text": "a"}) | {"text": "a", "Items": [{"text": "a"}]}
    assert handler(event, seconds_left(60))["statusCode"] == 401


@pytest.mark.parametrize("name", ["news-17", "../../etc/passwd", "a b/c", "", "\u00fc" * 300, 3.5, "x\n\x00"])
def test_the_name_of_an_object_is_safe_and_its_own(name: object) -> None:
    key = object_key("sounds", name, b"body", "audio/mpeg")
    folder, _, file = key.partition("/")
    assert folder == "sounds"
    assert file.isascii()
    assert file.endswith(".mp3")
    assert not set(file) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(file) < 130
    assert ".." not in file
    assert key == object_key("sounds", name, b"body", "audio/mpeg")
    assert key != object_key("sounds", name, b"another", "audio/mpeg")
    assert key != object_key("sounds", f"{name}-", b"body", "audio/mpeg")
