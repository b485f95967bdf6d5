"""Certificates as values: reading, writing, and the few facts that others ask for."""

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import Invalid, TooLarge
from shared.pki.rotation import Validity

Certificate = x509.Certificate

# Two roots and two chains of three make 5 KiB.
PEM_LENGTH: Final = 64 * 1024


def certificates_from_pem(text: str) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM text, in order; Invalid (`invalid_certificate`) if none."""
    if len(text) > PEM_LENGTH:
        raise TooLarge(f"a list of certificates has at most {PEM_LENGTH} characters")
    try:
        return tuple(x509.load_pem_x509_certificates(text.encode()))
    except ValueError as exc:
        raise Invalid(
            "this is no list of certificates in PEM form", code="invalid_certificate"
        ) from exc


def certificates_to_pem(certificates: Iterable[Certificate]) -> str:
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in certificates)


def certificate_from_der(data: bytes) -> Certificate:
    """Return the certificate; Invalid (`invalid_certificate`) if it can't be read."""
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError as exc:
        raise Invalid("the certificate can't be read", code="invalid_certificate") from exc


def validity_of(certificate: Certificate) -> Validity:
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def serial_of(certificate: Certificate) -> str:
    """Return the serial number in lower-case hex: the key of revocations."""
    return f"{certificate.serial_number:x}"


def fingerprint_of(certificate: Certificate) -> bytes:
    """Return the SHA-256 of the whole certificate (32 bytes)."""
    return certificate.fingerprint(SHA256())


def thumbprint_of(certificate: Certificate) -> str:
    """Return the fingerprint as `x5t#S256` has it (RFC 8705 §3.1): base64url, unpadded."""
    return base64.urlsafe_b64encode(fingerprint_of(certificate)).rstrip(b"=").decode("ascii")


def uris_of(certificate: Certificate) -> list[str]:
    """Return the URI names; Invalid (`invalid_certificate`) if they can't be read."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension) as exc:
        raise Invalid("the certificate's names can't be read", code="invalid_certificate") from exc
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def is_authority(certificate: Certificate) -> bool:
    """Return whether the certificate may sign others (basic constraints, CA:TRUE)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    except (ValueError, x509.DuplicateExtension) as exc:
        raise Invalid(
            "the certificate's constraints can't be read", code="invalid_certificate"
        ) from exc
    return found.value.ca


def is_signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def expires_first(certificates: Iterable[Certificate]) -> datetime:
    """Return when the first of a chain's certificates expires: the chain is good until then."""
    return min(each.not_valid_after_utc for each in certificates)
