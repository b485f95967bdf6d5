"""A key with its chain and the roots it trusts, in memory and in a directory.

On disk each version is a folder of its own, and `current` is a symbolic link to one of them:

    DIRECTORY/current -> 000007
    DIRECTORY/000007/key.pem     mode 0600
    DIRECTORY/000007/chain.pem   the own certificate first, up to but without the root
    DIRECTORY/000007/roots.pem   all that are trusted: two while a CA is exchanged

Three files can't be replaced at once, a link can: whenever the writer is killed, `current` leads
to a key, a chain and roots that belong together.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from shared.errors import Invalid, NotFound, StorageFull, Unavailable
from shared.failpoints import failpoint
from shared.pki.alone import alone_in
from shared.pki.certificates import (
    Certificate,
    certificates_from_pem,
    certificates_to_pem,
    is_signed_by,
)
from shared.pki.keys import PrivateKey, key_from_pem, key_to_pem

CURRENT: Final = "current"
KEY_FILE: Final = "key.pem"
CHAIN_FILE: Final = "chain.pem"
ROOTS_FILE: Final = "roots.pem"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a component shows and what it trusts.

    `chain` begins with the certificate of `key`, each following one signed the one before; the
    root is left out (but a root's own credentials have the root as their chain).
    Raises Invalid (`credentials_mismatch`) if the parts don't belong together.
    """

    key: PrivateKey
    chain: tuple[Certificate, ...]
    roots: tuple[Certificate, ...]

    def __post_init__(self) -> None:
        if not self.chain or not self.roots:
            raise _mismatch("credentials have at least one certificate and one root")
        if self.chain[0].public_key() != self.key.public_key():
            raise _mismatch("the first certificate of the chain is not for this private key")
        for lower, upper in zip(self.chain, self.chain[1:], strict=False):
            if not is_signed_by(lower, upper):
                raise _mismatch("a certificate of the chain is not signed by the one after it")
        if not any(is_signed_by(self.chain[-1], root) for root in self.roots):
            raise _mismatch("the chain ends in none of the trusted roots")

    @property
    def certificate(self) -> Certificate:
        return self.chain[0]

    @property
    def root(self) -> Certificate:
        """The root that the own chain ends in; others are trusted while a CA is exchanged."""
        return next(each for each in self.roots if is_signed_by(self.chain[-1], each))

    def trusting(self, roots: Sequence[Certificate]) -> "Credentials":
        """Return the same key and chain with other trusted roots."""
        return replace(self, roots=tuple(roots))


class CredentialsDirectory:
    """One component's, or one CA's, credentials on disk.  Several processes write in turn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return (self.path / CURRENT).exists()

    def load(self) -> Credentials:
        """Return the current version.

        Raises NotFound (`no_credentials`), Unavailable (`credentials_unreadable`, as when the key
        is offline), and Invalid: `key_exposed` if others may read the key, `credentials_mismatch`,
        `invalid_key` or `invalid_certificate` if a file was tampered with.
        """
        key, chain, roots = self._read(KEY_FILE, CHAIN_FILE, ROOTS_FILE)
        return Credentials(
            key_from_pem(key), certificates_from_pem(chain), certificates_from_pem(roots)
        )

    def load_public(self) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...]]:
        """Return chain and roots; the key may be offline.  Raises as load()."""
        chain, roots = self._read(CHAIN_FILE, ROOTS_FILE)
        return certificates_from_pem(chain), certificates_from_pem(roots)

    def write(self, credentials: Credentials) -> None:
        """Make `credentials` the current version, durably; the one before is removed.

        Raises StorageFull, or Unavailable (`credentials_unwritable`); the old version then stays.
        """
        try:
            self._write(credentials)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no space is left to write credentials to {self.path}") from exc
            raise Unavailable(
                f"write the credentials to {self.path}: {exc.strerror}",
                code="credentials_unwritable",
            ) from exc

    def delete_key(self) -> None:
        """Remove the private key for good, as when a root's key is taken offline."""
        folder = self.path / self._current()
        (folder / KEY_FILE).unlink(missing_ok=True)
        _sync(folder)

    def _read(self, *names: str) -> list[str]:
        """Return the files' texts, all of one version."""
        version = self._current()
        folder = self.path / version
        try:
            if KEY_FILE in names:
                _check_private(folder / KEY_FILE)
            return [(folder / name).read_text("ascii", errors="replace") for name in names]
        except OSError as exc:
            # The writer removes the version before when it has written a new one.
            if self._current() != version:
                return self._read(*names)
            raise Unavailable(
                f"read the credentials in {folder}: {exc.filename}: {exc.strerror}",
                code="credentials_unreadable",
            ) from exc

    def _current(self) -> str:
        try:
            return (self.path / CURRENT).readlink().name
        except FileNotFoundError as exc:
            raise NotFound(
                f"there are no credentials in {self.path}", code="no_credentials"
            ) from exc

    def _write(self, credentials: Credentials) -> None:
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self.path.parent)
        with alone_in(self.path):
            self._replace(credentials)

    def _replace(self, credentials: Credentials) -> None:
        before = self._current() if (self.path / CURRENT).is_symlink() else "0"
        self._sweep(keep=before)
        version = f"{int(before) + 1:06}"
        folder = self.path / version
        folder.mkdir(mode=0o700)
        _create(folder / KEY_FILE, key_to_pem(credentials.key), mode=0o600)
        failpoint("pki.key.created")
        _create(folder / CHAIN_FILE, certificates_to_pem(credentials.chain), mode=0o644)
        _create(folder / ROOTS_FILE, certificates_to_pem(credentials.roots), mode=0o644)
        _sync(folder)
        failpoint("pki.files.synced")
        link = self.path / f".{CURRENT}"
        link.symlink_to(version)
        _sync(self.path)
        failpoint("pki.link.created")
        link.replace(self.path / CURRENT)
        failpoint("pki.link.replaced")
        _sync(self.path)
        self._sweep(keep=version)

    def _sweep(self, *, keep: str) -> None:
        """Remove every version but one, and what a killed writer left behind."""
        for entry in self.path.iterdir():
            if entry.name == f".{CURRENT}":
                entry.unlink()
            elif entry.name.isdigit() and entry.name != keep:
                shutil.rmtree(entry)


def _create(path: Path, text: str, *, mode: int) -> None:
    # The mode is given at creation, so the key is at no time readable for others.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _check_private(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        raise Invalid(
            f"others may read {path}; if nobody has, run: chmod 600 {path}", code="key_exposed"
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mismatch(message: str) -> Invalid:
    return Invalid(message, code="credentials_mismatch")
