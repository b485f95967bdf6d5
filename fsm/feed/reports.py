"""What a site says upwards: names, codes and counts, and nothing else.

The schema has no room for a spec, an address or an error's own text: a field that isn't here is
refused, names are names, and codes are codes.  The one free text is the reason that a person gave
for an exception, which the FSM is to know.  What a site asks for in a change request goes another
way (fsm.requests): a person sends it on purpose.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from shared.feed.wire import Position
from shared.http.body import Body
from shared.ids import COMMON, SITE, Key
from shared.model.base import Name, Time
from shared.model.override import Urgency

Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Scope = Annotated[str, Field(pattern=r"^(federation|site|(region|group|node)/[-A-Za-z0-9_.]+)$")]
KindName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{0,63}$")]
Reference = Annotated[
    str, Field(pattern=r"^(network|service|networks|workloads):[-A-Za-z0-9_.]{0,253}$")
]
State = Literal[
    "realised", "partial", "pending", "failed", "held", "suspended", "replaced", "staged"
]

# A report is one request's body; a site that has more says how many in its counts.
_MANY: Final = 10_000
_FAILING: Final = 100


class PositionBody(Body):
    """Where the site's copy stands."""

    incarnation: str = Field(max_length=128)
    revision: Count
    digest: str = Field(max_length=128)
    view: str = Field(max_length=128)

    def to_position(self) -> Position:
        return Position(self.incarnation, self.revision, self.digest, self.view)


class KeyBody(Body):
    kind: KindName
    tenant: Name = COMMON
    scope: Scope
    name: Name

    def to_key(self) -> Key:
        return Key(self.kind, self.tenant, self.scope, self.name)


class RefusedBody(Body):
    key: KeyBody
    code: Code


class Acknowledgement(Body):
    """How far a site has applied what it was sent, and what it could not."""

    position: PositionBody
    outcome: Literal["ack", "nack"] = Field(description="nack: something was refused.")
    refused: tuple[RefusedBody, ...] = Field((), max_length=_MANY)
    complete: bool = Field(
        False, description="Whether `refused` is all that the site holds back, not only news."
    )


class Nodes(Body):
    total: Count
    realised: Count
    pending: Count
    failed: Count


class FailingNode(Body):
    node: Name
    code: Code


class UnresolvedName(Body):
    rule: Name
    side: Literal["from", "to", "services"]
    reference: Reference


class PolicyReport(Body):
    """What became of one policy at the site; revision and generation are the FSM's."""

    kind: KindName = "SecurityPolicy"
    tenant: Name = COMMON
    name: Name
    scope: Scope
    revision: Count | None = None
    generation: Count | None = None
    state: State
    nodes: Nodes
    failing: tuple[FailingNode, ...] = Field((), max_length=_FAILING)
    unresolved: tuple[UnresolvedName, ...] = Field((), max_length=_MANY)

    @property
    def key(self) -> Key:
        return Key(self.kind, self.tenant, self.scope, self.name)


class TargetBody(Body):
    kind: KindName
    tenant: Name = COMMON
    name: Name


class ExceptionReport(Body):
    """That the site makes an exception, on what and why; never what it says instead."""

    type: Literal["override", "hides"] = "override"
    target: TargetBody
    name: Name
    tenant: Name = COMMON
    scope: Scope = SITE
    reason: str = Field("", max_length=2000)
    expires_at: Time | None = Field(None, alias="expiresAt")


class ConflictBody(Body):
    """Which of a site's conflicts it is."""

    name: Name
    tenant: Name = COMMON
    type: Code
    target: TargetBody


class ConflictReport(ConflictBody):
    """A conflict that a site has not settled; never what its versions say."""

    urgency: Urgency = "normal"
    state: Literal["open", "deferred"] = "open"
    since: Time
    deadline: Time | None = None
    until: Time | None = None
    request: Name | None = Field(None, description="The ChangeRequest that waits for an answer.")


class SettledReport(ConflictBody):
    """That a conflict is settled: by which proposal, or `closed` by itself."""

    how: Annotated[str, Field(pattern=r"^[a-zA-Z]{1,32}$")]
    at: Time


class ConflictsReport(Body):
    """A site's conflicts; `judged` is the FSM's revision that they are of.

    None: the site has not judged yet what it has just taken over, and tells of none.
    """

    judged: Count | None = None
    unsettled: tuple[ConflictReport, ...] = Field((), max_length=_MANY)
    settled: tuple[SettledReport, ...] = Field((), max_length=_MANY)


class HeldObject(KeyBody):
    """An object that the site still enforces although the FSM has it no longer."""

    cause: Code | None = None
    reason: Code | None = None
    since: Time | None = None


class BackupReport(Body):
    """How a site's backups by one policy stand; None: by the site's own settings."""

    policy: Name | None
    succeeded_at: Time | None = Field(None, alias="succeededAt")
    failed_at: Time | None = Field(None, alias="failedAt")
    code: Code | None = None


class BreakGlassReport(Body):
    """That a site's emergency account is open, and until when."""

    opened_at: Time = Field(alias="openedAt")
    open_until: Time = Field(alias="openUntil")


class DetachedReport(Body):
    """That the site is about to be cut off on purpose, until when and why."""

    since: Time
    until: Time
    by: str = Field(max_length=512)
    reason: str = Field(max_length=2000)


class StagedReport(KeyBody):
    """What nodes of the site have counted that a staged policy would decide otherwise.

    They have counted its present text since then.
    """

    since: Time
    would_deny: Count = Field(alias="wouldDeny")
    would_allow: Count = Field(alias="wouldAllow")
    last_at: Time | None = Field(None, alias="lastAt")


class ExpiringCertificate(Body):
    """A certificate of the site that has a third of its life left and no successor."""

    certificate: Annotated[str, Field(max_length=80)]
    not_after: Time = Field(alias="notAfter")


class TrustReport(Body):
    """Whom the site believes, and how far its nodes have followed."""

    roots: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field((), max_length=16)
    issuing: Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")] | None = None
    revoked: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")], ...] = Field(
        (), max_length=_FAILING, description="Certificates of its own that the SDSP has revoked."
    )
    untrusting: tuple[Name, ...] = Field((), max_length=_FAILING)
    behind: tuple[Name, ...] = Field((), max_length=_FAILING)
    expiring: tuple[ExpiringCertificate, ...] = Field((), max_length=_FAILING)


class Report(Body):
    """How a site stands."""

    position: PositionBody
    policies: tuple[PolicyReport, ...] = Field((), max_length=_MANY)
    exceptions: tuple[ExceptionReport, ...] = Field((), max_length=_MANY)
    held: tuple[HeldObject, ...] = Field((), max_length=_MANY)
    backups: tuple[BackupReport, ...] = Field((), max_length=100)
    break_glass: BreakGlassReport | None = Field(None, alias="breakGlass")
    detached: DetachedReport | None = None
    trust: TrustReport | None = None
    conflicts: ConflictsReport | None = Field(
        None, description="Left out by sites that don't tell of conflicts."
    )
    staged: tuple[StagedReport, ...] = Field((), max_length=_MANY)
    counts: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$")], Count] = Field(
        default_factory=dict, max_length=100
    )

    def to_record(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
