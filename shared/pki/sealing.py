"""Secrets at rest: sealed with a key file of the server, by AES-256-GCM (NIST SP 800-38D).

What is sealed is bound to its context (which Credential it is), so that one row of a database can't
be put in the place of another.  A nonce is 96 random bits; with one key far fewer than 2^32 texts
are ever sealed, which is what section 8.3 there allows.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Invalid
from shared.failpoints import failpoint

_BYTES: Final = 32
_NONCE: Final = 12
_FORM: Final = "v1"


class SealingKey:
    """Seals texts, opens them again, and makes keyed hashes."""

    def __init__(self, key: bytes) -> None:
        """Invalid (`invalid_key`) unless it has 32 bytes."""
        if len(key) != _BYTES:
            raise Invalid(f"a sealing key has {_BYTES} bytes", code="invalid_key")
        self._sealer = AESGCM(_derived(key, b"seal"))
        self._hashing = _derived(key, b"hash")
        self.id = hashlib.sha256(_derived(key, b"name")).hexdigest()[:16]

    def seal(self, text: str, *, context: str) -> str:
        """Return the text sealed, to be opened with the same context only."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._sealer.encrypt(nonce, text.encode(), context.encode())
        return f"{_FORM}:{self.id}:{base64.b64encode(nonce + sealed).decode('ascii')}"

    def open(self, sealed: str, *, context: str) -> str:
        """Return the text; Invalid (`other_key`, `damaged_secret`) if it can't be opened."""
        form, _, rest = sealed.partition(":")
        key, _, data = rest.partition(":")
        if form != _FORM or key != self.id:
            raise Invalid(
                "it was sealed with another key than this server has; set it again",
                code="other_key",
            )
        try:
            raw = base64.b64decode(data, validate=True)
            return self._sealer.decrypt(raw[:_NONCE], raw[_NONCE:], context.encode()).decode()
        except (InvalidTag, ValueError) as exc:
            raise Invalid(
                "its sealed form is damaged, or was moved; set it again", code="damaged_secret"
            ) from exc

    def hash(self, text: str) -> str:
        """Return HMAC-SHA256 (RFC 2104) in hexadecimal: equal for equal texts, to us only."""
        return hmac.new(self._hashing, text.encode(), hashlib.sha256).hexdigest()


def load_sealing_key(path: Path) -> SealingKey:
    """Read a key file, or make one with mode 0600 if there is none yet.

    Invalid (`key_exposed`) if others may read it, (`invalid_key`) if it holds no such key.
    """
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise Invalid(
            f"others may read {path}, which opens every Credential; if nobody has, run: "
            f"chmod 600 {path}; else set the Credentials anew",
            code="key_exposed",
        )
    try:
        return SealingKey(base64.b64decode(path.read_bytes().strip(), validate=True))
    except ValueError as exc:
        raise Invalid(f"{path} holds no sealing key", code="invalid_key") from exc


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    failpoint("sealing_key.synced")
    try:
        # Of two servers that start at once in a folder, one makes the key of both.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    failpoint("sealing_key.placed")


def _derived(key: bytes, use: bytes) -> bytes:
    # One key for each use, so that neither says anything of the other.
    return hmac.new(key, b"hanse " + use, hashlib.sha256).digest()
