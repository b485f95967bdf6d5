"""What a thief makes of a site CA's private key: certificates that no code of ours would issue."""

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.pki.certificates import Certificate, certificates_to_pem
from shared.pki.credentials import Credentials
from shared.pki.keys import PrivateKey, generate_key, key_to_pem


@dataclass(frozen=True)
class Wish:
    """What a certificate shall say."""

    uris: Sequence[str] = ()
    dns: Sequence[str] = ()
    addresses: Sequence[str] = ()
    is_ca: bool = False
    common_name: str = "forged"


def sign(wish: Wish, issuer: Certificate, issuer_key: PrivateKey) -> tuple[PrivateKey, Certificate]:
    """Return a key and a certificate that keeps every rule of form, so only its claims are wrong."""
    key = generate_key()
    now = datetime.now(UTC)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usages = {"digital_signature": True, "key_cert_sign": wish.is_ca, "crl_sign": wish.is_ca}
    rest = (
        *("content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "encipher_only", "decipher_only"),
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.common_name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=wish.is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usages, **dict.fromkeys(rest, False)), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
    )
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in wish.uris]
    names += [x509.DNSName(name) for name in wish.dns]
    names += [x509.IPAddress(ip_address(address)) for address in wish.addresses]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    return key, builder.sign(issuer_key, SHA256())


def forge(wish: Wish, stolen: Credentials) -> Credentials:
    """Return a leaf directly beneath the stolen CA."""
    key, certificate = sign(wish, stolen.certificate, stolen.key)
    return Credentials(key, (certificate, *stolen.chain), stolen.roots)


def forge_below(wish: Wish, stolen: Credentials) -> Credentials:
    """Return a leaf beneath a CA of the thief's own beneath the stolen CA."""
    own_key, own = sign(Wish(is_ca=True, common_name="own CA"), stolen.certificate, stolen.key)
    key, certificate = sign(wish, own, own_key)
    return Credentials(key, (certificate, own, *stolen.chain), stolen.roots)


def careless_client(credentials: Credentials | None) -> ssl.SSLContext:
    """Return the context of a client that takes any server: only the server's judgement counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _with_chain(context, credentials)


def careless_server(credentials: Credentials) -> ssl.SSLContext:
    """Return the context of a server that asks for nothing: only the client's judgement counts."""
    return _with_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), credentials)


def _with_chain(context: ssl.SSLContext, credentials: Credentials | None) -> ssl.SSLContext:
    if credentials is None:
        return context
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(key_to_pem(credentials.key) + certificates_to_pem(credentials.chain))
        file.flush()
        context.load_cert_chain(file.name)
    return context
