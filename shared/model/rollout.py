"""A change of policy that goes site by site, and a site that takes none for a while."""

from typing import Any, Final, Literal

from pydantic import Field

from shared.ids import FEDERATION
from shared.model.base import DNSLabel, Duration, Flag, Integer, Name, Optional, Spec, Time
from shared.model.selectors import Selector

RolloutState = Literal["running", "stopped", "done", "aborted"]

PATIENCE: Final = "10m"
"""How long a site may take, if nobody says."""

ENDED: Final = frozenset({"done", "aborted"})
"""The states in which a rollout does nothing any more."""


class RolledVersion(Spec):
    """The target as it was before: what sites have that the rollout hasn't reached."""

    uid: str = Field(description="The object's.")
    revision: Integer = Field(description="The store's revision that wrote that version.")
    generation: Integer = Field(description="Its generation.")
    labels: dict[str, str] = Field(default_factory=dict, description="Its labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Its annotations.")
    created_at: Time = Field(description="When the object was made.")
    updated_at: Time = Field(description="When that version was written.")
    spec: dict[str, Any] = Field(description="Its spec.")


class Reached(Spec):
    """Sites to which the change has gone in one step."""

    wave: Integer = Field(ge=0, description="The wave that was under way.")
    at: Time = Field(description="When.")
    sites: tuple[DNSLabel, ...] = Field(description="The sites, by name.")


class Failure(Spec):
    """A site that counts as failed, and why."""

    site: DNSLabel = Field(description="The site.")
    code: str = Field(description="The reason's code, as of hanse status.")


class Stop(Spec):
    """That more sites had failed than may."""

    at: Time = Field(description="When.")
    failed: Integer = Field(ge=1, description="How many sites had failed.")
    failures: tuple[Failure, ...] = Field((), description="The first twenty of them, by name.")


class Rollout(Spec):
    """A change that goes site by site, in waves; started and steered by `hanse rollout`."""

    target: Name = Field(description="The policy whose change is rolled out.")
    target_kind: str = Field("SecurityPolicy", description="The kind of the target.")
    target_scope: str = Field(FEDERATION, description="The target's scope.")
    order: tuple[Selector, ...] = Field(
        (),
        description="Waves of sites, by their labels; sites that none selects are the last wave.",
    )
    max_failures: Integer = Field(0, ge=0, description="How many sites may fail before it stops.")
    patience: Duration = Field(
        PATIENCE, description="How long a site may take until it counts as failed."
    )
    paused: Flag = Field(False, description="Whether a person has halted it.")
    state: RolloutState = Field("running", description="How far it is; written by the system.")
    started_by: str = Field("", description="Who started it.")
    started_at: Optional[Time] = Field(None, description="When.")
    generation: Integer = Field(0, description="The target's generation that is rolled out.")
    before: Optional[RolledVersion] = Field(
        None, description="The target before, which the other sites keep; left out: there was none."
    )
    wave: Integer = Field(-1, description="The wave under way, from 0; -1 before the first.")
    reached: tuple[Reached, ...] = Field((), description="The sites that have the change, by step.")
    stopped: Optional[Stop] = Field(None, description="Why it stopped, if it is stopped.")
    ended_at: Optional[Time] = Field(None, description="When it was done or aborted.")


class SitePause(Spec):
    """That a site takes no changes of policy, since when and why."""

    reason: str = Field(min_length=1, max_length=2000, description="Why; kept in the audit trail.")
    by: str = Field(description="Who decided it.")
    since: Time = Field(description="When.")
    revision: Integer = Field(ge=0, description="The revision whose policy the site keeps.")
    until: Optional[Time] = Field(None, description="When it ends by itself.")
