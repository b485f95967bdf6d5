import hashlib

import pytest

from shared.errors import Invalid, Unauthenticated
from shared.pki.certificates import certificates_to_pem, fingerprint_of
from shared.pki.identity import Expectation, Role, SpiffeId
from shared.pki.jointoken import JoinKind, JoinToken, check_root, is_hash_of
from tests.fakes.federation import TRUST_DOMAIN, Federation


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


@pytest.fixture
def token(federation: Federation) -> JoinToken:
    root = federation.root.certificate
    return JoinToken.create(JoinKind.NODE, site="sfo", name="node-1", root=root)


def test_a_token_is_one_line_that_says_all(token: JoinToken) -> None:
    line = str(token)
    assert len(line.split()) == 1
    assert JoinToken.parse(f"  {line}\n") == token
    assert len(token.secret) * 8 == 256


def test_the_secret_is_neither_in_the_hash_nor_in_the_repr(token: JoinToken) -> None:
    assert repr(token.secret) not in repr(token)
    assert "secret" not in repr(token)
    assert token.hash == hashlib.sha256(str(token).encode()).hexdigest()
    assert is_hash_of(token.hash, token)


def test_two_tokens_never_share_a_secret(federation: Federation) -> None:
    root = federation.root.certificate
    secrets = {
        JoinToken.create(JoinKind.SDSP, site="sfo", name="sfo", root=root).secret
        for _ in range(100)
    }
    assert len(secrets) == 100


@pytest.mark.parametrize("place", range(1, 7))
def test_a_token_with_any_part_changed_is_refused(token: JoinToken, place: int) -> None:
    parts = str(token).split(".")
    parts[place] = ("b" if parts[place][0] == "a" else "a") + parts[place][1:]
    with pytest.raises(Invalid, match="changed in copying") as refused:
        JoinToken.parse(".".join(parts))
    assert refused.value.code == "join_token_invalid"


def test_a_tampered_token_with_a_good_checksum_is_not_the_stored_one(token: JoinToken) -> None:
    for kind, site, name in (
        (JoinKind.NODE, "sfo", "node-2"),
        (JoinKind.NODE, "fra", "node-1"),
        (JoinKind.SDSP, "sfo", "sfo"),
    ):
        forged = JoinToken(kind, site, name, token.root, token.secret)
        assert JoinToken.parse(str(forged)) == forged
        assert not is_hash_of(token.hash, forged)


def test_a_token_of_another_kind_is_refused(token: JoinToken) -> None:
    token.check_kind(JoinKind.NODE)
    with pytest.raises(Invalid, match="for a node, not for an SDSP") as refused:
        token.check_kind(JoinKind.SDSP)
    assert refused.value.code == "join_token_kind"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "hanse-join-2.sdsp.sfo.sfo.a.b.c",
        "hanse-join-1",
        "hanse-join-1.sdsp.sfo",
        "hanse-join-1." + "x" * 400,
        "hanse-join-1.é.é.é.é.é.é",
    ],
)
def test_what_is_no_token_is_refused_in_words(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        JoinToken.parse(text)
    assert refused.value.code == "join_token_invalid"


def test_a_token_cut_short_anywhere_is_refused(token: JoinToken) -> None:
    line = str(token)
    for length in range(len(line)):
        with pytest.raises(Invalid) as refused:
            JoinToken.parse(line[:length])
        assert refused.value.code == "join_token_invalid"


def test_the_root_is_believed_only_if_the_token_names_it(
    federation: Federation, token: JoinToken
) -> None:
    other = Federation().root.certificate
    right = federation.root.certificate
    # Both are offered while a CA is exchanged.
    pem = certificates_to_pem([other, right])
    assert check_root(pem, token.root) == right
    with pytest.raises(Unauthenticated) as refused:
        check_root(certificates_to_pem([other]), token.root)
    assert refused.value.code == "wrong_root"
    with pytest.raises(Invalid):
        check_root("not a certificate", token.root)


def test_a_joiner_expects_the_server_above_it_and_no_other(federation: Federation) -> None:
    root = federation.root.certificate
    sdsp = JoinToken.create(JoinKind.SDSP, site="sfo", name="sfo", root=root)
    node = JoinToken.create(JoinKind.NODE, site="sfo", name="a", root=root)
    assert sdsp.root == fingerprint_of(root)
    assert sdsp.server_check(root).expected == (Expectation(Role.FSM),)
    assert node.server_check(root).expected == (Expectation(Role.SDSP, "sfo"),)
    assert sdsp.identity(TRUST_DOMAIN) == SpiffeId.sdsp(TRUST_DOMAIN, "sfo")
    assert node.identity(TRUST_DOMAIN) == SpiffeId.of_node(TRUST_DOMAIN, "sfo", "a")


def test_a_token_for_something_that_cant_be_named_cant_be_made(federation: Federation) -> None:
    root = federation.root.certificate
    for kind, site, name in (
        (JoinKind.SDSP, "sfo", "fra"),
        (JoinKind.NODE, "sfo", "a.b"),
        (JoinKind.NODE, "S", "a"),
    ):
        with pytest.raises(Invalid):
            JoinToken.create(kind, site=site, name=name, root=root)
