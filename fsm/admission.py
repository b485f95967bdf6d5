"""What the FSM refuses beyond a document's form: no addresses, names declared, nothing in use lost.

The judgement is the planner's, and a write is refused for what it makes worse.  Of a federation's
thousands of documents only those are looked at that the written ones hang on; but for a Region or
a deletion, on which anything may hang, it is all of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from fsm.feed.hub import Hub
from fsm.feed.item import DELIVERABLE, FOLLOWED, Audience
from fsm.feed.rolling import Rollings, rollings_in
from fsm.feed.select import is_meant_for, view_of
from fsm.feed.world import IndexedWorld
from fsm.sites.names import registered_for
from shared.access.permissions import Permission
from shared.errors import FieldError, HanseError, Unavailable
from shared.feed.accepts import unknown_field
from shared.ids import COMMON
from shared.model.balancing import LoadBalancer
from shared.model.inventory import Site
from shared.model.network import Network
from shared.model.policy import SecurityPolicy
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.pki.names import HostNames
from shared.policy.faults.balancing import balancer_references
from shared.policy.faults.changes import in_use
from shared.policy.faults.fault import Fault as PolicyFault
from shared.policy.faults.fault import new_faults
from shared.policy.faults.federation import federation_address_faults, federation_faults
from shared.policy.faults.references import references
from shared.policy.inputs import Document, Documents
from shared.store.contract import Operation, Selection, Snapshot

# Every document may hang on these, and there are few of them.
_ALWAYS_CONCERNED: Final = frozenset({"Region", "Tenant", "Site"})
_JUDGED_BY: Final = _ALWAYS_CONCERNED | {"Network", "Service", "SecurityPolicy", "LoadBalancer"}

# A site that doesn't know a field is told of by name, up to so many.
_MOST_WARNINGS: Final = 20


class FederationAdmission:
    """A shared.objects.admission.Admission for an FSM."""

    def __init__(self, hub: Hub, *, server_names: Sequence[str] = ()) -> None:
        """`server_names` are the FSM's own DNS names, which no site may register."""
        self._hub = hub
        self._server_names = tuple(server_names)

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        if faults := tuple(_allotments(batch)):
            return Review(faults)
        proposals = [each for each in batch.proposals if each.key.kind in FOLLOWED]
        if not proposals:
            return ACCEPTED
        # What the hub knows beyond the snapshot does no harm: the store refuses to commit if
        # anything that is judged by has changed since the snapshot, and we are asked again.
        if not await self._hub.reach(snapshot.position.revision):
            raise Unavailable("the FSM is behind its store; try again")
        world = self._hub.world
        concerned = _concerned(world, proposals)
        found: list[Fault] = []
        for documents in _versions(concerned, rollings_in(world)):
            before = Documents(documents)
            after = _changed(before, proposals)
            told = _at(batch, _new_faults(before, after, proposals))
            found += [each for each in told if each not in found]
        taken = _names_of_sites(world, batch.proposals)
        for index, each in enumerate(batch.proposals):
            found += [Fault(index, error) for error in self._site_faults(each, taken)]
        return Review(
            tuple(found),
            warnings=tuple(_unsupported(batch, world)),
            depends_on=Selection(kinds=_JUDGED_BY | {each.key.kind for each in proposals}),
        )

    def _site_faults(
        self, proposal: Proposal, taken: Mapping[str, HostNames]
    ) -> Iterator[FieldError]:
        """Yield the names of a site's servers that no certificate could carry, or must not."""
        spec = proposal.envelope.spec if proposal.envelope else None
        if not isinstance(spec, Site):
            return
        given: list[tuple[str, dict[str, object]]] = [
            (f"spec.serverNames[{i}]", {"serverNames": [name]})
            for i, name in enumerate(spec.server_names)
        ]
        if spec.endpoint is not None:
            given.append(("spec.endpoint", {"endpoint": spec.endpoint}))
        for path, part in given:
            try:
                names = registered_for(part)
            except HanseError as exc:
                yield FieldError(path, exc.code, exc.message)
                continue
            for own in self._server_names:
                if any(own == each or own.endswith(f".{each}") for each in names.dns):
                    message = f"{own} is the FSM's own name; a site that had it could take it"
                    yield FieldError(path, "name_taken", message)
            before = registered_for(proposal.before.spec) if proposal.before else HostNames()
            for site, others in taken.items():
                name = _shared(names, others) if site != proposal.key.name else None
                # Refused is only what a write makes worse.
                if name and name != _shared(before, others):
                    message = f"{name} is a name of site {site}; each could take the other's place"
                    yield FieldError(path, "name_taken", message)


def _names_of_sites(world: IndexedWorld, proposals: Sequence[Proposal]) -> dict[str, HostNames]:
    """Return what each site registers once these writes are done; {} if they concern no Site."""
    written = {each.key: each for each in proposals if each.key.kind == "Site"}
    if not written:
        return {}
    specs = {key: item.spec for key, item in world.of_kind("Site").items()}
    for key, each in written.items():
        specs.pop(key, None)
        if each.draft is not None:
            specs[key] = each.draft.spec
    found = {}
    for key, spec in specs.items():
        try:
            found[key.name] = registered_for(spec)
        except HanseError:
            continue  # told where it is written
    return found


def _shared(ours: HostNames, others: HostNames) -> str | None:
    """Return a name or address that two sites' certificates could both carry, if there is one.

    A certificate constrained to a DNS name may carry all names beneath it (RFC 5280 §4.2.1.10).
    Every host is its own loopback.
    """
    for ours_ in ours.dns:
        for other in others.dns:
            if ours_ != "localhost" and (
                ours_ == other or ours_.endswith(f".{other}") or other.endswith(f".{ours_}")
            ):
                return ours_
    both = set(ours.addresses) & set(others.addresses)
    return next((str(each) for each in sorted(both, key=str) if not each.is_loopback), None)


def _concerned(world: IndexedWorld, proposals: Sequence[Proposal]) -> list[Document]:
    """Return the documents of now on which the judgement of these writes can depend."""
    everything = any(
        each.operation is Operation.DELETE or each.key.kind == "Region" for each in proposals
    )
    names = {(each.key.kind, each.key.name) for each in proposals}
    for each in proposals:
        spec = each.envelope.spec if each.envelope else None
        if isinstance(spec, SecurityPolicy):
            names |= {(kind, name) for _, kind, name in references(spec)}
        elif isinstance(spec, LoadBalancer):
            names |= {(kind, name) for _, kind, name in balancer_references(spec)}
    tenants_matter = any(_allots(each) for each in proposals)
    kinds = _ALWAYS_CONCERNED | ({"Network"} if tenants_matter else frozenset())
    found = world if everything else world.concerned(kinds, names)
    documents = (item.planned for item in found.values())
    return [document for document in documents if document is not None]


def _versions(documents: list[Document], rollings: Rollings) -> Iterator[list[Document]]:
    """Yield the documents as they are, and as sites have them that no rollout has reached."""
    yield documents
    if all(each.key not in rollings for each in documents):
        return
    older = []
    for each in documents:
        rolling = rollings.get(each.key)
        item = rolling.before if rolling is not None else None
        version = each if rolling is None else item.planned if item is not None else None
        older += [version] if version is not None else []
    yield older


def _allots(proposal: Proposal) -> bool:
    """Return whether a write can make two tenants' addresses overlap."""
    spec: Any = proposal.envelope.spec if proposal.envelope else None
    if isinstance(spec, Network):
        return bool(spec.subnets) and proposal.key.tenant != COMMON
    return proposal.key.kind in ("Region", "Site")


def _allotments(batch: Batch) -> Iterator[Fault]:
    """Yield the tenants' subnets that are written by somebody who may not give out addresses."""
    for index, each in enumerate(batch.proposals):
        spec = each.envelope.spec if each.envelope else None
        if not isinstance(spec, Network) or each.key.tenant == COMMON:
            continue
        before = each.before.spec if each.before else {}
        if (spec.to_json().get("subnets") or []) == (before.get("subnets") or []):
            continue
        tenant, scope = each.key.tenant, each.key.scope
        if not batch.may(Permission.ALLOT, tenant=tenant, scope=scope, on=each):
            message = (
                "giving a tenant addresses needs the permission "
                f"{Permission.ALLOT.value}, which you don't hold"
            )
            yield Fault(index, FieldError("spec.subnets", "forbidden", message))


def _changed(before: Documents, proposals: Iterable[Proposal]) -> Documents:
    puts = [
        Document(each.key, each.envelope.spec, each.envelope.metadata.labels)
        for each in proposals
        if each.envelope is not None
    ]
    return before.changed(puts, [each.key for each in proposals if each.envelope is None])


def _new_faults(
    before: Documents, after: Documents, proposals: Sequence[Proposal]
) -> list[PolicyFault]:
    old, new = list(federation_faults(before)), list(federation_faults(after))
    if any(_allots(each) for each in proposals):
        old += federation_address_faults(before)
        new += federation_address_faults(after)
    deleted = [
        document
        for each in proposals
        if each.envelope is None and (document := before.get(each.key)) is not None
    ]
    return [*new_faults(old, new), *in_use(deleted, old, new)]


def _at(batch: Batch, found: Iterable[PolicyFault]) -> Iterator[Fault]:
    """Place each fault at the document of the batch that has it, or that brings it about."""
    indices = {each.key: index for index, each in enumerate(batch.proposals)}
    gone = {(each.key.kind, each.key.name) for each in batch.proposals if each.envelope is None}
    for each in found:
        if each.key in indices:
            yield batch.fault(indices[each.key], each)
        elif each.refers is None or (each.refers.kind, each.refers.name) not in gone:
            # Another document becomes wrong by this one.  What refers to something deleted is
            # told at that, as in_use.
            yield batch.fault(0, each, path="")


def _unsupported(batch: Batch, world: IndexedWorld) -> Iterator[Fault]:
    """Yield a warning for each site that can't take a written document."""
    sites = [key.name for key in world.of_kind("Site")]
    views = [view for site in sites if (view := view_of(world, site)) is not None]
    limited = [view for view in views if view.subscription.accepts]
    told = 0
    for index, each in enumerate(batch.proposals):
        if each.draft is None or each.key.kind not in DELIVERABLE:
            continue
        spec = each.draft.spec
        audience = Audience.of(each.key, spec)
        for view in limited:
            known = view.subscription.accepts.get(each.key.kind)
            path = "" if known is None else unknown_field(spec, known)
            if path is None or not is_meant_for(view, audience) or told >= _MOST_WARNINGS:
                continue
            told += 1
            what = f"the field {path}" if path else f"the kind {each.key.kind}"
            message = f"site {view.site} doesn't know {what}: it keeps what it has until upgraded"
            place = f"spec.{path}" if path else "kind"
            yield Fault(index, FieldError(place, "unsupported", message))
