"""Where backups go: folders of this host, by names that policies use."""

from pathlib import Path
from typing import Final

from pydantic import Field

from shared.backup.standing import Task
from shared.errors import NotFound
from shared.model.schedule import CronText, ZoneName
from shared.settings import Settings

LOCAL: Final = "local"
OWN: Final = "-"
"""Names the settings' own schedule; no policy can be called so."""


class OwnSchedule(Settings):
    """A schedule that this server follows beside what policies say; an FSM has no other."""

    cron: CronText = Field(description="Five cron fields, for example '30 2 * * *'.")
    timezone: ZoneName = Field("UTC", description="An IANA time zone, for example Europe/Berlin.")
    retain: int = Field(7, ge=1, description="How many backups to keep.")
    destination: str = Field("local", description="A destination of these settings.")


class BackupSettings(Settings):
    """`destinations` are names and folders; `local` is DATA/backups if it isn't among them.

    A policy names a destination and never a folder, so that who may write policy can't choose
    where on a host something is written.
    """

    destinations: dict[str, Path] = Field(
        default_factory=dict, description="Folders of this host that backups go to, by name."
    )
    keys: bool = Field(
        True, description="Whether scheduled backups hold the private keys of this server."
    )
    schedule: OwnSchedule | None = Field(None, description="Backups that no policy asks for.")

    def own_task(self) -> Task | None:
        """Return what the settings themselves ask for."""
        own = self.schedule
        if own is None:
            return None
        return Task(
            name=OWN,
            cron=own.cron,
            timezone=own.timezone,
            retain=own.retain,
            destination=own.destination,
        )

    def folder(self, name: str, data: Path) -> Path:
        """Return a destination's folder; NotFound (`backup_destination_unknown`)."""
        if name in self.destinations:
            return self.destinations[name]
        if name == LOCAL:
            return data / "backups"
        raise NotFound(
            f"there is no backup destination {name!r} in this server's settings; add it under "
            "backup.destinations",
            code="backup_destination_unknown",
        )
