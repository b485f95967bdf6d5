"""What operators and the system record while running: alerts, software, questions."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Duration, Integer, Name, Optional, Spec, Time
from shared.model.policy import Enforcement
from shared.model.selectors import Selector
from shared.model.settings_policies import Severity


class Silence(Spec):
    """Alerts that are muted for a while."""

    selector: Selector = Field(description="The labels of the alerts that are muted.")
    starts_at: Optional[Time] = Field(None, description="Left out: at once.")
    ends_at: Time = Field(description="When they sound again.")
    reason: str = Field(min_length=1, description="Why they are muted.")


class Incident(Spec):
    """Alerts and events that belong together, as the system found."""

    title: str = Field(min_length=1, description="What happened, in a line.")
    severity: Severity = Field("warning", description="The worst of its alerts.")
    state: Literal["open", "acknowledged", "resolved"] = Field(
        "open", description="How far people are with it."
    )
    alerts: tuple[str, ...] = Field((), description="The alerts in it.")
    opened_at: Optional[Time] = Field(None, description="When the first of them arose.")


class Image(Spec):
    """A verified image, known by its digest."""

    version: str = Field(min_length=1, description="For people.")
    digest: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$", description="SHA-256 of the content, in hex."
    )
    size: Integer = Field(ge=0, description="Bytes.")


class SoftwarePolicy(Spec):
    """Which verified image a group of nodes should run."""

    enforcement: Optional[Enforcement] = Field(
        None, description="A mandatory one wins over any nearer one."
    )
    sites: Optional[Selector] = Field(None, description="Left out: every site.")
    nodes: Selector = Field(description="The nodes that should run the image, by labels.")
    image: Name = Field(description="The Image that they should run.")


class SavedQuery(Spec):
    """A question that is asked again."""

    signal: Literal["metrics", "flows", "logs", "events", "audit", "inventory"] = Field(
        description="What is asked for."
    )
    query: str = Field(min_length=1, description="An expression over the signal.")
    sites: Optional[Selector] = Field(None, description="Left out: every site.")
    window: Duration = Field("1h", description="How far back it looks.")


class Report(Spec):
    """Saved queries answered on a schedule."""

    queries: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="The SavedQueries in it, in order."
    )
    schedule: str = Field(description="Five cron fields.")
    timezone: str = Field("UTC", description="An IANA time zone, for example Europe/Berlin.")
    format: Literal["html", "csv"] = Field("html", description="What is sent.")
    receivers: tuple[Name, ...] = Field((), description="Who gets it.")
