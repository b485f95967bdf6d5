"""What of a server's data folder belongs into a backup: a closed list, each item with its id.

Leaves are left out: servers issue themselves a new one when they start.  A private key may be
left out (`keys=False`), or be missing (the root's, if it is kept offline); the rest of its
authority is there all the same.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from shared.backup.manifest import Kind, damaged
from shared.errors import Invalid
from shared.model.documents import dump_yaml
from shared.pki.alone import alone_in
from shared.pki.certificates import certificates_from_pem, certificates_to_pem
from shared.pki.credentials import (
    CHAIN_FILE,
    CURRENT,
    KEY_FILE,
    ROOTS_FILE,
    Credentials,
    CredentialsDirectory,
)
from shared.pki.keys import key_from_pem, key_to_pem

SETTINGS: Final = "settings"
TOKEN_KEY: Final = "token-key"  # noqa: S105 - an id
SEALING_KEY: Final = "credential-key"
"""Opens the store's Credentials."""

_PRIVATE: Final = frozenset({TOKEN_KEY, SEALING_KEY})
_FIRST: Final = "000001"
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a server lives.

    `authorities` are its CAs by id, with their folders in `data`; `files` single files likewise.
    `mark` is a file that a restore leaves, for the server to know.
    """

    server: Kind
    name: str
    data: Path
    url: str
    authorities: Mapping[str, str]
    files: Mapping[str, str] = field(
        default_factory=lambda: {
            SETTINGS: "settings.yaml",
            TOKEN_KEY: "token-key.pem",
            SEALING_KEY: "credential-key",
        }
    )
    mark: str | None = None

    @property
    def database_file(self) -> Path:
        """Where its SQLite store is, if it has one of its own."""
        return self.data / f"{self.server}.sqlite"


@contextmanager
def unchanging(home: Home) -> Iterator[None]:
    """Let nobody go on exchanging a CA while the block runs.

    Else what is read could be half of before and half of after: a root that nothing is beneath.
    """
    folder = home.data / "pki"
    with alone_in(folder) if folder.is_dir() else nullcontext():
        yield


def collect(home: Home, *, keys: bool) -> Iterator[tuple[str, bytes]]:
    """Yield what there is, as (id, content); raises as CredentialsDirectory.load()."""
    for name, place in home.files.items():
        path = home.data / place
        if path.exists() and (keys or name not in _PRIVATE):
            yield f"file.{name}", path.read_bytes()
    for name, place in home.authorities.items():
        directory = CredentialsDirectory(home.data / place)
        if directory.exists():
            yield from _authority(name, directory, keys=keys)


def _authority(
    name: str, directory: CredentialsDirectory, *, keys: bool
) -> Iterator[tuple[str, bytes]]:
    chain, roots = directory.load_public()
    # Offline is where the root's key is meant to be.
    if keys and (directory.path / CURRENT / KEY_FILE).exists():
        credentials = directory.load()
        chain, roots = credentials.chain, credentials.roots
        yield f"file.{name}.key", key_to_pem(credentials.key).encode()
    yield f"file.{name}.chain", certificates_to_pem(chain).encode()
    yield f"file.{name}.roots", certificates_to_pem(roots).encode()


def check(home: Home, contents: Mapping[str, bytes]) -> None:
    """Raise Invalid (`backup_damaged`) unless the contents are such as `collect` yields."""
    known = {f"file.{name}" for name in home.files}
    known |= {f"file.{name}.{part}" for name in home.authorities for part in _FILES}
    for unknown in contents.keys() - known:
        raise damaged(f"it has the file {unknown}, which this server does not have")
    for name in home.authorities:
        parts = {part: contents.get(f"file.{name}.{part}") for part in _FILES}
        if not any(parts.values()):
            continue
        try:
            chain = certificates_from_pem(_text(parts["chain"]))
            roots = certificates_from_pem(_text(parts["roots"]))
            if parts["key"] is not None:
                Credentials(key_from_pem(_text(parts["key"])), chain, roots)
        except Invalid as exc:
            raise damaged(f"its credentials {name} are not good: {exc.message}") from exc


def place(home: Home, contents: Mapping[str, bytes], folder: Path, *, database: str | None) -> None:
    """Write the contents into a folder as into a data folder, durably.

    `database` replaces what the settings say of it; None: SQLite in the folder.
    """
    for name, where in home.files.items():
        content = contents.get(f"file.{name}")
        if name == SETTINGS:
            content = _settings(content or b"{}", database)
        if content is not None:
            _create(folder / where, content)
    if home.mark is not None:
        _create(folder / home.mark, b"")
    for name, where in home.authorities.items():
        if f"file.{name}.chain" not in contents:
            continue
        version = folder / where / _FIRST
        for each in (version.parent.parent, version.parent, version):
            each.mkdir(mode=0o700, exist_ok=True)
        for part, file in _FILES.items():
            content = contents.get(f"file.{name}.{part}")
            if content is not None:
                _create(version / file, content)
        (folder / where / CURRENT).symlink_to(_FIRST)


def database_in(contents: Mapping[str, bytes]) -> str | None:
    """Return the database that the settings in a backup name; None: SQLite in the folder."""
    found = _values(contents.get(f"file.{SETTINGS}") or b"{}").get("database")
    return None if found is None else str(found)


def _settings(text: bytes, database: str | None) -> bytes:
    values = _values(text)
    if values.get("database") == database:
        return text
    values.pop("database", None)
    if database is not None:
        values["database"] = database
    return dump_yaml(values).encode()


def _values(text: bytes) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text[:_LARGEST])
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        raise damaged("its settings are no YAML") from exc
    if values is not None and not isinstance(values, dict):
        raise damaged("its settings are no mapping")
    return values or {}


def _text(content: bytes | None) -> str:
    return (content or b"").decode("ascii", errors="replace")


def _create(path: Path, content: bytes) -> None:
    # All of it private: settings may hold a database's password.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


_FILES: Final[Mapping[str, str]] = {"key": KEY_FILE, "chain": CHAIN_FILE, "roots": ROOTS_FILE}
