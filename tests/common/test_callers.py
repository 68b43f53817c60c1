import pytest

from common.callers import (
    begin_flow,
    caller_of,
    connection_begins,
    connection_ends,
    flow,
    holder_of,
    may_come_back,
)


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        # A provider gives a customer a whole network of IPv6: its addresses are one caller.
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_addresses_that_one_customer_has_are_one_caller(host: str, caller: str) -> None:
    assert caller_of({"client": (host, 1234)}) == caller


def test_a_request_without_an_address_has_a_caller_too() -> None:
    assert caller_of({}) == caller_of({"client": None}) == ""


def test_a_client_is_its_connection_as_long_as_that_is_open() -> None:
    one, other = ("192.0.2.7", 1234), ("192.0.2.7", 1235)
    connection_begins(one)
    connection_begins(other)
    holder = holder_of({"client": one})
    assert holder != holder_of({"client": other})
    assert may_come_back(holder)
    connection_ends(one)
    assert not may_come_back(holder)
    assert may_come_back(holder_of({"client": other}))
    connection_ends(other)
    connection_ends(other)


def test_a_client_with_a_key_is_its_address_on_any_connection() -> None:
    one, other = ("192.0.2.7", 1234), ("192.0.2.7", 1235)
    connection_begins(one)
    connection_begins(other)
    holder = holder_of({"client": one}, has_key=True)
    assert holder == holder_of({"client": other}, has_key=True) == "192.0.2.7"
    connection_ends(one)
    assert may_come_back(holder)
    assert holder != holder_of({"client": ("192.0.2.8", 1)}, has_key=True)
    connection_ends(other)


@pytest.mark.parametrize(
    ("client", "holder"),
    [
        # As a trusted proxy or AWS Lambda tells it. Two in one network are two clients.
        (("192.0.2.7", 0), "192.0.2.7"),
        (("2001:db8:1:2::3", 0), "2001:db8:1:2::3"),
        # Of a server that does not tell when a connection ends.
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("testclient", 50000), "testclient"),
        (None, ""),
    ],
)
def test_a_client_whose_connection_is_not_known_is_its_address(client: tuple[str, int] | None, holder: str) -> None:
    connection_begins(client if client is None or not client[1] else None)
    assert holder_of({"client": client}) == holder
    assert may_come_back(holder)
    connection_ends(client)


def test_a_flow_names_its_client() -> None:
    begin_flow("192.0.2.7", "192.0.2.7 1234")
    assert (flow().caller, flow().holder) == ("192.0.2.7", "192.0.2.7 1234")
    begin_flow("192.0.2.7")
    assert flow().holder == ""
