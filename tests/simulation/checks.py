"""What must hold after a run, once everything is whole again."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdsp.compile.model import PLANNED_KINDS
from sdsp.upstream.removals import record_name
from shared.errors import HanseError, NotFound
from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.nodeplan import counting_configurations
from tests.contract.store_validators import Part, faults_in
from tests.simulation.clock import START
from tests.simulation.feed_validators import Lives, faults_of
from tests.simulation.history import Acknowledged
from tests.simulation.ledger import Ledger, Version, planned, records_in
from tests.simulation.people import BIG, REQUEST
from tests.simulation.world import FSM_NAME, World


def faults_after(world: World) -> list[str]:
    """Return all that is wrong, in sentences; the world has come to rest."""
    world.read_ledgers()
    lives = Lives(world.ledgers[FSM_NAME])
    found = list(world.history.wrong)
    found += mistakes(world)
    found += acknowledged(world)
    found += written_once(world)
    found += watches(world)
    for site in world.sites:
        for steps in world.history.copy_of(site).parts:
            found += faults_of(site, steps, lives)
        found += held(world, site)
        found += converged(world, site, lives)
    found += enforced(world)
    return found


def mistakes(world: World) -> Iterator[str]:
    """No reconciler fails for a reason that nobody foresaw: its loop would try again for ever."""
    for machine in world.machines:
        for loop in machine.program.loops:
            error = loop.status.error
            if error is not None and not isinstance(error, HanseError):
                yield f"{machine.name} can't {loop.name}: {error!r}"


def acknowledged(world: World) -> Iterator[str]:
    """Each write that was answered is there; but for what a restored store never had."""
    for ack in world.history.acknowledged:
        ledgers = world.ledgers[ack.server]
        life = next(
            n
            for n, each in enumerate(ledgers)
            if (each.incarnation, each.epoch) == (ack.incarnation, ack.epoch)
        )
        for number in range(life, len(ledgers)):
            if number > life and ack.revision > (ledgers[number - 1].restored_to or 0):
                break  # the backup is older than the write
            yield from _missing(ack, ledgers[number])


def _missing(ack: Acknowledged, ledger: Ledger) -> Iterator[str]:
    changes = {each.key: each for each in ledger.by_revision().get(ack.revision, ())}
    for key in ack.puts:
        found = changes.get(key)
        if found is None or found.spec is None or found.annotations.get(REQUEST) != ack.request:
            yield f"{ack.request} was answered with {ack.revision}, but {key} is not there"
    for key in ack.deleted:
        found = changes.get(key)
        if found is None or found.spec is not None:
            yield f"{ack.request} was answered with {ack.revision}, but {key} was not deleted"


def written_once(world: World) -> Iterator[str]:
    """No request was committed twice, however often it was sent."""
    for ledgers in world.ledgers.values():
        for ledger in ledgers:
            at: dict[tuple[str, Key], int] = {}
            last: dict[Key, str | None] = {}
            for each in ledger.versions:
                request = each.annotations.get(REQUEST) if each.spec is not None else None
                inherited = is_inherited_scope(each.key.scope) and ledger.name != FSM_NAME
                new = request is not None and last.get(each.key) != request
                if new and not inherited:
                    assert request is not None
                    name = request, each.key
                    if name in at:
                        yield f"{request} was written at {at[name]} and again at {each.revision}"
                    at[name] = each.revision
                last[each.key] = request


def watches(world: World) -> Iterator[str]:
    """Clients' watches keep the six promises."""
    for name, parts in world.history.watches.items():
        for ledger in world.ledgers[name]:
            life = f"{ledger.incarnation}#{ledger.epoch}"
            recording = [Part(after, list(events)) for of, after, events in parts if of == life]
            for fault in faults_in(recording, ledger.log()):
                yield f"a client's watch at {name}: {fault[:300]}"


def held(world: World, site: str) -> Iterator[str]:
    """What went without being said to be gone is held, and so is what takes too much at once."""
    parts = world.history.copy_of(site).parts
    if len(parts) > 1:
        return  # what it had when it was put back is not known from its steps
    dropped = world.history.dropping.get(site, set())
    present: set[Key] = set()
    for step in parts[0]:
        present -= {key for key in step.removed if key not in step.puts}
        present |= set(step.puts)
    there = _inherited(world, site)
    for key in present - set(there) - dropped:
        yield f"{site} let {key} go, which nobody said is gone"
    kept = records_in(world.sites[site].disk.store, "held")
    for name in set(kept) - {record_name(key) for key in there}:
        yield f"{site} holds {name}, which is not there"
    yield from _large(world, site)


def _large(world: World, site: str) -> Iterator[str]:
    """Nothing large was let go at once without a person's word.

    Counted from below: a big policy whose rules alone are a quarter of all that the site has.
    """
    dropped = world.history.dropping.get(site, set())
    ledger = world.ledgers[site][-1]
    last: dict[Key, Version] = {}
    for each in ledger.versions:
        if each.spec is not None:
            last[each.key] = each
            continue
        before = last.pop(each.key, None)
        if before is None or not each.key.name.startswith(BIG) or each.key in dropped:
            continue
        rules = sum(len(v.spec["rules"]) for k, v in last.items() if k.kind == "SecurityPolicy")
        if len(before.spec["rules"]) * 3 > rules:
            yield f"{site} let {each.key} go at {each.revision} without asking anybody"


def converged(world: World, site: str, lives: Lives) -> Iterator[str]:
    """A site has exactly what it is to have and what it holds; its nodes enforce just that."""
    machine = world.sites[site]
    newest = world.ledgers[FSM_NAME][-1]
    life, revision = lives.newest, newest.revision
    found = lives.selected(life, revision, site)
    assert found is not None, "sites are never deleted"
    _, selected = found
    there = _inherited(world, site)
    kept = {
        Key(each["kind"], each["tenant"], each["scope"], each["name"]): each["cause"]
        for each in records_in(machine.disk.store, "held").values()
    }
    refused = records_in(machine.disk.store, "refused")
    for name in refused:
        yield f"{site} refuses {name}"
    for key, item in selected.items.items():
        copy = there.get(key)
        if copy is None:
            yield f"{site} lacks {key}"
        elif (copy.spec, copy.labels) != (item.stored.spec, item.stored.labels):
            yield f"{site} has another {key} than the FSM"
    for key in set(there) - set(selected.items) - selected.withheld:
        if key not in kept:
            yield f"{site} has {key}, which is not for it, and doesn't hold it"
    for key, cause in kept.items():
        if key in selected.items:
            yield f"{site} holds {key}, which the FSM has"
        if cause == "missing" and not _may_be_missing(world, site):
            yield f"{site} holds {key} as missing, although the FSM can tell what became of it"
    position = records_in(machine.disk.store, "feed").get("position")
    at = (position["incarnation"], position["revision"], position["digest"]) if position else None
    if at != (newest.incarnation, revision, newest.digests.get(revision)):
        yield f"{site} stands at {at}, the FSM at {newest.incarnation} {revision}"
    yield from _nodes(world, site, selected.items, kept)


def _may_be_missing(world: World, site: str) -> bool:
    """Return whether anything happened that makes the FSM forget what a site had."""
    fsm, own = world.ledgers[FSM_NAME], world.ledgers[site]
    return len(fsm) > 1 or len(own) > 1 or fsm[-1].oldest > 0


def _nodes(
    world: World, site: str, items: Mapping[Key, Any], kept: Mapping[Key, str]
) -> Iterator[str]:
    own = world.ledgers[site][-1]
    objects = own.objects_at(own.revision)
    inherited = [each.planned for key, each in items.items() if key.kind in PLANNED_KINDS]
    inherited += [planned(objects[key]) for key in kept if key.kind in PLANNED_KINDS]
    local = [
        planned(each)
        for key, each in objects.items()
        if key.kind in PLANNED_KINDS and not is_inherited_scope(key.scope)
    ]
    wanted = _compiled(site, inherited, local)
    if wanted is None:
        yield f"{site} knows nothing of itself"
        return
    for name, configuration in wanted.items():
        machine = f"{site}/{name}"
        if machine not in world.planes:
            continue
        hash_ = configuration
        plane = world.planes[machine].plane
        standing = plane._standing
        enforced_now = None if standing is None else standing.hash()
        if enforced_now != hash_:
            yield f"{machine} enforces {enforced_now}, a fresh compile gives {hash_}"
        told = world.nodes[machine].program.enforcer.standing
        if told.refused is not None:
            yield f"{machine} says that it refuses {told.refused}"


def _compiled(site: str, inherited: list[Any], local: list[Document]) -> dict[str, str] | None:
    inputs = SiteInputs(site, Documents(inherited), Documents(local), START)
    try:
        return {
            name: each.hash() for name, each in counting_configurations(SitePlanner(inputs)).items()
        }
    except NotFound:
        return None


def _inherited(world: World, site: str) -> dict[Key, Version]:
    ledger = world.ledgers[site][-1]
    objects = ledger.objects_at(ledger.revision)
    return {key: each for key, each in objects.items() if is_inherited_scope(key.scope)}


def enforced(world: World) -> Iterator[str]:
    """Nodes enforced what some revision of their site's store gives, and nothing else."""
    compiled: dict[tuple[str, str, int], dict[str, str] | None] = {}
    for (site, node), steps in world.history.enforced.items():
        ledgers = world.ledgers[site]
        for each in {(e.incarnation, e.generation, e.hash) for e in steps}:
            incarnation, generation, hash_ = each
            ledger = next((x for x in ledgers if x.incarnation == incarnation), None)
            if ledger is None or generation > ledger.revision:
                yield f"{site}/{node} enforced generation {generation}, which never was"
                continue
            name = site, incarnation, generation
            if name not in compiled:
                documents = [
                    planned(version)
                    for key, version in ledger.objects_at(generation).items()
                    if key.kind in PLANNED_KINDS
                ]
                above = [x for x in documents if is_inherited_scope(x.key.scope)]
                own = [x for x in documents if not is_inherited_scope(x.key.scope)]
                compiled[name] = _compiled(site, above, own)
            if (compiled[name] or {}).get(node) != hash_:
                yield f"{site}/{node} enforced {hash_}, which revision {generation} doesn't give"
