"""Local exceptions to inherited objects, and what comes of disagreement."""

from typing import Any, Literal

from pydantic import Field, JsonValue

from shared.ids import COMMON
from shared.model.base import Integer, Name, Optional, Spec, Time

ConflictType = Literal[
    "edited_both",
    "deleted_upstream",
    "upstream_went_back",
    "name_taken",
    "contradicts_mandatory",
    "shadowed_rule",
    "unresolved_name",
    "overlapping_networks",
    "nodes_disagree",
    "mandatory_service_missing",
    "local_login_forbidden",
    "schedule_differs",
]
ProposalName = Literal["acceptGlobal", "keepLocal", "merge", "narrow", "askFederation"]


class Target(Spec):
    """The object that an override or conflict is about."""

    kind: str = Field(description="The object's kind.")
    name: Name = Field(description="The object's name.")
    tenant: Name = Field(COMMON, description="The object's tenant.")


class Override(Spec):
    """The spec of an Override: a complete spec to use here in place of the inherited one."""

    target: Target = Field(description="The inherited object.")
    reason: str = Field(min_length=1, max_length=2000, description="Reported to the FSM.")
    expires_at: Optional[Time] = Field(None, description="When it stops counting by itself.")
    spec: dict[str, Any] = Field(
        description="The complete spec to use; may use cidr, must not set enforcement or sites."
    )
    based_on: Optional["Base"] = Field(
        None, description="What it was based on; recorded by the server."
    )


class Base(Spec):
    """The inherited version that an override replaced when it was written."""

    revision: Integer = Field(description="The inherited object's revision.")
    spec: dict[str, JsonValue] = Field(description="The inherited object's spec.")


class Decision(Spec):
    """Who settled a conflict, how and why."""

    proposal: ProposalName
    by: str
    at: Time
    reason: str = Field(min_length=1)


class Conflict(Spec):
    """The spec of a Conflict; written by the system, decided by a person."""

    type: ConflictType
    target: Target
    urgency: Literal["immediate", "normal", "deferrable"] = "normal"
    deadline: Optional[Time] = None
    state: Literal["open", "deferred", "resolved"] = "open"
    base: dict[str, JsonValue] = Field(default_factory=dict)
    local: dict[str, JsonValue] = Field(default_factory=dict)
    inherited: dict[str, JsonValue] = Field(default_factory=dict, alias="global")
    fields: tuple[str, ...] = Field((), description="Paths of the fields that differ.")
    impact: dict[str, JsonValue] = Field(default_factory=dict)
    proposals: tuple[dict[str, JsonValue], ...] = ()
    decision: Optional[Decision] = None


class ChangeRequest(Spec):
    """A site's wish to change global policy, for a global admin to accept or refuse."""

    site: Name
    target: Target
    spec: dict[str, JsonValue] = Field(description="The spec that the site asks for.")
    reason: str = Field(min_length=1)
    state: Literal["open", "accepted", "refused"] = "open"
    answer: str = ""


Override.model_rebuild()
