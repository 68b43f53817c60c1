"""Which requests are of one client: those of a connection, of a forwarded address, or of what AWS Lambda names."""

import asyncio
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from fastapi import APIRouter

from common.aws_lambda import LambdaHandler
from common.callers import flow, may_come_back
from common.http.app import create_app
from common.settings import get_settings
from runner.connections import Connections, limits
from runner.protocol import BoundedProtocol
from runner.proxies import TrustedProxies
from tests.conftest import SettingsEnv, lambda_event, wait_until

router = APIRouter()


@router.get("/who")
async def who() -> list[str]:
    return [flow().caller, flow().holder]


@pytest.fixture
def url() -> Iterator[str]:
    """Where the app is served as `local_runner` serves its own."""
    loop = asyncio.new_event_loop()
    config = uvicorn.Config(TrustedProxies(create_app(router)), log_config=None, proxy_headers=False, lifespan="off")
    config.load()
    connections = Connections(limits(get_settings()))

    def protocol() -> BoundedProtocol:
        return BoundedProtocol(config, uvicorn.server.ServerState(), {}, loop, connections=connections)

    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(server.close)
    wait_until(lambda: not len(connections), "every connection is closed")
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.close()


def ask(client: httpx.Client, url: str, *forwarded: str) -> tuple[str, str]:
    caller, holder = client.get(f"{url}/who", headers=[("X-Forwarded-For", value) for value in forwarded]).json()
    return caller, holder


def test_a_connection_is_a_client_until_it_is_closed(url: str) -> None:
    with httpx.Client() as one, httpx.Client() as other:
        caller, holder = ask(one, url)
        assert caller == "127.0.0.1"
        assert ask(one, url) == (caller, holder)
        assert ask(other, url) != (caller, holder)
        assert may_come_back(holder)
    wait_until(lambda: not may_come_back(holder), "the connection is closed")


def test_an_address_is_a_client_whom_a_trusted_proxy_names(settings_env: SettingsEnv, url: str) -> None:
    settings_env(TRUSTED_PROXIES="127.0.0.1")
    with httpx.Client() as proxy, httpx.Client() as other:
        assert ask(proxy, url, "192.0.2.1") == ask(other, url, "192.0.2.1") == ("192.0.2.1", "192.0.2.1")
        assert ask(proxy, url, "192.0.2.2") == ("192.0.2.2", "192.0.2.2")
        # Of one network, which is one caller.
        assert ask(proxy, url, "2001:db8::1") == ("2001:db8::/64", "2001:db8::1")


@pytest.mark.parametrize("kind", ["api_gateway_v1", "api_gateway_v2", "function_url", "alb"])
def test_an_address_is_a_client_that_lambda_names(kind: str) -> None:
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        answer = LambdaHandler(create_app(router))(lambda_event(kind, "GET", "/who"), None)
        asyncio.set_event_loop(None)
    caller, holder = json.loads(answer["body"])
    assert caller == holder != ""
