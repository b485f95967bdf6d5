import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from shared.errors import Invalid, TooLarge
from shared.pki.csr import CSR_LENGTH, create_csr, key_of_csr
from shared.pki.keys import generate_key, key_from_pem, key_to_pem


def _request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_request_carries_a_key_and_no_name() -> None:
    key = generate_key()
    text = create_csr(key)
    assert key_of_csr(text) == key.public_key()
    assert list(x509.load_pem_x509_csr(text.encode()).subject) == []


def test_a_request_with_another_kind_of_key_is_refused() -> None:
    for key in (
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ):
        with pytest.raises(Invalid, match="ECDSA key on P-256"):
            key_of_csr(_request(key))


def test_a_request_that_its_key_did_not_sign_is_refused() -> None:
    lines = create_csr(generate_key()).splitlines()
    other = create_csr(generate_key()).splitlines()
    data = bytearray(base64.b64decode("".join(lines[1:-1])))
    # The key lies in the first part, the signature at the end.
    data[-32:] = base64.b64decode("".join(other[1:-1]))[-32:]
    text = "\n".join([lines[0], base64.encodebytes(bytes(data)).decode().strip(), lines[-1]])
    with pytest.raises(Invalid) as refused:
        key_of_csr(text)
    assert refused.value.code == "invalid_csr"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        "\x00",
        "é",
    ],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        key_of_csr(text)
    assert refused.value.code == "invalid_csr"


def test_a_huge_request_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        key_of_csr("x" * (CSR_LENGTH + 1))


def test_a_key_survives_its_file() -> None:
    key = generate_key()
    assert key_from_pem(key_to_pem(key)).public_key() == key.public_key()


def test_a_key_file_of_another_kind_or_encrypted_is_refused() -> None:
    ed = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for text in ("", "garbage", ed.decode(), key_to_pem(generate_key(), password=b"secret")):
        with pytest.raises(Invalid) as refused:
            key_from_pem(text)
        assert refused.value.code == "invalid_key"
