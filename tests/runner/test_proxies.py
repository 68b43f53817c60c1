"""Who a request is from, behind proxies and from those who claim to be some."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from common.settings import InvalidSettings, load_settings
from runner.proxies import TrustedProxies
from tests.conftest import Runner, SettingsEnv, run_service, wait_until


def seen(peer: str, *headers: tuple[str, str]) -> tuple[str, str]:
    """Client and scheme that the application sees."""
    found: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        found.append(scope)

    async def nothing(*_: object) -> None: ...

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "client": (peer, 5), "scheme": "http", "headers": raw}
    asyncio.run(TrustedProxies(app)(scope, nothing, nothing))  # type: ignore[arg-type]
    return found[0]["client"][0], found[0]["scheme"]


FOR = "X-Forwarded-For"


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", "203.0.113.9", "::1"])
def test_nobody_is_believed_unless_a_setting_says_so(peer: str) -> None:
    assert seen(peer, (FOR, "203.0.113.7"), ("X-Forwarded-Proto", "https")) == (peer, "http")


@pytest.mark.parametrize(
    ("peer", "sent", "client"),
    [
        ("10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        # What stands before the address that the proxy has written is the caller's invention.
        ("10.1.2.3", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["10.9.9.9, 203.0.113.7"], "203.0.113.7"),
        # Through two proxies.
        ("10.1.2.3", ["203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.1.2.3", ["203.0.113.7, 2001:db8::5"], "203.0.113.7"),
        ("10.1.2.3", ["10.4.4.4, 10.9.9.9"], "10.4.4.4"),
        ("::ffff:10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("2001:db8::9", ["203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.1.2.3", ["[2001:db9::7]:4711"], "2001:db9::7"),
        ("10.1.2.3", ["2001:db9::7"], "2001:db9::7"),
        ("10.1.2.3", ["::ffff:203.0.113.7"], "203.0.113.7"),
        # What is no address ends the list: the last one that a proxy has named is left.
        ("10.1.2.3", ["203.0.113.7, unknown"], "10.1.2.3"),
        ("10.1.2.3", ["junk, 10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", ["\xe9" * 5000], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("10.1.2.3", [","], "10.1.2.3"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("11.1.2.3", ["203.0.113.7"], "11.1.2.3"),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_the_list_is_read_from_its_end_as_long_as_who_wrote_is_trusted(
    settings_env: SettingsEnv, peer: str, sent: list[str], client: str
) -> None:
    settings_env(TRUSTED_PROXIES="10.0.0.0/8, 2001:db8::/32")
    assert seen(peer, *((FOR, value) for value in sent))[0] == client


def test_with_an_asterisk_the_other_end_is_a_proxy_whoever_it_is(settings_env: SettingsEnv) -> None:
    settings_env(TRUSTED_PROXIES="*")
    assert seen("198.51.100.9", (FOR, "192.0.2.1, 203.0.113.7"))[0] == "203.0.113.7"


@pytest.mark.parametrize(
    ("sent", "scheme"), [("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("javascript", "http")]
)
def test_the_scheme_is_the_proxys_word(settings_env: SettingsEnv, sent: str, scheme: str) -> None:
    settings_env(TRUSTED_PROXIES="127.0.0.1")
    assert seen("127.0.0.1", ("X-Forwarded-Proto", sent)) == ("127.0.0.1", scheme)


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "10.0.0.0/8,", "10.0.0.0/33", "*, 10.0.0.1"])
def test_a_setting_that_names_no_address_ends_the_start(settings_env: SettingsEnv, value: str) -> None:
    settings_env(TRUSTED_PROXIES=value)
    with pytest.raises(InvalidSettings, match="FACTORY_TRUSTED_PROXIES"):
        load_settings()


def test_the_hubs_proxy_is_trusted_on_a_space_and_nowhere_else(
    settings_env: SettingsEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    settings_env(PROFILE="space")
    assert load_settings().trusted_proxies == ""
    monkeypatch.setenv("SPACE_ID", "someone/segmento-factory")
    assert load_settings().trusted_proxies == "10.0.0.0/8"
    settings_env(TRUSTED_PROXIES="")
    assert load_settings().trusted_proxies == ""
    monkeypatch.delenv("FACTORY_TRUSTED_PROXIES")
    settings_env(PROFILE="embedded")
    assert load_settings().trusted_proxies == ""


@pytest.fixture(scope="module")
def behind_proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    log = tmp_path_factory.mktemp("proxies") / "log.txt"
    with run_service(log, WARM_UP=False, TRUSTED_PROXIES="127.0.0.9, 127.0.1.0/24") as running:
        yield running


def caller(runner: Runner, source: str, **headers: str) -> str:
    """Whom the service takes a request for, as its log names it."""
    request_id = f"seen-{source}-{len(headers)}"
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
        client.get(f"{runner.url}/health", headers={"X-Request-ID": request_id, **headers})
    wait_until(lambda: request_id in runner.log_text(), "the log line is there")
    (line,) = [json.loads(line) for line in runner.log_text().splitlines() if request_id in line]
    return str(line["caller"])


def test_the_caller_is_whom_a_trusted_proxy_names_and_nobody_else_is_believed(behind_proxies: Runner) -> None:
    named = {FOR: "203.0.113.7, 198.51.100.4"}
    assert caller(behind_proxies, "127.0.0.9", **named) == "198.51.100.4"
    assert caller(behind_proxies, "127.0.1.77", **named) == "198.51.100.4"
    assert caller(behind_proxies, "127.0.0.8", **named) == "127.0.0.8"
    assert caller(behind_proxies, "127.0.0.1", **named) == "127.0.0.1"
    assert caller(behind_proxies, "127.0.0.9") == "127.0.0.9"


@pytest.mark.parametrize("path", ["/extract/", "/v1/models/", "/health//"])
def test_a_slash_at_the_end_is_answered_and_names_no_host(behind_proxies: Runner, path: str) -> None:
    method = "POST" if path.startswith("/extract") else "GET"
    body = {"text": "Tim Cook will visit Paris."} if method == "POST" else None
    answer = httpx.request(method, behind_proxies.url + path, json=body, headers={"Host": "evil.example"}, timeout=60)
    assert answer.status_code == 200
    assert "evil.example" not in f"{answer.headers} {answer.text}"


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/audio/voices", "/nothing", "//evil.example/", "/x/.."]
)
def test_no_answer_repeats_the_host_that_was_asked_for(behind_proxies: Runner, path: str) -> None:
    sent = {"Host": "evil.example", "X-Forwarded-Host": "worse.example"}
    for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT"):
        answer = httpx.request(method, behind_proxies.url + path, headers=sent)
        assert answer.status_code not in range(300, 400)
        assert "evil.example" not in f"{answer.headers} {answer.text}".replace("//evil.example/", "")
        assert "worse.example" not in f"{answer.headers} {answer.text}"
