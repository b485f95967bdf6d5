"""What a site refuses of its own people's writes, beyond what a document's form says.

The judgement is the planner's: a write is refused for the faults that it adds, not for those that
upstream has brought.  What it takes away from installed rules, and what it hides of inherited
names, needs a permission of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sdsp.compile.model import PLANNED, PLANNED_KINDS, SiteModel
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import FieldError
from shared.ids import COMMON, Key, Revision
from shared.model.inventory import Workload
from shared.model.network import Network
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.policy.compile import SitePlanner
from shared.policy.faults.changes import Hiding, hidings, in_use, would_unresolve
from shared.policy.faults.fault import Fault as PolicyFault
from shared.policy.faults.fault import new_faults
from shared.policy.faults.site import site_faults
from shared.policy.inputs import Document, SiteInputs
from shared.store.contract import Operation, Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A state of the site, with what is wrong with it."""

    inputs: SiteInputs
    planner: SitePlanner
    faults: tuple[PolicyFault, ...]

    @classmethod
    def of(cls, inputs: SiteInputs) -> "_Judged":
        planner = SitePlanner(inputs)
        return cls(inputs, planner, tuple(site_faults(inputs, planner)))


class SiteAdmission:
    """A shared.objects.admission.Admission for an SDSP."""

    def __init__(self, *, site: str, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._before: tuple[Revision, _Judged] | None = None

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        planned = [each for each in batch.proposals if each.key.kind in PLANNED_KINDS]
        faults = list(_permissions(batch))
        if not planned:
            return Review(tuple(faults)) if faults else ACCEPTED
        before = await self._judged(snapshot)
        after = _Judged.of(_changed(before.inputs, planned))
        place = _Places(batch)
        faults += place.all(new_faults(before.faults, after.faults))
        deleted = [
            document
            for each in planned
            if each.envelope is None and (document := before.inputs.local.get(each.key)) is not None
        ]
        faults += place.all(in_use(deleted, before.faults, after.faults))
        if not faults:
            faults += _unresolving(batch, before.planner, after.planner)
            faults += _hiding(batch, before.planner, after.planner, place)
        return Review(tuple(faults), depends_on=PLANNED)

    async def _judged(self, snapshot: Snapshot) -> _Judged:
        revision = snapshot.position.revision
        if self._before is None or self._before[0] != revision:
            model = SiteModel(self._site)
            model.load(await snapshot.list(PLANNED), revision)
            self._before = revision, _Judged.of(model.inputs(self._clock.now()))
        return self._before[1]


class _Places:
    """Where in the batch a fault is told: at the document that has it, if that is written."""

    def __init__(self, batch: Batch) -> None:
        self._indices = {each.key: index for index, each in enumerate(batch.proposals)}

    def all(self, found: Iterable[PolicyFault]) -> Iterator[Fault]:
        for each in found:
            if each.key in self._indices:
                yield self._fault(self._indices[each.key], each.path, each)
            elif each.refers is None:
                # Something written here makes another document wrong: say which.
                where = f"{each.key}: " if each.key else ""
                yield Fault(0, FieldError("", each.code, f"{where}{each.message}"))

    def index(self, key: Key) -> int:
        return self._indices.get(key, 0)

    def _fault(self, index: int, path: str, each: PolicyFault) -> Fault:
        return Fault(index, FieldError(path, each.code, each.message))


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


def _permissions(batch: Batch) -> Iterator[Fault]:
    """Yield what needs a permission beyond writing the kind."""
    for index, each in enumerate(batch.proposals):
        for permission, path, what in _needed(each):
            if not batch.may(permission, tenant=each.key.tenant, scope=each.key.scope):
                yield Fault(index, _missing(permission, path, what))


def _needed(proposal: Proposal) -> Iterator[tuple[Permission, str, str]]:
    spec: Any = proposal.envelope.spec if proposal.envelope else None
    before = proposal.before.spec if proposal.before else {}
    kind = proposal.key.kind
    if kind == "Override":
        yield Permission.OVERRIDE, "", "an exception to inherited policy"
    if kind == "Node":
        was = before.get("admission", "admitted") if proposal.before else None
        now = spec.admission if spec else None
        if was != now:
            yield Permission.ADMIT, "spec.admission", "letting a node in or putting it out"
    if proposal.key.tenant != COMMON and (field := _allots(spec, before)):
        yield Permission.ALLOT, f"spec.{field}", "giving a tenant addresses of this site"


def _allots(spec: Any, before: Any) -> str | None:
    if isinstance(spec, Network) and spec.to_json().get("subnets") != before.get("subnets"):
        return "subnets"
    if isinstance(spec, Workload) and spec.to_json().get("addresses") != before.get("addresses"):
        return "addresses"
    return None


def _unresolving(batch: Batch, before: SitePlanner, after: SitePlanner) -> Iterator[Fault]:
    if before.places.document is None:
        return
    may_force = batch.force and batch.may(Permission.OVERRIDE, tenant=COMMON)
    if may_force:
        return
    for each in would_unresolve(before, after):
        yield Fault(
            0,
            FieldError(
                "",
                "would_unresolve",
                f"{each.missing.reference} would mean nothing any more, and rule "
                f"{each.rule.rule} of {each.rule.policy} uses it; define it elsewhere first, or "
                "write with --force (which needs the permission override)",
            ),
        )


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
        policies = ", ".join(policy.name for policy in each.policies)
        what = f"hiding what {each.inherited.key} means to mandatory policy {policies}"
        yield Fault(place.index(key), _missing(Permission.OVERRIDE, "spec", what))


def _hidden(hiding: Hiding) -> tuple[Key, Key]:
    return hiding.document.key, hiding.inherited.key


def _missing(permission: Permission, path: str, what: str) -> FieldError:
    return FieldError(
        path, "forbidden", f"{what} needs the permission {permission.value}, which you don't hold"
    )
