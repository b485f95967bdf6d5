"""The last good configuration, in a file: what a node enforces before it has spoken to anyone."""

import errno
import os
from pathlib import Path
from typing import Any, Final

import orjson

from dsn.enforce.assignment import Assignment, Version
from shared.errors import HanseError, Invalid, StorageFull, Unavailable
from shared.failpoints import failpoint
from shared.policy.nodeconfig import from_json, to_json

_FORMAT: Final = 1


class LastGood:
    """One file, replaced whole: whoever is killed when, it holds one configuration or the other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Assignment | None:
        """Return what was saved, None if nothing was.

        Invalid (`last_good_unreadable`) if the file was damaged or is a later version's.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise self._unreadable(exc.strerror or str(exc)) from exc
        try:
            document = orjson.loads(data)
            return _parse(document)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            raise self._unreadable("it is damaged") from exc
        except HanseError as exc:
            raise self._unreadable(exc.message) from exc

    def save(self, assignment: Assignment) -> None:
        """Replace the file, durably.  StorageFull or Unavailable; the old one then stays."""
        version = assignment.version
        document = {
            "format": _FORMAT,
            "incarnation": version.incarnation,
            "generation": version.generation,
            "hash": version.hash,
            "configuration": to_json(assignment.configuration),
        }
        try:
            _replace(self._path, orjson.dumps(document))
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"no space is left to write {self._path}") from exc
            raise Unavailable(
                f"write {self._path}: {exc.strerror}", code="last_good_unwritable"
            ) from exc

    def _unreadable(self, why: str) -> Invalid:
        return Invalid(
            f"the last good configuration in {self._path} can't be used: {why}; the site sends "
            "it again",
            code="last_good_unreadable",
        )


def _parse(document: Any) -> Assignment:
    if document["format"] != _FORMAT:
        raise Invalid("it was written by a later version")
    configuration = from_json(document["configuration"])
    if configuration.hash() != document["hash"]:
        raise Invalid("its content is not what it says")
    version = Version(
        str(document["incarnation"]), int(document["generation"]), str(document["hash"])
    )
    return Assignment(version, configuration)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    # What a killed writer left is of no use to anybody.
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        failpoint("dsn.last_good.created")
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoint("dsn.last_good.synced")
    temporary.replace(path)
    failpoint("dsn.last_good.replaced")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
