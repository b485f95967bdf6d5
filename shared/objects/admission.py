"""What is checked of a write beyond its own form, before it is committed.

A component supplies its rules as Admissions (the FSM: no addresses, names declared; an SDSP:
mandatory policies stand).  They see the whole batch and one snapshot, and say on which objects
their judgement rests: if one of those changes before the commit, they are asked again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from shared.access.authorize import authorize
from shared.access.permissions import Permission, reading
from shared.auth.identity import Caller
from shared.errors import FieldError
from shared.ids import Key, Revision
from shared.model.base import Envelope
from shared.policy.faults.fault import Fault as PolicyFault
from shared.policy.inputs import Document
from shared.store.contract import Draft, Operation, Selection, Snapshot, Stored


@dataclass(frozen=True, slots=True)
class Proposal:
    """One write of a batch.  Of a deletion `envelope` and `draft` are None.

    `before` is the object as it stands in the snapshot, None if there is none.
    """

    operation: Operation
    key: Key
    envelope: Envelope[Any] | None
    draft: Draft | None
    before: Stored | None

    @property
    def labels(self) -> Sequence[Mapping[str, str]]:
        """The labels that the object has, and those that it is to have."""
        before = [self.before.labels] if self.before else []
        after = [self.envelope.metadata.labels] if self.envelope else []
        return [*before, *after]


@dataclass(frozen=True, slots=True)
class Base:
    """The revision that something was judged against; `incarnation` may be its beginning alone,
    and empty if that wasn't said.
    """

    revision: Revision
    incarnation: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What somebody wants to write at once; no key stands in it twice."""

    proposals: tuple[Proposal, ...]
    caller: Caller
    force: bool = False
    """The caller asks to pass what `force` may pass; the permission is the rule's to check."""
    trusted: bool = False
    """Written by a part of the system, after checks of its own."""
    base: Base | None = None
    """Write it only if what it rests on hasn't changed since."""

    def may(
        self,
        permission: Permission,
        *,
        tenant: str,
        scope: str | None = None,
        on: Proposal | None = None,
    ) -> bool:
        """Return whether the caller may do more than write: to the object of a proposal, as it is
        and as it will be, or to none.
        """
        return self.trusted or all(
            authorize(self.caller, permission, tenant=tenant, scope=scope, labels=labels).allowed
            for labels in ((on.labels if on else ()) or (None,))
        )

    def may_see(self, document: Document) -> bool:
        """Return whether the caller may be told of an object: he writes it, or may read it."""
        key = document.key
        if self.trusted or any(each.key == key for each in self.proposals):
            return True
        read = reading(key.kind)
        return authorize(
            self.caller, read, tenant=key.tenant, scope=key.scope, labels=document.labels
        ).allowed

    def fault(self, index: int, found: PolicyFault, *, path: str | None = None) -> "Fault":
        """Return what the planner found as a refusal of one proposal.

        It is told so that nothing is said of an object that the caller may not see, and in the
        audit trail nothing of one that isn't of the proposal's own tenant.
        """
        tenant = self.proposals[index].key.tenant
        where = "" if path is None else f"{found.key}: " if found.key else ""
        told, kept = found.told_to(self.may_see), found.told_to(lambda d: d.key.tenant == tenant)
        if told == found.message:
            told = f"{where}{told}"
        error = FieldError(found.path if path is None else path, found.code, told)
        return Fault(index, error, recorded=kept)


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal of one proposal, by its position in the batch.

    The error's path is within the document: `spec.rules[0].from[0].network`.  `recorded` is what
    the audit trail keeps instead of its message.
    """

    index: int
    error: FieldError
    recorded: str | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """`depends_on` selects what the judgement rests on; None if on the batch alone.

    Warnings reach whoever writes, and don't stop the write.  `drafts` are written instead of what
    was asked for, by position in the batch: with the fields that the server itself records.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    depends_on: Selection | None = None
    drafts: Mapping[int, Draft] = field(default_factory=dict)


ACCEPTED: Final = Review()


class Admission(Protocol):
    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        """Judge a batch against a snapshot.  Does nothing but read, and may be called again."""


@dataclass(frozen=True, slots=True)
class AdmissionChain:
    """Asks several, all of them, so that one answer tells everything that is wrong."""

    steps: Sequence[Admission] = field(default=())

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        result = ACCEPTED
        for step in self.steps:
            found = await step.review(batch, snapshot)
            result = replace(
                result,
                faults=result.faults + found.faults,
                warnings=result.warnings + found.warnings,
                depends_on=_either(result.depends_on, found.depends_on),
                drafts={**result.drafts, **found.drafts},
            )
        return result


def _either(one: Selection | None, other: Selection | None) -> Selection | None:
    """Return a selection of at least what both select."""
    if one is None or other is None:
        return one or other
    return Selection(
        kinds=_union(one.kinds, other.kinds),
        tenants=_union(one.tenants, other.tenants),
        scopes=_union(one.scopes, other.scopes),
        names=_union(one.names, other.names),
    )


def _union(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one | other
