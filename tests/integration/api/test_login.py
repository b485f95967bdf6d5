"""Logging in, and everything that isn't a good token."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from shared.auth.passwords import Passwords
from shared.auth.tokens import TokenIssuer, load_signing_key
from shared.clock import SystemClock
from shared.errors import (
    Conflict,
    Invalid,
    Malformed,
    TooManyRequests,
    Unauthenticated,
)
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from tests.integration.api.harness import SERVER_NAME, Api, running_api

REFUSED = ("invalid_token", "token_expired", "unauthenticated")
PASSWORD = "correct horse battery staple"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        passwords = Passwords()
        await create_account(
            running.store, "admin", PASSWORD, passwords=passwords, clock=SystemClock()
        )
        passwords.close()
        yield running


async def log_in(client: PeerClient, username: str = "admin", password: str = PASSWORD):
    return await client.post("/api/v1/login", {"username": username, "password": password})


async def test_a_password_is_traded_for_a_token_that_says_who_one_is(api: Api) -> None:
    answer = (await log_in(api.client())).json()

    assert answer["tokenType"] == "Bearer"
    client = PeerClient([api.server.url], tls=None, token=lambda: answer["accessToken"])
    api.clients.append(client)
    identity = (await client.get("/api/v1/whoami")).json()
    assert identity["identity"] == "user:admin"
    assert identity["kind"] == "person"
    assert identity["roles"] == ["global-admin"]
    assert identity["tenants"] is None
    assert identity["expiresAt"] >= answer["expiresAt"]
    assert "override" in identity["permissions"]


async def test_a_wrong_name_and_a_wrong_password_are_refused_alike(api: Api) -> None:
    answers = []
    for username, password in (("admin", "wrong"), ("nobody", PASSWORD), ("admin", "x" * 1024)):
        with pytest.raises(Unauthenticated) as caught:
            await log_in(api.client(), username, password)
        answers.append((caught.value.code, caught.value.message))
    assert len(set(answers)) == 1
    actions = [(r.action, r.identity, r.outcome) for _, r in await api.store.audit_records()]
    assert ("login", "user:nobody", "wrong_credentials") in actions


@pytest.mark.parametrize(
    "body",
    [
        {"username": "admin"},
        {"username": "", "password": "x"},
        {"username": "admin", "password": ""},
        {"username": "admin", "password": "x", "extra": 1},
        {"username": ["admin"], "password": "x"},
    ],
)
async def test_an_incomplete_login_is_invalid(api: Api, body) -> None:
    with pytest.raises(Invalid) as caught:
        await api.client().post("/api/v1/login", body)
    assert caught.value.fields


async def test_guessing_is_slowed_per_account_and_told_when_to_try_again(api: Api) -> None:
    client = api.client()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await log_in(client, password="guess")
    with pytest.raises(TooManyRequests) as caught:
        await log_in(client)
    assert 1 <= caught.value.retry_after <= 60
    with pytest.raises(Unauthenticated):
        await log_in(client, username="other", password="guess")


async def test_guessing_at_once_gets_no_more_than_the_limit(api: Api) -> None:
    client = api.client()

    async def guess() -> str:
        try:
            await log_in(client, password="guess")
        except (Unauthenticated, TooManyRequests) as exc:
            return exc.code
        return "in"

    outcomes = await asyncio.gather(*(guess() for _ in range(14)))
    assert sorted(outcomes) == ["too_many_requests"] * 4 + ["wrong_credentials"] * 10


async def test_an_account_is_made_once(api: Api) -> None:
    passwords = Passwords()
    clock = SystemClock()
    with pytest.raises(Conflict):
        await create_account(api.store, "admin", PASSWORD, passwords=passwords, clock=clock)
    with pytest.raises(Invalid):
        await create_account(api.store, "new", "short", passwords=passwords, clock=clock)
    async with api.store.snapshot() as snapshot:
        record = await snapshot.record("accounts", "admin")
    passwords.close()
    assert record is not None
    assert record["passwordHash"].startswith("$argon2id$")
    assert PASSWORD not in str(record)


def b64(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(api: Api, folder: Path) -> dict[str, str]:
    """Return tokens that must not count, made with another library (PyJWT) or by hand."""
    key = load_signing_key(folder / "token.pem")
    good = jwt.decode(
        api.token("admin"),
        key.public_pem,
        algorithms=["ES256"],
        audience=SERVER_NAME,
        issuer=SERVER_NAME,
    )
    header = {"kid": key.id}
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    parts = api.token("admin").split(".")
    hs_header = b64({"alg": "HS256", "kid": key.id, "typ": "JWT"})
    body = b64(good)

    def hs256(secret: bytes) -> str:
        import hashlib
        import hmac

        signature = hmac.new(secret, f"{hs_header}.{body}".encode(), hashlib.sha256).digest()
        return f"{hs_header}.{body}.{b64(signature)}"

    def signed(claims: dict, **headers: object) -> str:
        return jwt.encode(claims, key.pem, algorithm="ES256", headers={**header, **headers})

    def without(name: str) -> str:
        return signed({k: v for k, v in good.items() if k != name})

    return {
        "alg none": f"{b64({'alg': 'none', 'kid': key.id})}.{body}.",
        "alg NONE": f"{b64({'alg': 'NoNe', 'kid': key.id})}.{body}.{parts[2]}",
        "the public key as an HMAC secret": hs256(key.public_pem.encode()),
        "an empty HMAC secret": hs256(b""),
        "another's key": jwt.encode(good, other, algorithm="ES256", headers=header),
        "an unknown kid": jwt.encode(good, key.pem, algorithm="ES256", headers={"kid": "x"}),
        "a path as kid": jwt.encode(
            good, key.pem, algorithm="ES256", headers={"kid": "../../dev/null"}
        ),
        "no kid": jwt.encode(good, key.pem, algorithm="ES256"),
        "its own key in jwk": jwt.encode(
            good, other, algorithm="ES256", headers={"jwk": {"kty": "EC"}, "kid": "mine"}
        ),
        "a jku": jwt.encode(good, other, algorithm="ES256", headers={"jku": "http://127.0.0.1/"}),
        "crit": signed(good, crit=["exp"]),
        "a changed body": f"{parts[0]}.{b64({**good, 'sub': 'user:root'})}.{parts[2]}",
        "no signature": f"{parts[0]}.{parts[1]}.",
        "no exp": without("exp"),
        "no iss": without("iss"),
        "no aud": without("aud"),
        "no sub": without("sub"),
        "no iat": without("iat"),
        "another issuer": signed({**good, "iss": "spiffe://evil.example/fsm"}),
        "another audience": signed({**good, "aud": "spiffe://sfo.hanse.example/sdsp"}),
        "a list of audiences": signed({**good, "aud": [SERVER_NAME, "other"]}),
        "expired": signed({**good, "exp": good["iat"] - 100}),
        "from the future": signed({**good, "iat": good["iat"] + 10_000}),
        "exp in year 200000": signed({**good, "exp": 6_000_000_000_000}),
        "exp true": signed({**good, "exp": True}),
        "roles as text": signed({**good, "roles": "admin"}),
        "oversized": signed({**good, "pad": "x" * 9000}),
        "encrypted": "a.b.c.d.e",
        "nothing": "x",
        "two dots": "..",
        "deep": f"{b64(b'[' * 4000)}.{body}.{parts[2]}",
        "not a mapping": f"{b64([1])}.{body}.{parts[2]}",
    }


async def test_no_forged_token_counts(api: Api, tmp_path: Path) -> None:
    for name, token in forged(api, tmp_path).items():
        client = PeerClient([api.server.url], tls=None, token=lambda token=token: token)
        api.clients.append(client)
        with pytest.raises((Unauthenticated, Malformed)) as caught:
            await client.get("/api/v1/whoami")
        # What is longer than a header may be never reaches us.
        expected = ("malformed",) if name == "oversized" else REFUSED
        assert caught.value.code in expected, name


async def test_a_token_of_another_server_does_not_count(api: Api, tmp_path: Path) -> None:
    stranger = TokenIssuer(
        load_signing_key(tmp_path / "other.pem"),
        issuer=SERVER_NAME,
        audience=SERVER_NAME,
        lifetime=api.issuer._lifetime,
        clock=SystemClock(),
    )
    token = stranger.issue("user:admin", display_name="x", roles=["admin"]).text
    client = PeerClient([api.server.url], tls=None, token=lambda: token)
    api.clients.append(client)
    with pytest.raises(Unauthenticated):
        await client.get("/api/v1/whoami")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "x" * 4000])
async def test_other_authorization_headers_are_refused(api: Api, header: str) -> None:
    with pytest.raises(Unauthenticated):
        await api.client().get("/api/v1/whoami", headers={"Authorization": header})


async def test_nobody_gets_past_the_door_without_a_token(api: Api) -> None:
    for path in ("/api/v1/networks", "/api/v1/whoami", "/metrics"):
        with pytest.raises(Unauthenticated):
            await api.client().get(path)
