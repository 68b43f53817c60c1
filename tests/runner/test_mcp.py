"""/mcp, as the official client and strangers find it."""

import asyncio
import base64
import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import AudioContent, CallToolResult, TextContent

from common.settings import load_settings
from functions.audio.schemas import AudioRequest
from functions.extract.schemas import ExtractRequest
from functions.summarize.schemas import SummarizeRequest
from runner import mcp_door
from runner.mcp_tools import TOOLS
from tests.conftest import ROOT, Runner, SettingsEnv, problem, run_service, wait_until
from tests.doubles.edge_server import Fault, SpeechCloud

ARTICLE = "The committee met on Tuesday to talk about the new bridge over the river. " * 3
ERAS = ["auto", "legacy"]
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, speech_cloud: SpeechCloud) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("mcp") / "log.txt"
    with run_service(log, MCP="true", AUDIO__ENDPOINT=speech_cloud.url) as running:
        wait_until(lambda: httpx.get(f"{running.url}/health/ready").status_code == 200, "it is ready", 60)
        yield running


def call(runner: Runner, tool: str, arguments: dict[str, Any], era: str = "auto", **options: Any) -> CallToolResult:
    async def ask() -> CallToolResult:
        async with Client(f"{runner.url}/mcp", mode=era) as client:
            return await client.call_tool(tool, arguments, **options)

    return asyncio.run(ask())


def sentence(result: CallToolResult) -> str:
    assert result.is_error
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


def lines(runner: Runner, route: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in runner.log_text().splitlines() if '"factory.access"' in line]
    return [line for line in found if line["route"] == route]


@pytest.mark.parametrize(("era", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_clients_of_both_eras_connect(door: Runner, era: str, version: str) -> None:
    async def ask() -> None:
        async with Client(f"{door.url}/mcp", mode=era) as client:
            assert client.protocol_version == version
            assert [tool.name for tool in (await client.list_tools()).tools] == ["summarize", "extract", "speak"]

    asyncio.run(ask())


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_older_protocols_are_spoken(door: Runner, version: str) -> None:
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = post(door, rpc("initialize", hello))
    assert event(answer)["result"]["protocolVersion"] == version
    answer = post(door, rpc("tools/list", {}), {"mcp-protocol-version": version})
    assert len(event(answer)["result"]["tools"]) == 3


@pytest.mark.parametrize(
    ("name", "model"), [("summarize", SummarizeRequest), ("extract", ExtractRequest), ("speak", AudioRequest)]
)
def test_a_tool_takes_what_its_route_takes(name: str, model: Any) -> None:
    schema, own = TOOLS[name].listed.input_schema, model.model_json_schema()
    assert schema["additionalProperties"] is False
    for field, described in schema["properties"].items():
        assert described == own["properties"][field]
    assert set(own["properties"]) - set(schema["properties"]) <= {"stream", "progress"}


def test_no_tool_has_what_makers_of_models_refuse() -> None:
    for tool in TOOLS.values():
        assert not {"oneOf", "anyOf", "allOf"} & tool.listed.input_schema.keys()
        assert tool.listed.output_schema is not None
        assert tool.listed.output_schema["type"] == "object"


@pytest.mark.parametrize("era", ERAS)
def test_each_tool_answers_as_its_route_does(door: Runner, era: str) -> None:
    wish = {"text": ARTICLE, "temperature": 0, "seed": 1}
    written = call(door, "summarize", wish, era).structured_content
    direct = httpx.post(f"{door.url}/summarize", json=wish, timeout=30).json()
    assert written["summary"] == direct["summary"]
    found = call(door, "extract", {"text": "Tim Cook will visit Paris."}, era)
    assert found.structured_content["words"] == 6
    assert isinstance(found.content[0], TextContent)
    assert json.loads(found.content[0].text) == found.structured_content
    several = call(door, "extract", {"texts": ["Paris", " "], "labels": ["Place"]}, era).structured_content
    assert [set(result) >= {"error"} for result in several["results"]] == [False, True]
    spoken = call(door, "speak", {"text": "Hello world."}, era)
    assert spoken.structured_content["engine"] == "edge-tts"
    assert spoken.structured_content["voice"] == "en-US-ChristopherNeural"
    heard = spoken.content[0]
    assert isinstance(heard, AudioContent)
    assert heard.mime_type == "audio/mpeg"
    sound = base64.b64decode(heard.data)
    assert len(sound) / 6000 == pytest.approx(spoken.structured_content["seconds"], abs=0.1)
    assert sound[:1] == b"\xff"


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("extract", {"text": " "}, "Invalid input: text: must not be blank"),
        ("extract", {}, "one of `text` and `texts` is required"),
        ("extract", {"text": "a", "threshold": 7}, "threshold: "),
        ("summarize", {"text": "a", "max_tokens": 5000}, "max_tokens: "),
        ("summarize", {"text": "x" * 200_001}, "text: "),
        ("summarize", {"text": "a", "stream": True}, "stream: unknown field"),
        ("speak", {"text": "a", "voice": "en-GB-Nobody"}, "unknown voice"),
        ("speak", {"text": "Hello world. " * 600}, "a tool's answer holds 120 s"),
    ],
)
def test_what_is_wrong_with_a_call_is_told_by_its_result(
    door: Runner, tool: str, arguments: dict[str, Any], reason: str
) -> None:
    assert reason in sentence(call(door, tool, arguments))


def test_an_error_has_the_problem_details_for_programs(door: Runner) -> None:
    result = call(door, "extract", {"text": ""})
    details = result.content[1]
    assert isinstance(details, TextContent)
    told = json.loads(details.text)
    assert (told["status"], told["errors"][0]["field"]) == (422, "text")
    assert told["instance"] in {line["id"] for line in lines(door, "/extract")}


@pytest.mark.parametrize("era", ERAS)
def test_a_tool_that_there_is_not_is_an_error_of_the_protocol(door: Runner, era: str) -> None:
    async def ask() -> None:
        async with Client(f"{door.url}/mcp", mode=era) as client:
            with pytest.raises(MCPError, match="unknown tool 'nothing'; there are summarize, extract, speak"):
                await client.call_tool("nothing", {})

    asyncio.run(ask())


@pytest.mark.parametrize("era", ERAS)
def test_who_asks_for_progress_is_told(door: Runner, era: str) -> None:
    told: list[tuple[float, str | None]] = []

    async def progress(seconds: float, _: float | None, message: str | None) -> None:
        told.append((seconds, message))

    wish = {"text": ARTICLE + era, "temperature": 0}
    result = call(door, "summarize", wish, era, progress_callback=progress)
    assert result.structured_content["summary"]
    assert told
    assert [seconds for seconds, _ in told] == sorted({seconds for seconds, _ in told})
    assert "writing" in str(told[-1][1])


def test_two_clients_at_once_have_their_own_answers(door: Runner) -> None:
    async def ask(name: str) -> str:
        async with Client(f"{door.url}/mcp") as client:
            result = await client.call_tool("extract", {"text": f"{name} is here.", "threshold": 0.01})
            return str(result.structured_content["entities"])

    async def both() -> tuple[str, str]:
        return await asyncio.gather(ask("Paris"), ask("London"))

    paris, london = asyncio.run(both())
    assert "London" not in paris
    assert "Paris" not in london


def test_a_call_is_in_the_log_by_its_route_and_by_the_door_under_one_id(door: Runner) -> None:
    call(door, "extract", {"text": "Lisbon"})
    extract = lines(door, "/extract")[-1]
    (mcp,) = (line for line in lines(door, "/mcp") if line["id"] == extract["id"])
    assert extract["caller"] == mcp["caller"] == "127.0.0.1"
    assert "model_ms" in extract
    assert "model_ms" not in mcp


def test_a_call_under_way_is_finished_after_sigterm(tmp_path: Path) -> None:
    speak = rpc("tools/call", {"name": "speak", "arguments": {"text": ARTICLE}})
    with (
        SpeechCloud() as cloud,
        run_service(tmp_path / "log.txt", MCP="true", AUDIO__ENDPOINT=cloud.url) as runner,
        ThreadPoolExecutor() as threads,
    ):
        cloud.fault = Fault.DRIP
        asked = threads.submit(post, runner, speak)
        wait_until(lambda: bool(cloud.turns), "the cloud is asked")
        runner.process.send_signal(signal.SIGTERM)
        result = event(asked.result(20))["result"]
        assert runner.process.wait(15) == 0
    assert result["structuredContent"]["engine"] == "edge-tts"
    assert "Traceback" not in runner.log_text()


def rpc(method: str, params: Any = None, number: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def post(runner: Runner, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{runner.url}/mcp", content=content, headers={**HEADERS, **(headers or {})}, timeout=20)


def event(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.text.partition("data: ")[2])
    return found


STRANGE: list[Any] = [
    b"",
    b"{",
    b"null",
    b"\xff",
    b"[" * 50_000 + b"]" * 50_000,
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    b'{"jsonrpc":"2.0","id":"\\ud800","method":"tools/list"}',
    b"x" * 3_000_000,
    [],
    [rpc("ping")] * 3,
    rpc("ping", number=None),
    rpc("ping", number=10**400),
    rpc("ping", number="x" * 100_000),
    rpc("ping", number={}),
    rpc("no/such"),
    rpc("x" * 50_000),
    rpc("tools/call"),
    rpc("tools/call", []),
    rpc("tools/call", {"name": "extract", "arguments": []}),
    rpc("tools/call", {"name": "extract", "arguments": {"\ud800": 1}, "_meta": MODERN}),
    rpc("tools/call", {"name": "extract", "arguments": {"text": float("nan")}, "_meta": MODERN}),
    rpc("tools/call", {"name": "extract", "arguments": {"text": "a"}, "_meta": {**MODERN, "traceparent": "\r\n"}}),
    rpc("tools/list", {"cursor": "nothing", "_meta": MODERN}),
    rpc("subscriptions/listen", {"notifications": {}, "_meta": MODERN}),
    rpc("resources/list", {"_meta": MODERN}),
    rpc("initialize", {}),
    rpc("initialize", {"protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": {}}),
    {"jsonrpc": "2.0", "id": 1, "result": {}},
    {"jsonrpc": "2.0", "method": "notifications/cancelled"},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [1]}},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": []},
]


@pytest.mark.parametrize("version", [None, "2025-11-25", "2026-07-28", "banana"])
@pytest.mark.parametrize("body", STRANGE, ids=range(len(STRANGE)))
def test_strange_messages_have_an_answer_that_blames_their_sender(door: Runner, body: Any, version: str | None) -> None:
    method = body.get("method", "") if isinstance(body, dict) else ""
    headers = {"mcp-session-id": "strange", "mcp-method": method[:100]}
    begun = time.monotonic()
    response = post(door, body, headers | ({"mcp-protocol-version": version} if version else {}))
    assert response.status_code < 500, response.text
    assert time.monotonic() - begun < 10
    assert "Traceback" not in response.text


def test_nothing_strange_was_an_error_of_the_services(door: Runner) -> None:
    """Runs after the others: what they have left in the log."""
    levels = {json.loads(line)["level"] for line in door.log_text().splitlines() if line.startswith("{")}
    assert "error" not in levels, door.log_text()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "OPTIONS"])
def test_the_door_has_one_method_and_no_stream_on_which_nothing_comes(door: Runner, method: str) -> None:
    response = httpx.request(method, f"{door.url}/mcp", headers=HEADERS, timeout=5)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_a_slash_at_the_end_means_nothing(door: Runner) -> None:
    response = httpx.post(f"{door.url}/mcp/", json=rpc("ping"), headers=HEADERS)
    assert event(response)["result"] == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"accept": "text/html"}, 406),
        ({"content-type": "text/plain"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": "http://localhost:6274"}, 200),
        ({"host": "anything.example"}, 200),
    ],
)
def test_who_does_not_come_as_a_client_does_is_refused(door: Runner, headers: dict[str, str], status: int) -> None:
    assert post(door, rpc("ping"), headers).status_code == status


def test_a_body_has_the_bounds_of_every_body(door: Runner) -> None:
    assert problem(post(door, b"x" * 3_000_000))["status"] == 413


def test_openapi_does_not_list_the_door(door: Runner) -> None:
    assert "/mcp" not in httpx.get(f"{door.url}/openapi.json").json()["paths"]


def test_the_example_of_the_documentation_works(door: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "docs/api.md").read_text(encoding="utf-8").partition("## MCP")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    code = example.replace("http://localhost:7860", door.url)
    names: dict[str, Any] = {}
    exec("async def example():\n" + textwrap.indent(code, "    "), names)
    asyncio.run(names["example"]())
    assert capsys.readouterr().out.startswith("[")
    for shown in re.findall(r"```json\n(.*?)```", section, re.DOTALL):
        assert json.loads(shown)["mcpServers"]["factory"]["url"].endswith("/mcp")


def test_the_door_is_closed_by_default(runner: Runner) -> None:
    assert problem(httpx.post(f"{runner.url}/mcp", json=rpc("ping")))["status"] == 404


def test_behind_a_closed_door_nothing_of_it_is_imported() -> None:
    code = (
        "import asyncio, sys, local_runner\n"
        "async def start():\n"
        "    async with local_runner.warm_up(local_runner.app): pass\n"
        "asyncio.run(start())\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'mcp', 'mcp_types', 'sse_starlette', 'jsonschema'})"
    )
    environment = {"FACTORY_WARM_UP": "false", "PATH": ""}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_where_the_package_is_missing_a_line_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, settings_env: SettingsEnv
) -> None:
    settings_env(MCP="true")
    monkeypatch.setattr(mcp_door, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match=r"settings: FACTORY_MCP: .* is missing; requirements/mcp.txt has it"):
        mcp_door.check(load_settings())
    monkeypatch.setenv("FACTORY_MCP", "false")
    mcp_door.check(load_settings())
