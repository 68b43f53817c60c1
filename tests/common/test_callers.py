import pytest

from common.callers import caller_of


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
