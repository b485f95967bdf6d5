import pytest

from shared.errors import Forbidden, HanseError, Invalid
from shared.pki.identity import (
    Expectation,
    Role,
    SpiffeId,
    TrustDomain,
    parse_trust_domain,
)

DOMAIN = TrustDomain("hanse.example")


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("spiffe://hanse.example/fsm", SpiffeId.fsm(DOMAIN)),
        ("spiffe://sfo.hanse.example/sdsp", SpiffeId.sdsp(DOMAIN, "sfo")),
        ("spiffe://sfo.hanse.example/node/node-1", SpiffeId.of_node(DOMAIN, "sfo", "node-1")),
    ],
)
def test_an_identity_is_the_uri_that_it_is_written_as(text: str, identity: SpiffeId) -> None:
    assert SpiffeId.parse(text, DOMAIN) == identity
    assert str(identity) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fsm",
        "https://hanse.example/fsm",
        "SPIFFE://hanse.example/fsm",
        "spiffe://hanse.example",
        "spiffe://hanse.example/",
        "spiffe://hanse.example/fsm/",
        "spiffe://hanse.example/fsm?x",
        "spiffe://hanse.example/fsm\n",
        "spiffe://hanse.example/sdsp",
        "spiffe://hanse.example/node/a",
        "spiffe://sfo.hanse.example/fsm",
        "spiffe://sfo.hanse.example/sdsp/",
        "spiffe://sfo.hanse.example/node",
        "spiffe://sfo.hanse.example/node/",
        "spiffe://sfo.hanse.example/node/a/b",
        "spiffe://sfo.hanse.example/node/A",
        "spiffe://sfo.hanse.example/node/..",
        "spiffe://sfo.hanse.example/node/a\n",
        "spiffe://SFO.hanse.example/sdsp",
        "spiffe://sfo.hanse.example./sdsp",
        "spiffe://sfo.hanse.example:443/sdsp",
        "spiffe://sfo@hanse.example/sdsp",
        "spiffe://sfo.hanse.example:x@hanse.example/fsm",
        "spiffe://sfo%2ehanse.example/sdsp",
        "spiffe://a.sfo.hanse.example/sdsp",
        "spiffe://.hanse.example/sdsp",
        "spiffe://sfohanse.example/sdsp",
        "spiffe://sfo.hanse.example.evil/sdsp",
        "spiffe://sfo.other.example/sdsp",
        "sfo.hanse.example/sdsp",
    ],
)
def test_what_is_not_exactly_an_identity_is_none(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        SpiffeId.parse(text, DOMAIN)
    assert refused.value.code == "wrong_identity"


def test_a_site_cant_make_up_a_trust_domain_of_its_own() -> None:
    with pytest.raises(Invalid):
        SpiffeId.parse("spiffe://sfo.hanse.example/fsm", DOMAIN)


@pytest.mark.parametrize(
    ("role", "site", "node"),
    [
        (Role.FSM, "sfo", None),
        (Role.SDSP, None, None),
        (Role.SDSP, "sfo", "a"),
        (Role.NODE, "sfo", None),
        (Role.NODE, None, "a"),
        (Role.SDSP, "S F O", None),
        (Role.NODE, "sfo", "a/b"),
    ],
)
def test_an_identity_that_makes_no_sense_cant_be_made(
    role: Role, site: str | None, node: str | None
) -> None:
    with pytest.raises(Invalid):
        SpiffeId(DOMAIN, role, site, node)


@pytest.mark.parametrize("text", ["hanse.example", "hanse", "a-1.b"])
def test_a_trust_domain_is_a_dns_name(text: str) -> None:
    assert parse_trust_domain(text) == text


@pytest.mark.parametrize(
    "text", ["", "Hanse.example", "hanse.example.", "a..b", "a_b", "a/b", "a" * 190]
)
def test_what_is_no_trust_domain_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="no trust domain"):
        parse_trust_domain(text)


SFO_NODE = SpiffeId.of_node(DOMAIN, "sfo", "a")


@pytest.mark.parametrize(
    ("expected", "met"),
    [
        (Expectation(Role.NODE), True),
        (Expectation(Role.NODE, "sfo"), True),
        (Expectation(Role.NODE, "sfo", "a"), True),
        (Expectation(Role.NODE, "sfo", "b"), False),
        (Expectation(Role.NODE, "fra"), False),
        (Expectation(Role.SDSP, "sfo"), False),
        (Expectation(Role.FSM), False),
    ],
)
def test_an_expectation_is_met_only_by_whom_it_names(expected: Expectation, met: bool) -> None:
    assert expected.is_met_by(SFO_NODE) is met
    if met:
        expected.check(SFO_NODE)
        return
    with pytest.raises(Forbidden) as refused:
        expected.check(SFO_NODE)
    assert isinstance(refused.value, HanseError)
    assert refused.value.code == "wrong_identity"
    assert str(expected) in refused.value.message
