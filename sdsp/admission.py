"""What a site refuses of its own people's writes, beyond what a document's form says.

The judgement is the planner's: a write is refused for the faults that it adds, not for those that
upstream has brought.  What it takes away from installed rules, and what it hides of inherited
names, needs a permission of its own.

Planning a large site takes a while, so it is done in a thread, and a state that has been judged is
kept until the store, or the expiry of an override, makes it another one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sdsp.compile.model import PLANNED_KINDS, document_of
from sdsp.overrides import noted
from shared.access.permissions import Permission
from shared.errors import FieldError
from shared.ids import COMMON, Key
from shared.model.inventory import Node, Workload
from shared.model.kinds import KINDS
from shared.model.network import Network
from shared.model.override import Override
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.policy.compile import SitePlanner
from shared.policy.faults.changes import Hiding, hidings, in_use, would_unresolve
from shared.policy.faults.fault import Fault as PolicyFault
from shared.policy.faults.fault import new_faults
from shared.policy.faults.site import site_faults
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.plan import Unresolved
from shared.store.contract import Draft, Operation, Position, Selection, Snapshot, Stored

JUDGED: Final = Selection(
    kinds=PLANNED_KINDS | {kind.name for kind in KINDS.values() if kind.inheritance == "settings"}
)
"""What the judgement rests on."""

# They name tenants, groups or regions, and nothing names them.
_NAMING: Final = frozenset({"Role", "RoleBinding"})


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A state of the site, with what is wrong with it; it holds until an override expires."""

    inputs: SiteInputs
    planner: SitePlanner
    faults: tuple[PolicyFault, ...]
    until: datetime | None

    @classmethod
    def of(cls, inputs: SiteInputs) -> "_Judged":
        planner = SitePlanner(inputs)
        faults = tuple(site_faults(inputs, planner))
        return cls(inputs, planner, faults, _next_expiry(inputs))

    def holds_at(self, now: datetime) -> bool:
        return self.inputs.now <= now and (self.until is None or now < self.until)


class SiteAdmission:
    """A shared.objects.admission.Admission for an SDSP."""

    def __init__(self, *, site: str, now: Callable[[], datetime], executor: Executor) -> None:
        """`executor` has one thread: what is planned there is not locked."""
        self._site = site
        self._now = now
        self._executor = executor
        self._before: tuple[Position, _Judged] | None = None

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        # Alone: what else is wrong would tell of objects that he may have no right to know of.
        if faults := tuple(_permissions(batch)):
            return Review(faults)
        judged = [each for each in batch.proposals if _is_judged(each)]
        if not judged:
            return ACCEPTED
        before = await self._judged(snapshot)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _review, before, batch, judged)

    async def _judged(self, snapshot: Snapshot) -> _Judged:
        now, position = self._now(), snapshot.position
        if self._before and self._before[0] == position and self._before[1].holds_at(now):
            return self._before[1]
        stored = await snapshot.list(JUDGED)
        loop = asyncio.get_running_loop()
        judged = await loop.run_in_executor(self._executor, _judge, self._site, stored, now)
        self._before = position, judged
        return judged


def _judge(site: str, stored: Sequence[Stored], now: datetime) -> _Judged:
    documents = [document_of(each) for each in stored]
    federation = Documents(each for each in documents if is_inherited_scope(each.key.scope))
    local = Documents(each for each in documents if not is_inherited_scope(each.key.scope))
    return _Judged.of(SiteInputs(site, federation, local, now))


def _review(before: _Judged, batch: Batch, judged: Sequence[Proposal]) -> Review:
    after = _Judged.of(_changed(before.inputs, judged))
    place = _Places(batch)
    faults = [*place.all(new_faults(before.faults, after.faults))]
    deleted = [
        document
        for each in judged
        if each.envelope is None and (document := before.inputs.local.get(each.key)) is not None
    ]
    faults += place.all(in_use(deleted, before.faults, after.faults))
    if not faults:
        faults += _unresolving(batch, before.planner, after.planner, place)
        faults += _hiding(batch, before.planner, after.planner, place)
    drafts = {} if batch.trusted or faults else dict(_drafts(batch, after.planner))
    return Review(tuple(faults), depends_on=JUDGED, drafts=drafts)


def _is_judged(proposal: Proposal) -> bool:
    key = proposal.key
    return key.kind in (JUDGED.kinds or ()) or key.kind in _NAMING or key.tenant != COMMON


def _next_expiry(inputs: SiteInputs) -> datetime | None:
    expiries = (
        document.spec.expires_at
        for document in inputs.local.of_kind("Override")
        if isinstance(document.spec, Override)
    )
    return min((each for each in expiries if each and each > inputs.now), default=None)


def _drafts(batch: Batch, planner: SitePlanner) -> Iterator[tuple[int, Draft]]:
    """Yield the Overrides with what the system notes in them."""
    for index, each in enumerate(batch.proposals):
        if each.draft and each.envelope and isinstance(each.envelope.spec, Override):
            yield index, noted(each.draft, each.envelope.spec, each.before, planner)


class _Places:
    """Where in the batch a fault is told: at the document that has it, if that is written."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._indices = {each.key: index for index, each in enumerate(batch.proposals)}

    def all(self, found: Iterable[PolicyFault]) -> Iterator[Fault]:
        for each in found:
            if each.key in self._indices:
                yield self._batch.fault(self._indices[each.key], each)
            elif each.refers is None:
                # Something written here makes another document wrong: say which.
                yield self._batch.fault(0, each, path="")

    def index(self, key: Key) -> int:
        return self._indices.get(key, 0)

    def of_name(self, reference: str) -> int:
        """Return where a name such as `network:A` is written; the first place if nowhere."""
        kind, _, name = reference.partition(":")
        return next(
            (
                index
                for key, index in self._indices.items()
                if (key.kind.lower(), key.name) == (kind, name)
            ),
            0,
        )


def _changed(inputs: SiteInputs, proposals: Sequence[Proposal]) -> SiteInputs:
    puts = [
        Document(
            key=each.key,
            spec=each.envelope.spec,
            labels=each.envelope.metadata.labels,
        )
        for each in proposals
        if each.envelope is not None
    ]
    deletes = [each.key for each in proposals if each.operation is Operation.DELETE]
    local = inputs.local.changed(put=puts, delete=deletes)
    return SiteInputs(inputs.site, inputs.federation, local, inputs.now)


@dataclass(frozen=True, slots=True)
class _Need:
    """A permission beyond that of writing the kind; `path` is what asks for it."""

    permission: Permission
    tenant: str
    path: str
    what: str


def _permissions(batch: Batch) -> Iterator[Fault]:
    for index, each in enumerate(batch.proposals):
        for need in dict.fromkeys(_needs(each)):
            scope = each.key.scope
            if not batch.may(need.permission, tenant=need.tenant, scope=scope, on=each):
                yield Fault(index, _missing(need.permission, need.path, need.what))


def _needs(proposal: Proposal) -> Iterator[_Need]:
    spec: Any = proposal.envelope.spec if proposal.envelope else None
    before: Mapping[str, Any] = proposal.before.spec if proposal.before else {}
    tenant = proposal.key.tenant
    if proposal.key.kind == "Override":
        yield from _override_needs(spec, before, tenant)
    if proposal.key.kind == "Node":
        # What isn't declared is as one that waits: it gets nothing.
        was = before.get("admission", "admitted") if proposal.before else "pending"
        now = spec.admission if isinstance(spec, Node) else "pending"
        if was != now:
            what = "letting a node in or putting it out"
            yield _Need(Permission.ADMIT, tenant, "spec.admission", what)
    if isinstance(spec, Network) and _differs(spec.to_json(), before, "subnets"):
        yield from _allotting(tenant, "spec.subnets")
    if isinstance(spec, Workload) and _differs(spec.to_json(), before, "addresses"):
        yield from _allotting(tenant, "spec.addresses")


def _override_needs(spec: Any, before: Mapping[str, Any], tenant: str) -> Iterator[_Need]:
    """Yield what an exception needs: in its own tenant, and in that of what it replaces."""
    what = "an exception to inherited policy"
    yield _Need(Permission.OVERRIDE, tenant, "", what)
    if before:
        owner = before["target"].get("tenant", COMMON)
        yield _Need(Permission.OVERRIDE, owner, "spec.target", what)
    if isinstance(spec, Override):
        target = spec.target
        yield _Need(Permission.OVERRIDE, target.tenant, "spec.target", what)
        # Another target's people get them, the same ones though they be.
        same = before and (target.kind, target.tenant, target.name) == _target(before)
        old = before.get("spec", {}) if same else {}
        if target.kind == "Network" and _differs(spec.spec, old, "subnets"):
            yield from _allotting(target.tenant, "spec.spec.subnets")


def _target(override: Mapping[str, Any]) -> tuple[str, str, str]:
    target = override["target"]
    return target["kind"], target.get("tenant", COMMON), target["name"]


def _allotting(tenant: str, path: str) -> Iterator[_Need]:
    if tenant != COMMON:
        yield _Need(Permission.ALLOT, tenant, path, "giving a tenant addresses of this site")


def _differs(spec: Mapping[str, Any], before: Mapping[str, Any], field: str) -> bool:
    return (spec.get(field) or []) != (before.get(field) or [])


def _unresolving(
    batch: Batch, before: SitePlanner, after: SitePlanner, place: _Places
) -> Iterator[Fault]:
    if before.places.document is None:
        return
    if batch.force and batch.may(Permission.OVERRIDE, tenant=COMMON):
        return
    for each in would_unresolve(before, after):
        index = place.of_name(each.missing.reference)
        yield batch.fault(index, _unresolved(each), path="")


def _unresolved(each: Unresolved) -> PolicyFault:
    message = (
        f"{each.missing.reference} would mean nothing any more, and rule {each.rule.rule} of "
        f"{each.rule.policy} uses it; define it elsewhere first, or write with --force (which "
        "needs the permission override)"
    )
    return PolicyFault(None, "", "would_unresolve", message, others=(each.rule.document,))


def _hiding(
    batch: Batch, before: SitePlanner, after: SitePlanner, place: _Places
) -> Iterator[Fault]:
    if before.places.document is None:
        return
    known = {_hidden(each) for each in hidings(before)}
    for each in hidings(after):
        key = each.document.key
        if _hidden(each) in known or batch.may(
            Permission.OVERRIDE, tenant=key.tenant, scope=key.scope
        ):
            continue
        found = (after.inputs.federation.get(policy) for policy in each.policies)
        seen = [policy.key.name for policy in found if policy and batch.may_see(policy)]
        policies = f"policy {', '.join(seen)}" if seen else "policies"
        what = f"hiding what {each.inherited.key} means to mandatory {policies}"
        yield Fault(place.index(key), _missing(Permission.OVERRIDE, "spec", what))


def _hidden(hiding: Hiding) -> tuple[Key, Key]:
    return hiding.document.key, hiding.inherited.key


def _missing(permission: Permission, path: str, what: str) -> FieldError:
    return FieldError(
        path, "forbidden", f"{what} needs the permission {permission.value}, which you don't hold"
    )
