"""Where backups go: folders of this host, by names that policies use."""

from pathlib import Path
from typing import Final

from pydantic import Field

from shared.errors import NotFound
from shared.settings import Settings

LOCAL: Final = "local"


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
