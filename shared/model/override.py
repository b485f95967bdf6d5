"""Local exceptions to inherited objects, and what comes of disagreement."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import Field, JsonValue

from shared.ids import COMMON, FEDERATION
from shared.model.base import Flag, Integer, Name, Optional, Spec, Time

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
Urgency = Literal["immediate", "normal", "deferrable"]
URGENCIES: Final[Sequence[Urgency]] = ("immediate", "normal", "deferrable")
"""The most pressing first."""
ProposalName = Literal["acceptGlobal", "keepLocal", "merge", "narrow", "askFederation"]


class Target(Spec):
    """The object that an override or conflict is about."""

    kind: str = Field(description="The object's kind.")
    name: Name = Field(description="The object's name.")
    tenant: Name = Field(COMMON, description="The object's tenant.")


class Override(Spec):
    """A local exception: a complete spec to use here in place of the inherited one."""

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


class Version(Spec):
    """An object as it stood at some revision."""

    kind: str = Field(description="The object's kind.")
    name: str = Field(description="The object's name.")
    tenant: str = Field(COMMON, description="The object's tenant.")
    scope: str = Field(description="The object's scope.")
    revision: Integer = Field(description="The revision that last wrote it; 0: there was none.")


class Wrote(Spec):
    """An object that a decision wrote: its revisions, 0 where there was none."""

    kind: str = Field(description="The object's kind.")
    name: str = Field(description="The object's name.")
    tenant: str = Field(COMMON, description="The object's tenant.")
    scope: str = Field(description="The object's scope.")
    before: Integer = Field(description="Its revision before the decision.")
    after: Integer = Field(description="Its revision since.")


class Decision(Spec):
    """Who settled a conflict, how and why."""

    proposal: ProposalName = Field(description="The proposal that was chosen.")
    by: str = Field(description="Who decided.")
    at: Time = Field(description="When.")
    reason: str = Field(min_length=1, description="Why; kept in the audit trail.")
    request_id: str | None = Field(None, description="Of the call; its audit record bears it.")
    acknowledges: Flag = Field(
        False, description="Nothing was written: it stays settled as long as it says the same."
    )
    wrote: tuple[Wrote, ...] = Field((), description="What it wrote here, which undoing restores.")
    rests_on: tuple[Version, ...] = Field(
        (), description="The inherited objects that it was about, as they stood."
    )


class Undoing(Spec):
    """Who took a decision back, and why."""

    proposal: ProposalName = Field(description="What had been chosen.")
    by: str = Field(description="Who took it back.")
    at: Time = Field(description="When.")
    reason: str = Field(min_length=1, description="Why; kept in the audit trail.")
    request_id: str | None = Field(None, description="Of the call; its audit record bears it.")


class Deferral(Spec):
    """Who put a conflict off, until when and why."""

    until: Time = Field(description="When it is open again.")
    by: str = Field(description="Who put it off.")
    reason: str = Field(min_length=1, description="Why; kept in the audit trail.")
    request_id: str | None = Field(None, description="Of the call; its audit record bears it.")


class Asked(Spec):
    """That the federation was asked to take the site's side over, and what came of it."""

    request: Name = Field(description="The ChangeRequest.")
    by: str = Field(description="Who asked.")
    at: Time = Field(description="When.")
    reason: str = Field(min_length=1, description="Why; the federation is told.")
    state: Literal["waiting", "accepted", "refused", "withdrawn"] = Field(
        "waiting", description="What came of it; waiting: nobody has answered yet."
    )
    answer: str = Field("", description="The federation's reason.")
    code: str = Field("", description="Why the FSM did not take the request at all.")
    decided_by: str = Field("", description="Who accepted or refused it.")
    decided_at: Optional[Time] = Field(None, description="When.")
    revision: Optional[Integer] = Field(
        None, description="The FSM's revision at which it was accepted."
    )
    request_id: str | None = Field(None, description="Of the call that asked.")


class Closure(Spec):
    """That a conflict was gone by itself."""

    at: Time = Field(description="When that was found.")
    why: str = Field(description="What makes it gone.")


class Conflict(Spec):
    """A disagreement, found by the system and decided by a person."""

    type: ConflictType = Field(description="What disagrees.")
    target: Target = Field(description="The object that it is about.")
    subject: str = Field(
        "", description="Which of several of its type and target: an Override, a rule, a name."
    )
    urgency: Urgency = Field("normal", description="How soon it must be decided.")
    since: Optional[Time] = Field(None, description="When it was opened, last time.")
    deadline: Optional[Time] = Field(None, description="By when.")
    state: Literal["open", "deferred", "resolved"] = Field(
        "open", description="How far people are with it."
    )
    base: dict[str, JsonValue] = Field(
        default_factory=dict, description="The version that both sides began with."
    )
    local: dict[str, JsonValue] = Field(default_factory=dict, description="The site's version.")
    inherited: dict[str, JsonValue] = Field(
        default_factory=dict, alias="global", description="The federation's version."
    )
    fields: tuple[str, ...] = Field(
        (), description="Paths of the fields that both sides changed, and not alike."
    )
    facts: dict[str, JsonValue] = Field(
        default_factory=dict, description="What else was found, by type."
    )
    impact: dict[str, JsonValue] = Field(
        default_factory=dict, description="The packets whose verdict differs."
    )
    proposals: tuple[dict[str, JsonValue], ...] = Field(
        (), description="What may be chosen; what each comes to is told when somebody asks."
    )
    decision: Optional[Decision] = Field(None, description="What was chosen.")
    undone: Optional[Undoing] = Field(
        None, description="Which decision was taken back; until it says something else."
    )
    deferred: Optional[Deferral] = Field(None, description="Until when it was put off.")
    asked: Optional[Asked] = Field(
        None,
        description="What the federation was asked; while it has not answered, the conflict is "
        "deferred.",
    )
    closed: Optional[Closure] = Field(
        None, description="When and why it closed itself, without a decision."
    )


class ChangeRequest(Spec):
    """A site's wish to change global policy, for a global admin to accept or refuse."""

    site: Name = Field(description="The site that asks.")
    target: Target = Field(description="The object that should change.")
    scope: str = Field(FEDERATION, description="The scope of that object.")
    spec: dict[str, JsonValue] = Field(
        description="The spec that the site asks for, without enforcement and sites."
    )
    reason: str = Field(min_length=1, max_length=2000, description="Why the site asks.")
    base: Optional[Base] = Field(None, description="The version that the site knew when it asked.")
    conflict: str = Field("", description="The site's conflict that it would settle.")
    requested_by: str = Field("", description="Who asked, at the site.")
    at: Optional[Time] = Field(None, description="When, by the site's clock.")
    state: Literal["open", "accepted", "refused", "withdrawn"] = Field(
        "open", description="What the federation decided; withdrawn: the site needs no answer."
    )
    answer: str = Field("", description="The federation's reason.")
    decided_by: str = Field("", description="Who accepted or refused it.")
    decided_at: Optional[Time] = Field(None, description="When.")
    revision: Optional[Integer] = Field(
        None, description="The target's revision once it was accepted."
    )
    request_id: str | None = Field(None, description="Of the call that decided.")


Override.model_rebuild()
