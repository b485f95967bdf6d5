from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from shared.auth.tokens import SigningKey, TokenIssuer, TokenVerifier, load_signing_key
from shared.errors import Invalid, Unauthenticated
from tests.fakes.clock import VirtualClock


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return load_signing_key(tmp_path / "secrets" / "token.pem")


def issuer(key: SigningKey, clock: VirtualClock) -> TokenIssuer:
    return TokenIssuer(key, issuer="i", audience="a", lifetime=timedelta(hours=1), clock=clock)


def verifier(key: SigningKey, clock: VirtualClock, **changes: str) -> TokenVerifier:
    names = {"issuer": "i", "audience": "a"} | changes
    return TokenVerifier({key.id: key.public_pem}, clock=clock, **names)


def test_a_token_says_what_it_was_given(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue(
        "user:kim", display_name="Kim", roles=["viewer"], tenants=frozenset({"acme"})
    )
    claims = verifier(key, clock).verify(token.text)
    assert (claims.subject, claims.display_name) == ("user:kim", "Kim")
    assert (claims.roles, claims.tenants) == (("viewer",), frozenset({"acme"}))
    assert claims.expires_at == token.expires_at + timedelta(seconds=60)


def test_another_library_reads_our_tokens(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    claims = jwt.decode(
        token,
        key.public_pem,
        algorithms=["ES256"],
        audience="a",
        issuer="i",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == "user:kim"
    assert jwt.get_unverified_header(token)["kid"] == key.id


def test_a_token_counts_until_a_minute_after_its_end(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    clock.advance(3600 + 59)
    verifier(key, clock).verify(token)
    clock.advance(1)
    with pytest.raises(Unauthenticated) as caught:
        verifier(key, clock).verify(token)
    assert caught.value.code == "token_expired"


def test_a_clock_that_went_back_further_than_the_leeway_refuses(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    clock.jump(-59)
    verifier(key, clock).verify(token)
    clock.jump(-10)
    with pytest.raises(Unauthenticated):
        verifier(key, clock).verify(token)


@pytest.mark.parametrize("changes", [{"issuer": "x"}, {"audience": "x"}])
def test_a_token_for_another_server_does_not_count(key: SigningKey, changes) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    with pytest.raises(Unauthenticated):
        verifier(key, clock, **changes).verify(token)


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "token.pem"
    first = load_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_signing_key(path) == first
    assert list(path.parent.iterdir()) == [path]
    assert first.id not in first.pem

    path.chmod(0o640)
    with pytest.raises(Invalid) as caught:
        load_signing_key(path)
    assert caught.value.code == "key_exposed"

    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(Invalid) as caught:
        load_signing_key(path)
    assert caught.value.code == "invalid_key"


def test_a_known_token_says_the_same_and_still_ends(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    reads = verifier(key, clock)
    claims = reads.verify(token)
    assert reads.verify(token) is claims
    clock.advance(3600 + 60)
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            reads.verify(token)
        assert caught.value.code == "token_expired"


def test_a_changed_token_is_not_taken_for_the_known_one(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issuer(key, clock).issue("user:kim", display_name="Kim", roles=[]).text
    reads = verifier(key, clock)
    reads.verify(token)
    head, said, signature = token.split(".")
    for forged in (f"{head}.{said[:-2]}AA.{signature}", f"{head}.{said}.{signature[:-4]}AAAA"):
        with pytest.raises(Unauthenticated):
            reads.verify(forged)


def test_only_so_many_tokens_are_remembered(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.tokens.REMEMBERED", 3)
    clock = VirtualClock()
    made = [
        issuer(key, clock).issue(f"user:{n}", display_name="x", roles=[]).text for n in range(5)
    ]
    reads = verifier(key, clock)
    first = reads.verify(made[0])
    for each in made[1:]:
        reads.verify(each)
    assert len(reads._known) == 3
    again = reads.verify(made[0])
    assert again == first
    assert again is not first
