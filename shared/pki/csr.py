"""Certificate signing requests: a key, and the proof that the sender holds it.

Names in a request are ignored: who gets which name is for the issuer to know, from its own
records, never from what it is asked.
"""

from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import Invalid, TooLarge
from shared.pki.keys import PrivateKey, PublicKey, is_accepted

# A request for a P-256 key takes about 400 bytes.
CSR_LENGTH: Final = 8192


def create_csr(key: PrivateKey) -> str:
    """Return a PEM request that carries `key`'s public half and no name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def key_of_csr(text: str) -> PublicKey:
    """Return the public key of a PEM request, its signature checked.

    Raises TooLarge, or Invalid (`invalid_csr`) saying what is wrong with it.
    """
    if len(text) > CSR_LENGTH:
        raise TooLarge(f"a signing request has at most {CSR_LENGTH} characters")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key = request.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not is_accepted(key):
            raise Invalid("the request's key is not an ECDSA key on P-256", code="invalid_csr")
        if not request.is_signature_valid:
            raise Invalid("the request is not signed with its own key", code="invalid_csr")
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise Invalid("this is no signing request in PEM form", code="invalid_csr") from exc
    return key
