"""How a server's scheduled backups stand: what is wanted, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from shared.ids import Key
from shared.store.contract import Snapshot

SPACE: Final = "backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One schedule of backups.  `name` is the policy's; `policy` its key, None for the server's
    own settings.
    """

    name: str
    cron: str
    timezone: str
    retain: int
    destination: str
    policy: Key | None = None

    @property
    def times(self) -> str:
        """What decides when it is due."""
        return f"{self.cron} {self.timezone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """That a process makes a backup now; it counts until then, unless it is renewed."""

    owner: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupState:
    """What became of one task.  `handled` is the moment up to which all that was due is done."""

    times: str
    handled: datetime
    lease: Lease | None = None
    succeeded_at: datetime | None = None
    failed_at: datetime | None = None
    code: str | None = None
    file: str | None = None
    size: int | None = None
    revision: int | None = None

    @property
    def is_failing(self) -> bool:
        return self.code is not None

    def succeeded(self, at: datetime, *, file: str, size: int, revision: int) -> "BackupState":
        return replace(
            self,
            lease=None,
            succeeded_at=at,
            code=None,
            file=file,
            size=size,
            revision=revision,
        )

    def failed(self, at: datetime, code: str) -> "BackupState":
        return replace(self, lease=None, failed_at=at, code=code)

    def to_record(self) -> dict[str, Any]:
        lease = self.lease
        return {
            "times": self.times,
            "handled": self.handled.isoformat(),
            "lease": [lease.owner, lease.until.isoformat()] if lease else None,
            "succeededAt": _text(self.succeeded_at),
            "failedAt": _text(self.failed_at),
            "code": self.code,
            "file": self.file,
            "size": self.size,
            "revision": self.revision,
        }


def state_of(record: Mapping[str, Any]) -> BackupState:
    lease = record["lease"]
    return BackupState(
        times=record["times"],
        handled=datetime.fromisoformat(record["handled"]),
        lease=Lease(owner=lease[0], until=datetime.fromisoformat(lease[1])) if lease else None,
        succeeded_at=_moment(record["succeededAt"]),
        failed_at=_moment(record["failedAt"]),
        code=record["code"],
        file=record["file"],
        size=record["size"],
        revision=record["revision"],
    )


async def states_in(snapshot: Snapshot) -> dict[str, BackupState]:
    """Return what became of each task, by its name."""
    return {name: state_of(each) for name, each in (await snapshot.records(SPACE)).items()}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
