"""Private keys: ECDSA on P-256, which every TLS stack takes and JWT libraries too.

A key is made where it is used and never leaves that host; what travels is a CSR.
"""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from shared.errors import Invalid

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def generate_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey, *, password: bytes | None = None) -> str:
    """Return the key as PKCS #8, encrypted if there is a password."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode("ascii")


def key_from_pem(text: str) -> PrivateKey:
    """Return the key in an unencrypted PEM file; Invalid (`invalid_key`) for anything else."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError) as exc:
        raise Invalid("this is no unencrypted private key in PEM form", code="invalid_key") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_accepted(key.public_key()):
        raise Invalid("the private key is not an ECDSA key on P-256", code="invalid_key")
    return key


def is_accepted(key: object) -> bool:
    """Return whether a public key is of the one type that is used here."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
