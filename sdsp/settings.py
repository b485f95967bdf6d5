"""An SDSP's settings: `settings.yaml` in its data folder, then the environment (HANSE_SDSP_…)."""

from pathlib import Path
from typing import Final

from pydantic import Field

from sdsp.conflicts.deadlines import ConflictSettings
from shared.audit.settings import AuditSettings
from shared.backup.settings import BackupSettings
from shared.http.rates import RateSettings
from shared.http.settings import ListenSettings
from shared.model.base import Duration
from shared.model.selectors import Selector
from shared.settings import Settings, load_settings

FILE: Final = "settings.yaml"
PREFIX: Final = "HANSE_SDSP_"


class Listen(ListenSettings):
    port: int = Field(8444, ge=0, le=65535)


class Wishes(Settings):
    """What the site wants of the federation's optional content; left out: all of it."""

    kinds: tuple[str, ...] = Field((), description="Network, Service, SecurityPolicy; none: all.")
    tenants: tuple[str, ...] = Field((), description="Tenants by name; none: all.")
    selector: Selector = Field(default_factory=Selector, description="Labels of what is wanted.")


class FlowSettings(Settings):
    """Where flows that were seen at the site are recorded; impacts tell which would be turned."""

    recorded: Path | None = Field(
        None, description="A file of flows, one a line in JSON, or that compressed by gzip."
    )
    window: Duration = Field("7d", description="How far back flows count.")


class SDSPSettings(Settings):
    """`database` is left out for the SQLite file in the data folder."""

    site: str = Field("", description="The site's name; set by `hanse sdsp join`.")
    upstream: tuple[str, ...] = Field((), description="The FSM's endpoints, https://HOST:PORT.")
    subscription: Wishes = Field(default_factory=Wishes)
    listen: Listen = Field(default_factory=Listen)
    database: str | None = Field(None, description="postgresql://… or cockroachdb://…")
    backup: BackupSettings = Field(default_factory=BackupSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    conflicts: ConflictSettings = Field(
        default_factory=ConflictSettings,
        description="How long people have to decide a conflict, by its urgency.",
    )
    flows: FlowSettings = Field(
        default_factory=FlowSettings, description="What is known of past traffic."
    )
    rates: RateSettings = Field(
        default_factory=RateSettings, description="How many calls are taken, and from whom."
    )

    def database_url(self, data: Path) -> str:
        return self.database or f"sqlite:///{data / 'sdsp.sqlite'}"


def load(data: Path, environ: dict[str, str]) -> SDSPSettings:
    """Return the settings of a data folder; Invalid (`invalid_settings`)."""
    file = data / FILE
    return load_settings(
        SDSPSettings, file=file if file.exists() else None, environ=environ, prefix=PREFIX
    )
