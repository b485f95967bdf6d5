"""Attack: forged JWT (alg none, HS/RS confusion, key as PEM or DER secret, jwk/jku/kid tricks),
missing exp/iss/aud, oversized, encrypted, another server's.  PyJWT makes them, and is the oracle.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.auth.tokens import TYPE, SigningKey, TokenIssuer, TokenVerifier, key_id_of
from shared.errors import HanseError
from shared.http.peer import PeerClient
from tests.fakes.clock import VirtualClock
from tests.fakes.logins import SERVER
from tests.integration.api.harness import SERVER_NAME, Api, running_api

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
CLOCK = VirtualClock()
NOW = int(CLOCK.now().timestamp())
GOOD = {
    "iss": SERVER,
    "aud": SERVER,
    "sub": "user:admin",
    "sid": "0" * 32,
    "jti": "1" * 32,
    "iat": NOW,
    "exp": NOW + 900,
}
HEADER = {"kid": KEY.id, "typ": TYPE}


def b64(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(
    claims: Any, headers: dict[str, Any], key: SigningKey = KEY, *, is_der: bool = False
) -> str:
    """Sign whatever it is, with whatever header: PyJWT itself refuses to make some of these."""
    text = f"{b64({'alg': 'ES256', **headers})}.{b64(claims)}"
    whole = jwt.PyJWS().encode(b"", key.pem, algorithm="ES256")
    assert whole
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    signature = algorithm.sign(text.encode(), algorithm.prepare_key(key.pem))
    return f"{text}.{b64(signature)}"


def hs256(secret: bytes, **headers: Any) -> str:
    text = f"{b64({'alg': 'HS256', **HEADER, **headers})}.{b64(GOOD)}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def without(name: str) -> str:
    return signed({key: value for key, value in GOOD.items() if key != name}, HEADER)


def jwk_of(key: SigningKey) -> dict[str, Any]:
    public = load_pem_public_key(key.public_pem.encode())
    return jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)


def rs256() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return jwt.encode(GOOD, pem, algorithm="RS256", headers=HEADER)


def der_of(key: SigningKey) -> bytes:
    public = load_pem_public_key(key.public_pem.encode())
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point_of(key: SigningKey) -> bytes:
    public = load_pem_public_key(key.public_pem.encode())
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def p384() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return jwt.encode(GOOD, pem, algorithm="ES384", headers=HEADER)


PARTS = signed(GOOD, HEADER).split(".")

FORGED = {
    "alg none": f"{b64({'alg': 'none', **HEADER})}.{PARTS[1]}.",
    "alg none, signed": f"{b64({'alg': 'none', **HEADER})}.{PARTS[1]}.{PARTS[2]}",
    "alg NoNe": f"{b64({'alg': 'NoNe', **HEADER})}.{PARTS[1]}.",
    "no alg": f"{b64(HEADER)}.{PARTS[1]}.{PARTS[2]}",
    "alg a list": f"{b64({'alg': ['ES256'], **HEADER})}.{PARTS[1]}.{PARTS[2]}",
    "PEM as HMAC secret": hs256(KEY.public_pem.encode()),
    "PEM stripped as HMAC secret": hs256(KEY.public_pem.strip().encode()),
    "DER as HMAC secret": hs256(der_of(KEY)),
    "point as HMAC secret": hs256(point_of(KEY)),
    "JWK as HMAC secret": hs256(json.dumps(jwk_of(KEY)).encode()),
    "empty HMAC secret": hs256(b""),
    "kid as HMAC secret": hs256(KEY.id.encode()),
    "RS256 under our kid": rs256(),
    "ES384 under our kid": p384(),
    "another key": signed(GOOD, HEADER, OTHER),
    "another key under its own kid": signed(GOOD, {**HEADER, "kid": OTHER.id}, OTHER),
    "no kid": signed(GOOD, {"typ": TYPE}),
    "kid a list": signed(GOOD, {**HEADER, "kid": [KEY.id]}),
    "kid a path": signed(GOOD, {**HEADER, "kid": "../../../../dev/null"}, OTHER),
    "kid SQL": signed(GOOD, {**HEADER, "kid": f"' UNION SELECT '{KEY.id}"}, OTHER),
    "kid with a NUL": signed(GOOD, {**HEADER, "kid": f"{KEY.id}\x00"}),
    "kid in another case": signed(GOOD, {**HEADER, "kid": KEY.id.upper() + "A"}),
    "its own jwk": signed(GOOD, {**HEADER, "jwk": jwk_of(OTHER)}, OTHER),
    "its own jwk and kid": signed(
        GOOD, {"typ": TYPE, "kid": OTHER.id, "jwk": jwk_of(OTHER)}, OTHER
    ),
    "its own jku": signed(GOOD, {**HEADER, "jku": "http://127.0.0.1:1/keys"}, OTHER),
    "its own x5u": signed(GOOD, {**HEADER, "x5u": "file:///etc/passwd"}, OTHER),
    "its own x5c": signed(GOOD, {**HEADER, "x5c": [b64(der_of(OTHER))]}, OTHER),
    "crit": signed(GOOD, {**HEADER, "crit": ["exp"]}),
    "another type": signed(GOOD, {**HEADER, "typ": "JWT"}),
    "no type": signed(GOOD, {"kid": KEY.id}),
    "another body": f"{PARTS[0]}.{b64({**GOOD, 'sub': 'user:root'})}.{PARTS[2]}",
    "no signature": f"{PARTS[0]}.{PARTS[1]}.",
    "a zero signature": f"{PARTS[0]}.{PARTS[1]}.{b64(bytes(64))}",
    "half a signature": f"{PARTS[0]}.{PARTS[1]}.{PARTS[2][:43]}",
    **{f"no {name}": without(name) for name in GOOD},
    **{
        f"{name} {what}": signed({**GOOD, name: value}, HEADER)
        for name in ("iss", "aud", "sub", "sid", "jti")
        for what, value in (("empty", ""), ("null", None), ("a list", [GOOD[name]]), ("7", 7))
    },
    **{
        f"{name} {value!r:.20}": signed({**GOOD, name: value}, HEADER)
        for name in ("iat", "exp")
        for value in (None, "soon", True, -1, 1e300, [], 6_000_000_000_000)
    },
    "another issuer": signed({**GOOD, "iss": "spiffe://evil.example/fsm"}, HEADER),
    "another server's": signed({**GOOD, "aud": "spiffe://sfo.hanse.example/sdsp"}, HEADER),
    "several audiences": signed({**GOOD, "aud": [SERVER, "spiffe://x"]}, HEADER),
    "expired": signed({**GOOD, "exp": NOW - 61}, HEADER),
    "from the future": signed({**GOOD, "iat": NOW + 10_000}, HEADER),
    "oversized": signed({**GOOD, "pad": "x" * 9000}, HEADER),
    "encrypted": f"{b64({'alg': 'ECDH-ES', 'enc': 'A256GCM', **HEADER})}..{b64(bytes(12))}.x.y",
    "nested": signed(GOOD, {**HEADER, "cty": "JWT", "zip": "DEF", "alg": "none"}),
    "claims a list": signed([GOOD], HEADER),
    "claims a text": signed("user:admin", HEADER),
    "claims too deep": f"{PARTS[0]}.{b64(b'[' * 5000)}.{PARTS[2]}",
    "header too deep": f"{b64(b'[' * 4000)}.{PARTS[1]}.{PARTS[2]}",
    "header a list": f"{b64([1])}.{PARTS[1]}.{PARTS[2]}",
    "not base64": "ä.ö.ü",
    "nothing": "x",
    "two dots": "..",
    "four parts": ".".join([*PARTS, PARTS[2]]),
}


def outcome(token: str) -> str:
    """Return what comes of a token at a server that has KEY: the subject, or a refusal's code."""
    try:
        if key_id_of(token) != KEY.id:
            return "unknown key"
        return TokenVerifier(SERVER, clock=CLOCK).verify(token, KEY.public).subject
    except HanseError as exc:
        return exc.code


def test_what_is_forged_here_differs_from_what_is_good() -> None:
    assert outcome(signed(GOOD, HEADER)) == "user:admin"
    issued = TokenIssuer(SERVER, clock=CLOCK).issue(
        KEY, subject="user:admin", session="s", lifetime=timedelta(minutes=5)
    )
    assert outcome(issued.text) == "user:admin"


@pytest.mark.parametrize("name", FORGED)
def test_forged_jwt(name: str) -> None:
    assert outcome(FORGED[name]) in ("unknown key", "invalid_token", "token_expired")


# What PyJWT verifies of tokens that are signed well, we do, and nothing else: but we ask for more.

TEXT = st.sampled_from([SERVER, "spiffe://x", "", "user:kim"])
VALUE = st.one_of(
    st.none(),
    st.booleans(),
    TEXT,
    st.lists(TEXT, max_size=2),
    st.integers(NOW - 200, NOW + 200),
    st.floats(NOW - 200, NOW + 200),
)
CLAIMS = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from([*GOOD, "nbf", "name", "roles"]), VALUE, max_size=3),
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "jwk", "jku", "x5u", "crit", "zip", "cty"]),
    st.one_of(st.sampled_from(["ES256", "HS256", "none", KEY.id, OTHER.id, TYPE, "JWT"]), VALUE),
    max_size=2,
)
GONE = st.sets(st.sampled_from([*GOOD]), max_size=1)


@given(changed=CLAIMS, gone=GONE, headers=HEADERS, is_ours=st.booleans())
@example(changed={}, gone=set(), headers={}, is_ours=True)
@settings(max_examples=300)
def test_we_and_pyjwt_accept_the_same(changed, gone, headers, is_ours) -> None:
    claims = {key: each for key, each in {**GOOD, **changed}.items() if key not in gone}
    token = signed(claims, {**HEADER, **headers}, KEY if is_ours else OTHER)
    header = {"alg": "ES256", **HEADER, **headers}
    try:
        read = jwt.decode(
            token,
            KEY.public_pem,
            algorithms=["ES256"],
            audience=SERVER,
            issuer=SERVER,
            # The oracle has no clock that can be handed in.
            options={
                "require": ["exp", "iat", "iss", "aud", "sub", "jti"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "strict_aud": True,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        read = None
    is_whole = (
        read is not None
        and all(
            isinstance(read.get(k), int) and not isinstance(read[k], bool) for k in ("iat", "exp")
        )
        and all(isinstance(read.get(k), str) and read[k] for k in ("sub", "sid", "jti"))
        and (header["kid"], header["typ"]) == (KEY.id, TYPE)
        and "crit" not in header
        and read["iat"] - 60 <= NOW < read["exp"] + 60
    )
    got = outcome(token)
    assert (got == claims.get("sub")) == is_whole, (got, claims, header)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def test_forged_jwt_over_the_wire(api: Api, tmp_path: Path) -> None:
    """The server's own key, its own session: only what is forged is wrong."""
    good = api.token("admin")
    head, body, signature = good.split(".")
    key = next(iter(api.services.logins.ring._private.values()))
    claims = jwt.decode(good, options={"verify_signature": False})
    header = {"kid": key.id, "typ": TYPE}
    tokens = {
        "alg none": f"{b64({'alg': 'none', **header})}.{body}.",
        "PEM as HMAC secret": jwt.api_jws.PyJWS().encode(
            json.dumps(claims).encode(), "x" * 32, algorithm="HS256", headers=header
        ),
        "its own jwk": signed(claims, {**header, "jwk": jwk_of(OTHER)}, OTHER),
        "an unknown kid": signed(claims, {**header, "kid": OTHER.id}, OTHER),
        "another body": f"{head}.{b64({**claims, 'sub': 'user:root'})}.{signature}",
        "another subject": signed({**claims, "sub": "user:root"}, header, key),
        "an unknown session": signed({**claims, "sid": "f" * 32}, header, key),
        "another server's": signed({**claims, "aud": "spiffe://x"}, header, key),
        "expired": signed({**claims, "exp": claims["iat"] - 61}, header, key),
    }
    assert claims["iss"] == SERVER_NAME
    for name, token in tokens.items():
        client = PeerClient([api.server.url], tls=None, token=lambda token=token: token)
        api.clients.append(client)
        with pytest.raises(HanseError) as caught:
            await client.get("/api/v1/whoami")
        assert caught.value.code in ("invalid_token", "token_expired", "token_revoked"), name
    client = PeerClient([api.server.url], tls=None, token=lambda: good)
    api.clients.append(client)
    await client.get("/api/v1/whoami")
