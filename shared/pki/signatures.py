"""Signatures over plain data: by a component's own key, verified with its certificate.

ECDSA on P-256 with SHA-256, as its TLS certificate has it.  What is signed begins with its purpose,
so that no signature made for one thing counts for another.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from shared.pki.certificates import Certificate, is_authority, is_signed_by
from shared.pki.keys import PrivateKey, is_accepted


def sign(key: PrivateKey, purpose: str, data: bytes) -> str:
    """Return a signature in base64."""
    signature = key.sign(_message(purpose, data), ec.ECDSA(SHA256()))
    return base64.b64encode(signature).decode("ascii")


def is_signature(certificate: Certificate, purpose: str, data: bytes, signature: str) -> bool:
    """Return whether a signature is one of the certificate's key."""
    key = certificate.public_key()
    if not is_accepted(key) or not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, _message(purpose, data), ec.ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def leads_to(chain: Sequence[Certificate], roots: Sequence[Certificate], *, at: datetime) -> bool:
    """Return whether a chain, leaf first, led to one of the roots at a time."""
    if not chain:
        return False
    for lower, upper in pairwise(chain):
        if not (is_authority(upper) and is_signed_by(lower, upper)):
            return False
    if not all(each.not_valid_before_utc <= at <= each.not_valid_after_utc for each in chain):
        return False
    return any(is_signed_by(chain[-1], root) for root in roots)


def _message(purpose: str, data: bytes) -> bytes:
    return purpose.encode("ascii") + b"\n" + data
