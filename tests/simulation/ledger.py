"""What a store really holds, read from its file beside the product's own code."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from shared.ids import COMMON, Generation, Key, Revision
from shared.model.kinds import KINDS
from shared.policy.inputs import Document
from shared.store.contract import Stored
from tests.simulation.clock import START


class Version(NamedTuple):
    """One object's change within a revision; `spec` is None of a deletion."""

    revision: int
    key: Key
    operation: str
    uid: str
    spec: Any
    labels: dict[str, str]
    annotations: dict[str, str]
    origin: str | None
    generation: int

    def stored(self) -> Stored:
        return Stored(
            key=self.key,
            uid=self.uid,
            spec=self.spec,
            labels=self.labels,
            annotations=self.annotations,
            origin=self.origin,
            revision=Revision(self.revision),
            generation=Generation(self.generation),
            created_at=START,
            updated_at=START,
        )


@dataclass(slots=True)
class Ledger:
    """One life of a store: everything that was ever committed in it, in order."""

    name: str
    incarnation: str = ""
    epoch: int = 0
    revision: int = 0
    versions: list[Version] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    oldest: int = 0
    restored_to: int | None = None
    """The revision of the backup that took this life's place, once one did."""
    compacted: bool = False

    def read(self, path: Path) -> None:
        """Take up what is new in the file."""
        connection = sqlite3.connect(path)
        try:
            counter = connection.execute("SELECT incarnation, revision, oldest FROM counter")
            self.incarnation, self.revision, self.oldest = counter.fetchone()
            last = self.versions[-1].revision if self.versions else 0
            rows = connection.execute(
                "SELECT revision, kind, tenant, scope, name, operation, uid, spec, labels,"
                " annotations, origin, generation FROM versions WHERE revision > ?"
                " ORDER BY revision, ordinal",
                (last,),
            )
            self.versions += [_version(row) for row in rows]
            known = max(self.digests, default=-1)
            digests = connection.execute(
                "SELECT revision, digest FROM commits WHERE revision > ?", (known,)
            )
            self.digests.update(digests.fetchall())
        finally:
            connection.close()

    def by_revision(self) -> dict[int, list[Version]]:
        found: dict[int, list[Version]] = {}
        for each in self.versions:
            found.setdefault(each.revision, []).append(each)
        return found

    def objects_at(self, revision: int) -> dict[Key, Version]:
        """Return everything that was there at a revision."""
        found: dict[Key, Version] = {}
        for each in self.versions:
            if each.revision > revision:
                break
            if each.spec is None:
                found.pop(each.key, None)
            else:
                found[each.key] = each
        return found

    def log(self) -> dict[int, Mapping[str, Any]]:
        """Return the log as the validators of tests/contract take it."""
        return {
            revision: {
                "commit": revision,
                "digest": self.digests.get(revision),
                "changes": [
                    {
                        "key": list(each.key),
                        "operation": each.operation,
                        "spec": each.spec,
                        "generation": each.generation if each.spec is not None else None,
                        "uid": each.uid if each.spec is not None else None,
                    }
                    for each in changes
                ],
            }
            for revision, changes in self.by_revision().items()
        }


def records_in(path: Path, space: str) -> dict[str, Any]:
    """Return the records of one space, by name."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, value FROM records WHERE space = ?", (space,))
        return {name: orjson.loads(value) for name, value in rows}
    finally:
        connection.close()


def planned(version: Version) -> Document:
    """Return a version as the planner sees it."""
    spec = KINDS[version.key.kind].spec.model_validate(version.spec)
    return Document(version.key, spec, version.labels, revision=Revision(version.revision))


def _version(row: Any) -> Version:
    revision, kind, tenant, scope, name, operation, uid, spec, labels, notes, origin, number = row
    return Version(
        revision,
        Key(kind, tenant or COMMON, scope, name),
        operation,
        uid,
        None if operation == "delete" else orjson.loads(spec),
        orjson.loads(labels),
        orjson.loads(notes),
        origin,
        number,
    )
