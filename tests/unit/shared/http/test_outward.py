"""Where a server may connect to when somebody else has written the address."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import HanseError
from shared.http.outward import OutwardSettings, destination_of

DEFAULT = OutwardSettings()


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.7", True),
        ("2001:db8::7", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("2002:a9fe:a9fe::", False),  # 6to4 of the same
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("::", False),
        ("255.255.255.255", False),
    ],
)
def test_what_leads_to_a_host_of_its_own_is_allowed_by_default(address: str, allowed: bool) -> None:
    assert DEFAULT.allows(ip_address(address), 8444) is allowed


def test_loopback_counts_where_it_is_named_and_ports_always_do() -> None:
    settings = OutwardSettings(networks=("127.0.0.0/8", "10.0.0.0/8"), ports=("443", "8000-8999"))
    assert settings.allows(ip_address("127.0.0.1"), 443)
    assert settings.allows(ip_address("10.1.1.1"), 8999)
    assert not settings.allows(ip_address("10.1.1.1"), 9000)
    assert not settings.allows(ip_address("11.1.1.1"), 443)
    assert not settings.allows(ip_address("::1"), 443)


@given(st.ip_addresses(), st.integers(1, 65535))
def test_no_network_named_allows_nothing(address: object, port: int) -> None:
    assert not OutwardSettings(networks=()).allows(ip_address(str(address)), port)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.7:8444",
        "https://user@192.0.2.7:8444",
        "https://192.0.2.7:99999",
        "https://192.0.2.7:22",
        "https://:8444",
        "https://[x]:8444",
        "https://[::1",
        "https://\u2100.example:8444",
        "gopher://192.0.2.7:8444",
    ],
)
async def test_other_schemes_ports_and_forms_are_refused(url: str) -> None:
    with pytest.raises(HanseError) as caught:
        await destination_of(url, DEFAULT)
    assert caught.value.code == "address_not_allowed"


async def test_the_address_that_was_judged_is_the_one_to_connect_to() -> None:
    found = await destination_of("https://[2001:db8::7]", DEFAULT)
    assert (found.url, found.port) == ("https://[2001:db8::7]:443", 443)


@pytest.mark.parametrize("ports", ["0", "x", "9-1", "1-70000", "-5"])
def test_ports_that_are_none_stop_the_start(ports: str) -> None:
    with pytest.raises(ValidationError):
        OutwardSettings(ports=(ports,))
