"""What operators and the system record while running: alerts, software, questions."""

from typing import Annotated, Literal

from pydantic import Field

from shared.model.base import Duration, Integer, Name, Optional, Spec, Time
from shared.model.policy import Enforcement
from shared.model.selectors import Selector
from shared.model.settings_policies import Severity


class Silence(Spec):
    selector: Selector = Field(description="The labels of the alerts that are muted.")
    starts_at: Optional[Time] = None
    ends_at: Time
    reason: str = Field(min_length=1)


class Incident(Spec):
    title: str = Field(min_length=1)
    severity: Severity = "warning"
    state: Literal["open", "acknowledged", "resolved"] = "open"
    alerts: tuple[str, ...] = ()
    opened_at: Optional[Time] = None


class Image(Spec):
    """A verified image, known by its digest."""

    version: str = Field(min_length=1)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: Integer = Field(ge=0, description="Bytes.")


class SoftwarePolicy(Spec):
    enforcement: Optional[Enforcement] = None
    sites: Optional[Selector] = None
    nodes: Selector = Field(description="The nodes that should run the image, by labels.")
    image: Name = Field(description="The Image that they should run.")


class Rollout(Spec):
    """A change that goes site by site."""

    target: Name = Field(description="The policy whose change is rolled out.")
    target_kind: str = "SecurityPolicy"
    order: tuple[Selector, ...] = Field((), description="Waves of sites, by labels.")
    max_failures: Integer = Field(0, ge=0)
    paused: Annotated[bool, Field(strict=True)] = False


class SavedQuery(Spec):
    signal: Literal["metrics", "flows", "logs", "events", "audit", "inventory"]
    query: str = Field(min_length=1)
    sites: Optional[Selector] = None
    window: Duration = "1h"


class Report(Spec):
    queries: Annotated[tuple[Name, ...], Field(min_length=1)]
    schedule: str = Field(description="Five cron fields.")
    timezone: str = "UTC"
    format: Literal["html", "csv"] = "html"
    receivers: tuple[Name, ...] = ()
