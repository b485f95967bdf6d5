"""Whom a host must always reach."""

from dsn.dataplane.choose import links_to
from dsn.dataplane.ruleset import Link


def test_each_address_is_reached_at_each_port() -> None:
    links = links_to(
        ("https://sdsp.example:8444", "https://[2001:db8::1]:9444"), ("192.0.2.7", "2001:db8::1")
    )

    assert links == (
        Link(4, "192.0.2.7", 8444),
        Link(4, "192.0.2.7", 9444),
        Link(6, "2001:db8::1", 8444),
        Link(6, "2001:db8::1", 9444),
    )


def test_loopback_needs_no_link() -> None:
    assert links_to(("https://localhost:8444",), ("127.0.0.1", "::1")) == ()
