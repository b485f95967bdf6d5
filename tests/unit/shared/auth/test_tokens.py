from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from shared.auth.tokenkeys import KeyFolder
from shared.auth.tokens import SigningKey, TokenIssuer, TokenVerifier, key_id_of
from shared.errors import Invalid, Unauthenticated
from tests.fakes.clock import VirtualClock

SERVER = "spiffe://hanse.example/fsm"


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def issued(key: SigningKey, clock: VirtualClock, server: str = SERVER) -> str:
    return (
        TokenIssuer(server, clock=clock)
        .issue(key, subject="user:kim", session="s", lifetime=timedelta(hours=1))
        .text
    )


def verified(token: str, key: SigningKey, clock: VirtualClock, server: str = SERVER):
    assert key_id_of(token) == key.id
    return TokenVerifier(server, clock=clock).verify(token, key.public)


def test_a_token_says_whom_and_which_login_it_stands_for(key: SigningKey) -> None:
    clock = VirtualClock()
    claims = verified(issued(key, clock), key, clock)
    assert (claims.subject, claims.session, claims.key) == ("user:kim", "s", key.id)
    assert claims.expires_at == clock.now() + timedelta(hours=1, seconds=60)


def test_another_library_reads_our_tokens(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issued(key, clock)
    claims = jwt.decode(
        token,
        key.public_pem,
        algorithms=["ES256"],
        audience=SERVER,
        issuer=SERVER,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == "user:kim"
    assert len(claims["jti"]) == 32
    header = {"alg": "ES256", "kid": key.id, "typ": "at+jwt"}
    assert jwt.get_unverified_header(token) == header


def test_no_two_tokens_have_one_id(key: SigningKey) -> None:
    clock = VirtualClock()
    assert len({verified(issued(key, clock), key, clock).id for _ in range(20)}) == 20


def test_a_token_counts_until_a_minute_after_its_end(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issued(key, clock)
    clock.advance(3600 + 59)
    verified(token, key, clock)
    clock.advance(1)
    with pytest.raises(Unauthenticated) as caught:
        verified(token, key, clock)
    assert caught.value.code == "token_expired"


def test_a_clock_that_went_back_further_than_the_leeway_refuses(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issued(key, clock)
    clock.jump(-59)
    verified(token, key, clock)
    clock.jump(-10)
    with pytest.raises(Unauthenticated) as caught:
        verified(token, key, clock)
    assert caught.value.code == "invalid_token"


def test_a_token_for_another_server_does_not_count(key: SigningKey) -> None:
    clock = VirtualClock()
    token = issued(key, clock)
    with pytest.raises(Unauthenticated):
        verified(token, key, clock, server="spiffe://sfo.hanse.example/sdsp")


def test_secrets_are_in_no_representation(key: SigningKey) -> None:
    clock = VirtualClock()
    token = TokenIssuer(SERVER, clock=clock).issue(
        key, subject="user:kim", session="s", lifetime=timedelta(hours=1)
    )
    assert token.text not in repr(token)
    assert "PRIVATE" not in repr(key)


def test_only_its_owner_reads_a_key(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "a" / "keys")
    made = folder.create()
    path = folder.path / f"{made.id}.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.keys() == {made.id: made}
    assert list(folder.path.iterdir()) == [path]

    path.chmod(0o640)
    with pytest.raises(Invalid) as caught:
        folder.keys()
    assert caught.value.code == "key_exposed"


def test_what_is_no_key_of_ours_is_told(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    (tmp_path / "x.pem").write_text("no key")
    (tmp_path / "x.pem").chmod(0o600)
    with pytest.raises(Invalid) as caught:
        folder.keys()
    assert caught.value.code == "invalid_key"


def test_the_single_key_of_earlier_versions_is_taken_over(tmp_path: Path) -> None:
    former = tmp_path / "token-key.pem"
    before = SigningKey.generate()
    former.write_text(before.pem)
    former.chmod(0o644)
    folder = KeyFolder(tmp_path / "keys", former=former)
    with pytest.raises(Invalid) as caught:
        folder.create()
    assert caught.value.code == "key_exposed"
    former.chmod(0o600)
    assert folder.create() == before
    assert not former.exists()
    assert folder.keys() == {before.id: before}
    assert folder.create() != before


def test_all_who_share_a_folder_call_it_the_same(tmp_path: Path) -> None:
    one, other = KeyFolder(tmp_path / "keys"), KeyFolder(tmp_path / "keys")
    assert one.owner == other.owner == KeyFolder(tmp_path / "keys").owner
    assert KeyFolder(tmp_path / "others").owner != one.owner
    other.drop(one.create().id)
    assert one.keys() == {}
    other.drop("nobody")
