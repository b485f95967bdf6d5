"""Statements: what a server says over its own signature, and which is no token.

A statement is a JWS in compact form, ES256, by one of the server's token keys, with a type of its
own in its header: no token is ever taken for one, nor the other way (RFC 8725 §3.11).  What it
says of its own key and algorithm counts for nothing beyond naming a key that is known.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from jose import jws
from jose.exceptions import JOSEError

from shared.auth.tokens import ALGORITHM, SigningKey, VerificationKey
from shared.errors import Malformed

LONGEST: Final = 4 * 1024


def sign_statement(key: SigningKey, kind: str, says: Mapping[str, Any]) -> str:
    """Return what a server says, signed; `kind` is its type, such as `bookmark+jwt`."""
    return key.sign(dict(says), kind=kind)


def signer_of(text: str, kind: str) -> str:
    """Return the id of the key that a statement of this kind names; Malformed (`bad_signature`)."""
    if len(text) > LONGEST or text.count(".") != 2 or not text.isascii():
        raise _bad("it has not the form of a statement")
    try:
        header = jws.get_unverified_header(text)
    except (JOSEError, ValueError, RecursionError) as exc:
        raise _bad("it has not the form of a statement") from exc
    name = header.get("kid")
    wanted = {"alg": ALGORITHM, "typ": kind}
    if not isinstance(name, str) or "crit" in header or not wanted.items() <= header.items():
        raise _bad(f"it is no {kind}")
    return name


def read_statement(text: str, key: VerificationKey) -> dict[str, Any]:
    """Return what a statement says; Malformed (`bad_signature`) unless this key signed it.

    `key` is the one that signer_of() names.
    """
    try:
        says = json.loads(key.payload(text))
    except (JOSEError, ValueError, RecursionError) as exc:
        raise _bad("the signature is not good") from exc
    if not isinstance(says, dict):
        raise _bad("it says nothing")
    return says


def _bad(reason: str) -> Malformed:
    return Malformed(f"a signed statement is not believed: {reason}", code="bad_signature")
