"""What must hold of conflicts and decisions after a run; nothing here asks the product's planner.

Each disagreement is merged or listed, and none is listed that isn't one; each decision that was
answered is there with all that it writes, in one revision; and the FSM knows what the site says.
Which inherited policy counts is asked of the oracle of inheritance, written from objects.md.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fsm.feed.acks import REPORTS
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.inputs import is_inherited_scope
from tests.property.oracle_inheritance import (
    Asking,
    existing,
    global_chain,
    global_documents,
    local_chain,
    nearest,
    of_name,
)
from tests.simulation.clock import START
from tests.simulation.disagreeing import Decided
from tests.simulation.ledger import Ledger, Version, records_in
from tests.simulation.world import World

POLICY = "SecurityPolicy"
Objects = Mapping[Key, Version]


class Disagreement(NamedTuple):
    """A conflict's identity: its type, the policy, and which exception or scope it is about."""

    type: str
    tenant: str
    name: str
    subject: str


def conflicts_after(world: World) -> Iterator[str]:
    """Yield all that is wrong with conflicts and decisions; the world has come to rest."""
    for site in world.sites:
        ledger = world.ledgers[site][-1]
        objects = ledger.objects_at(ledger.revision)
        yield from _listed(site, objects)
        yield from _known_above(world, site, objects)
    for each in world.history.decided:
        ledgers = world.ledgers[each.server]
        life = next(
            n
            for n, ledger in enumerate(ledgers)
            if (ledger.incarnation, ledger.epoch) == (each.incarnation, each.epoch)
        )
        for number in range(life, len(ledgers)):
            if number > life and each.revision > (ledgers[number - 1].restored_to or 0):
                break  # the backup is older than the decision
            yield from _carried_out(each, ledgers[number])


def _listed(site: str, objects: Objects) -> Iterator[str]:
    if Key("Site", "common", "federation", site) not in objects:
        yield f"{site} knows nothing of itself"
        return
    wanted = set(disagreements(site, objects))
    found = {
        Disagreement(
            each.spec["type"],
            each.spec["target"].get("tenant", "common"),
            each.spec["target"]["name"],
            each.spec.get("subject", ""),
        )
        for each in _unresolved(objects)
        if each.spec["type"] in ("edited_both", "deleted_upstream") or _is_suspended(each)
    }
    for each in sorted(wanted - found):
        yield f"{site} lists nowhere that it disagrees: {each}"
    for each in sorted(found - wanted):
        yield f"{site} lists {each}, where nothing disagrees"


def _unresolved(objects: Objects) -> Iterator[Version]:
    for key, each in objects.items():
        if key.kind == "Conflict" and each.spec.get("state", "open") != "resolved":
            yield each


def _is_suspended(conflict: Version) -> bool:
    # Of a default policy that a local one replaces it counts which of both came first.
    spec = conflict.spec
    return spec["type"] == "name_taken" and spec["facts"]["counts"] == "inherited"


def disagreements(site: str, objects: Objects) -> Iterator[Disagreement]:
    """Yield where a site's own objects and what it inherits don't agree."""
    asking = Asking(_documents(site, objects), site, None, START)
    for key, each in objects.items():
        if key.kind == "Override" and each.spec["target"]["kind"] == POLICY:
            yield from _of_exception(asking, key, each.spec)
    nodes = [key.name for key in objects if key.kind == "Node"]
    for node in (None, *nodes):
        view = asking._replace(node=node)
        inherited, own = existing(view, POLICY)
        for scope, document in own:
            metadata = document["metadata"]
            of = of_name(inherited, metadata["tenant"], metadata["name"])
            if scope in local_chain(view) and any(_is_mandatory(above) for _, above in of):
                yield Disagreement("name_taken", metadata["tenant"], metadata["name"], scope)


def _of_exception(asking: Asking, key: Key, spec: Any) -> Iterator[Disagreement]:
    target = spec["target"]
    tenant, name = target.get("tenant", "common"), target["name"]
    subject = f"{key.tenant}/{key.scope}/{key.name}"
    above = in_force(asking, tenant, name)
    if above is None:
        yield Disagreement("deleted_upstream", tenant, name, subject)
    elif "basedOn" in spec and said(above["spec"]) not in (
        said(spec["basedOn"]["spec"]),
        said(spec["spec"]),
    ):
        yield Disagreement("edited_both", tenant, name, subject)


def in_force(asking: Asking, tenant: str, name: str) -> dict[str, Any] | None:
    """Return the inherited policy that an exception stands for; of a staged one its text."""
    inherited = of_name(existing(asking, POLICY)[0], tenant, name)
    mandatory = [pair for pair in inherited if _is_mandatory(pair[1])]
    every = of_name(global_documents(asking.world, POLICY), tenant, name)
    chain = global_chain(asking)
    found = nearest(chain[::-1], mandatory) or nearest(chain, inherited) or nearest(chain, every)
    return None if found is None else found[1]


def said(spec: Any) -> dict[str, Any]:
    """Return what an exception to a policy could say of it, in its one form."""
    data = KINDS[POLICY].spec.model_validate(spec).to_json()
    return {name: each for name, each in data.items() if name not in ("enforcement", "sites")}


def _is_mandatory(document: dict[str, Any]) -> bool:
    return bool(document["spec"].get("enforcement", "default") == "mandatory")


def _documents(site: str, objects: Objects) -> Any:
    found: dict[str, Any] = {"federation": [], "sites": {site: []}}
    for key, each in objects.items():
        metadata = {
            "name": key.name,
            "tenant": key.tenant,
            "scope": key.scope,
            "labels": each.labels,
        }
        document = {"kind": key.kind, "metadata": metadata, "spec": each.spec}
        above = is_inherited_scope(key.scope)
        (found["federation"] if above else found["sites"][site]).append(document)
    return found


def _known_above(world: World, site: str, objects: Objects) -> Iterator[str]:
    """What the FSM says of a site's conflicts is what the site says."""
    report = records_in(world.fsm.disk.store, REPORTS).get(site)
    told = (report or {}).get("conflicts")
    if told is None or told["judged"] is None:
        yield f"the FSM doesn't know of {site}'s conflicts"
        return
    here = {(each.key.tenant, each.key.name): each.spec.get("state", "open")
            for each in _unresolved(objects)}  # fmt: skip
    there = {(each["tenant"], each["name"]): each["state"] for each in told["unsettled"]}
    if here != there:
        yield f"{site} has the conflicts {here}, the FSM knows of {there}"
    settled = {(each["tenant"], each["name"]): each["how"] for each in told["settled"]}
    for key, each in objects.items():
        if key.kind == "Conflict" and each.spec.get("state") == "resolved":
            how = each.spec["decision"]["proposal"] if "decision" in each.spec else "closed"
            if settled.get((key.tenant, key.name)) != how:
                yield f"{site} has settled {key.name} by {how}, which the FSM doesn't know"


def _carried_out(decided: Decided, ledger: Ledger) -> Iterator[str]:
    """Yield what is missing of a decision that was answered."""
    where = f"{decided.request} decided {decided.conflict.name} by {decided.proposal}"
    at = {each.key: each for each in ledger.by_revision().get(decided.revision, ())}
    conflict = at.get(decided.conflict)
    decision = None if conflict is None or conflict.spec is None else conflict.spec.get("decision")
    if decision is None or decision["proposal"] != decided.proposal:
        yield f"{where}, but that is not there"
        return
    assert conflict is not None
    if conflict.spec["state"] != "resolved":
        yield f"{where}, but it is {conflict.spec['state']}"
    before = ledger.objects_at(decided.revision - 1)
    match conflict.spec["type"]:
        case "edited_both" | "deleted_upstream":
            facts = conflict.spec["facts"]["override"]
            key = Key("Override", facts["tenant"], facts["scope"], facts["name"])
            yield from _of_override(where, decided, ledger, key, at, before)
        case "name_taken":
            target = conflict.spec["target"]
            scope = conflict.spec["facts"]["scope"]
            if conflict.spec["facts"]["counts"] == "local" and decided.proposal == "keepLocal":
                return  # it counts already
            key = Key(POLICY, target.get("tenant", "common"), scope, target["name"])
            yield from _of_own(where, decided, key, at, before)


def _of_own(where: str, decided: Decided, key: Key, at: Objects, before: Objects) -> Iterator[str]:
    after = at.get(key)
    if decided.proposal == "acceptGlobal":
        if after is None or after.spec is not None:
            yield f"{where}, but {key} is still there"
    elif decided.proposal == "keepLocal":
        kept = [each for each in at.values() if each.spec and each.key.kind == "Override"]
        own = before[key].spec
        if not any(said(each.spec["spec"]) == said(own) for each in kept) and after is None:
            yield f"{where}, but nothing of the site's side was written"


def _of_override(  # noqa: PLR0917 - what is needed to judge one decision
    where: str, decided: Decided, ledger: Ledger, key: Key, at: Objects, before: Objects
) -> Iterator[str]:
    after, had = at.get(key), before.get(key)
    if had is None or after is None:
        yield f"{where}, but {key} was not written with it"
        return
    if decided.proposal == "acceptGlobal":
        if after.spec is not None:
            yield f"{where}, but {key} is still there"
        return
    if after.spec is None:
        return  # what was an exception is the site's own policy now
    site = decided.server
    asking = Asking(_documents(site, before), site, None, START)
    above = in_force(asking, key.tenant, had.spec["target"]["name"])
    if above is None or "basedOn" not in after.spec:
        yield f"{where}, but {key} is not based on what is inherited"
        return
    if said(after.spec["basedOn"]["spec"]) != said(above["spec"]):
        yield f"{where}, but {key} is based on something else than what was inherited"
    mine, theirs = said(had.spec["spec"]), said(above["spec"])
    wanted = mine
    if decided.proposal == "merge":
        wanted = merged(said(had.spec["basedOn"]["spec"]), mine, theirs)
    if _by_name(said(after.spec["spec"])) != _by_name(wanted):
        yield f"{where}, but {key} says {after.spec['spec']} and not {wanted}"


def merged(base: Any, mine: Any, theirs: Any) -> dict[str, Any]:
    """Return a clean three-way merge, field by field, the slow way; rules in any order."""
    found = {
        name: value
        for name in {*base, *mine, *theirs} - {"rules"}
        if (value := _side(base.get(name), mine.get(name), theirs.get(name))) is not None
    }
    sides = [{rule["name"]: rule for rule in each["rules"]} for each in (base, mine, theirs)]
    rules = []
    for name in {name for side in sides for name in side}:
        was, ours, others = (side.get(name) for side in sides)
        if was is None or ours is None or others is None:
            rule = _side(was, ours, others)
        else:
            fields = {*was, *ours, *others}
            values = {f: _side(was.get(f), ours.get(f), others.get(f)) for f in fields}
            rule = {name: value for name, value in values.items() if value is not None}
        if rule is not None:
            rules.append(rule)
    return {**found, "rules": rules}


def _side(base: Any, mine: Any, theirs: Any) -> Any:
    """Return the side that has changed; they don't overlap."""
    return theirs if mine == base else mine


def _by_name(spec: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    rest = {name: value for name, value in spec.items() if name != "rules"}
    return rest, {rule["name"]: rule for rule in spec.get("rules", [])}
