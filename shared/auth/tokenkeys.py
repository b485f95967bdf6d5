"""The private keys that sign tokens, in a folder that nobody else may read.

    FOLDER/owner            names the folder itself
    FOLDER/KEY-ID.pem       mode 0600

Several processes of one server may share the folder.  Which of the keys signs, and which counts no
longer, is not said here: shared.login.keyring keeps that in the store.
"""

import os
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from shared.auth.tokens import SigningKey
from shared.errors import Invalid
from shared.failpoints import failpoint
from shared.pki.keys import key_from_pem

OWNER: Final = "owner"

# A key that another process has just written is not published yet.
_YOUNG: Final = timedelta(minutes=10)


class KeyFolder:
    def __init__(self, path: Path, *, former: Path | None = None) -> None:
        """`former` is the single key of earlier versions; it is taken over when a key is made."""
        self.path = path
        self._former = former
        self._read: dict[str, SigningKey] = {}

    @property
    def owner(self) -> str:
        """The folder's own name, the same for all who share it."""
        self._make()
        path = self.path / OWNER
        if not path.exists():
            # Whoever is second finds the first one's.
            draft = self._draft(secrets.token_hex(8))
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text("ascii").strip()

    def keys(self) -> Mapping[str, SigningKey]:
        """Return the keys that are there, by id.

        Invalid (`key_exposed`) if others may read one, (`invalid_key`) if one is none.
        """
        found = {}
        for path in self.path.glob("*.pem"):
            try:
                check_private(path)
                found[path.stem] = self._read.get(path.stem) or _key_in(path)
            except FileNotFoundError:
                continue  # another process has just dropped it
        self._read = found
        return found

    def create(self) -> SigningKey:
        """Put a new key there, or the one of earlier versions, and return it."""
        self._make()
        if self._former is not None and self._former.exists():
            check_private(self._former)
            key = _key_in(self._former)
            self._former.replace(self.path / f"{key.id}.pem")
            return key
        key = SigningKey.generate()
        # Complete before it has its name: a process that is killed leaves no half key behind.
        draft = self._draft(key.pem)
        failpoint("token_key.synced")
        draft.replace(self.path / f"{key.id}.pem")
        failpoint("token_key.replaced")
        return key

    def drop(self, key_id: str) -> None:
        """Remove a key for good; nothing happens if there is none."""
        (self.path / f"{key_id}.pem").unlink(missing_ok=True)

    def is_young(self, key_id: str, *, now: datetime) -> bool:
        """Return whether a key may be one that another process is about to publish."""
        try:
            written = (self.path / f"{key_id}.pem").stat().st_mtime
        except FileNotFoundError:
            return False
        return abs(now.timestamp() - written) < _YOUNG.total_seconds()

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _draft(self, text: str) -> Path:
        draft = self.path / f".{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return draft


def check_private(path: Path) -> None:
    """Invalid (`key_exposed`) if others may read a file."""
    if path.stat().st_mode & 0o077:
        raise Invalid(
            f"others may read {path}: every token could be forged. If nobody has, run "
            f"chmod 600 {path}; else delete it, and everybody logs in again",
            code="key_exposed",
        )


def _key_in(path: Path) -> SigningKey:
    pem = path.read_text("ascii", errors="replace")
    key_from_pem(pem)
    return SigningKey(pem)
