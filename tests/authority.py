"""A certificate authority for tests of servers that aren't ours: directories, log receivers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerFiles:
    """Where a server's certificate and its key lie."""

    certificate: Path
    key: Path


@dataclass
class Authority:
    """Signs what it is asked to, expired certificates and wrong names included."""

    name: str = "Example Root"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def __post_init__(self) -> None:
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        now = datetime.now(UTC)
        until = now + timedelta(days=30)
        builder = self._builder(self.key, self._subject, now - timedelta(days=30), until)
        self.certificate = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        ).sign(self.key, SHA256())

    @property
    def pem(self) -> str:
        return _pem(self.certificate).decode()

    def issue(
        self,
        folder: Path,
        *,
        names: tuple[str, ...] = LOOPBACK,
        is_expired: bool = False,
        has_san: bool = True,
        stem: str = "server",
    ) -> ServerFiles:
        """Write a certificate for a server with these names or addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        until = now - timedelta(days=1) if is_expired else now + timedelta(days=1)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = self._builder(key, subject, now - timedelta(days=2), until).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        if has_san:
            shown = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(shown, critical=False)
        certificate = builder.sign(self.key, SHA256())
        files = ServerFiles(folder / f"{stem}.pem", folder / f"{stem}.key")
        files.certificate.write_bytes(_pem(certificate))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _builder(
        self, key: ec.EllipticCurvePrivateKey, subject: x509.Name, since: datetime, until: datetime
    ) -> x509.CertificateBuilder:
        public = key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
