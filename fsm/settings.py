"""The FSM's settings: `settings.yaml` in its data folder, then the environment (HANSE_FSM_…)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from shared.audit.settings import AuditSettings
from shared.backup.settings import BackupSettings
from shared.http.outward import OutwardSettings
from shared.http.rates import RateSettings
from shared.http.settings import ListenSettings
from shared.settings import Settings, load_settings

FILE: Final = "settings.yaml"
PREFIX: Final = "HANSE_FSM_"


class Listen(ListenSettings):
    port: int = Field(8443, ge=0, le=65535)


class FSMSettings(Settings):
    """How an FSM runs.

    `database` is left out for the SQLite file in the data folder.  `server_names` are the DNS
    names and addresses that its certificate carries, which clients call it by.
    """

    listen: Listen = Field(default_factory=Listen)
    server_names: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "::1"), description="DNS names and addresses of this server."
    )
    database: str | None = Field(None, description="postgresql://… or cockroachdb://…")
    log_retention: float = Field(
        7 * 86400.0, gt=0, description="Seconds for which watches can be resumed."
    )
    backup: BackupSettings = Field(default_factory=BackupSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    sites: OutwardSettings = Field(
        default_factory=OutwardSettings, description="Where sites may be called at, to ask them."
    )
    rates: RateSettings = Field(
        default_factory=RateSettings, description="How many calls are taken, and from whom."
    )

    def database_url(self, data: Path) -> str:
        return self.database or f"sqlite:///{data / 'fsm.sqlite'}"


def load(data: Path, environ: Mapping[str, str]) -> FSMSettings:
    """Return the settings of a data folder; Invalid (`invalid_settings`)."""
    file = data / FILE
    return load_settings(
        FSMSettings, file=file if file.exists() else None, environ=environ, prefix=PREFIX
    )
