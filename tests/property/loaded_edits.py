"""Edits of a loaded site by the kind of what they change, from Hypothesis or by dice."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.inputs import Document
from tests.property.choices import Choices
from tests.property.generated_documents import NODES, NOW, SITE, labels
from tests.property.generators import rolled_world
from tests.property.loaded_worlds import PLANNED, Held
from tests.property.planner_worlds import site_inputs

WORLDS = 100
"""So many other worlds documents are taken from."""


class Edit(NamedTuple):
    """What changes at once: later documents of a key count."""

    put: list[Document]
    delete: list[Key]
    days: int = 0
    """By how much time moves, perhaps back."""

    def carry_out(self, held: Held) -> None:
        put = {each.key: each for each in self.put}
        now = held.now + timedelta(days=self.days) if self.days else None
        held.change([*put.values()], [key for key in self.delete if key not in put], now)


NOTHING = Edit([], [])


def rule(choose: Choices, held: Held) -> Edit:
    """Insert, remove, move or change a rule of a policy, in its place."""
    policies = [each for each in held.documents.values() if each.key.kind == "SecurityPolicy"]
    if not policies:
        return NOTHING
    policy = choose.pick(policies)
    data = policy.spec.to_json()
    rules = list(data["rules"])
    form = choose.pick(("insert", "insert", "remove", "move", "change"))
    if form == "insert" or not rules:
        more = [
            each for other in others("SecurityPolicy") for each in other.spec.to_json()["rules"]
        ]
        names = {each["name"] for each in rules}
        name = next(name for number in range(99) if (name := f"x{number}") not in names)
        rules.insert(choose.number(0, len(rules)), {**choose.pick(more), "name": name})
    else:
        place = choose.number(0, len(rules) - 1)
        taken = rules.pop(place)
        if form == "change":
            action = choose.pick(("allow", "deny", "reject", "pass"))
            rules.insert(place, {**taken, "action": action})
        elif form == "move":
            rules.insert(choose.number(0, len(rules)), taken)
    return Edit([renewed(policy, data | {"rules": rules})], [])


def subnet(choose: Choices, held: Held) -> Edit:
    """Give a network a prefix more, or one less."""
    networks = [each for each in held.documents.values() if each.key.kind == "Network"]
    if not networks:
        return NOTHING
    network = choose.pick(networks)
    data = network.spec.to_json()
    subnets = list(data.get("subnets", ()))
    if subnets and choose.chance(50):
        subnets.pop(choose.number(0, len(subnets) - 1))
    else:
        subnets += choose.pick(others("Network")).spec.to_json().get("subnets", ())
    if not subnets:
        # One that means nothing says nothing else either.
        return Edit([renewed(network, {})], [])
    return Edit([renewed(network, data | {"subnets": [*dict.fromkeys(subnets)]})], [])


def label(choose: Choices, held: Held) -> Edit:
    """Give something other labels, and leave it as it is."""
    bearing = [
        each
        for each in held.documents.values()
        if each.key.kind in ("Network", "Workload") or each.key.name == SITE
    ]
    found = choose.pick(bearing)
    return Edit([Document(found.key, found.spec, labels(choose))], [])


def move(choose: Choices, held: Held) -> Edit:
    """Let another node enforce for a workload, or none."""
    workloads = [each for each in held.documents.values() if each.key.kind == "Workload"]
    if not workloads:
        return NOTHING
    workload = choose.pick(workloads)
    data = {key: value for key, value in workload.spec.to_json().items() if key != "node"}
    node = choose.pick((*NODES, None))
    return Edit([renewed(workload, data | ({"node": node} if node else {}))], [])


def time(choose: Choices, held: Held) -> Edit:
    """Let time pass, over an override's end or back before it."""
    towards = (NOW - held.now).days
    return Edit([], [], choose.pick((towards - 1, towards + 1, 30, -400, 400)))


def of_kind(*kinds: str) -> Callable[[Choices, Held], Edit]:
    """Return an edit that puts a document of another world, or deletes one that is there."""

    def put_or_delete(choose: Choices, held: Held) -> Edit:
        kind = choose.pick(kinds)
        there = [key for key in held.documents if key.kind == kind]
        if there and kind != "Site" and choose.chance(35):
            return Edit([], [choose.pick(there)])
        return Edit([choose.pick(others(kind))], [])

    return put_or_delete


def override(choose: Choices, held: Held) -> Edit:
    """Put an override or delete one; the name of one that is there may come to mean another."""
    edit = of_kind("Override")(choose, held)
    if not edit.put or choose.chance(50):
        return edit
    found = edit.put[0]
    key = found.key._replace(scope="site", tenant="common", name=f"o{choose.number(0, 1)}")
    return Edit([Document(key, found.spec, found.labels)], [])


def several(choose: Choices, held: Held) -> Edit:
    """Change several things at once."""
    single = tuple(kind for name, kind in EDITS.items() if name != "several")
    edits = [choose.pick(single)(choose, held) for _ in range(choose.number(2, 6))]
    put = [each for edit in edits for each in edit.put]
    return Edit(put, [key for edit in edits for key in edit.delete], max(e.days for e in edits))


EDITS: dict[str, Callable[[Choices, Held], Edit]] = {
    "rule": rule,
    "policy": of_kind("SecurityPolicy"),
    "network": of_kind("Network"),
    "subnet": subnet,
    "service": of_kind("Service"),
    "workload": of_kind("Workload"),
    "move": move,
    "node": of_kind("Node"),
    "group": of_kind("NodeGroup", "Region", "Site"),
    "label": label,
    "override": override,
    "time": time,
    "several": several,
}


def any_edit(choose: Choices, held: Held, kinds: Sequence[str] = ()) -> Edit:
    """Draw an edit of one of these kinds; of any, without."""
    return EDITS[choose.pick(kinds or tuple(EDITS))](choose, held)


def renewed(document: Document, data: Any) -> Document:
    """Return a document with another spec."""
    spec = KINDS[document.key.kind].spec.model_validate(data)
    return Document(document.key, spec, document.labels)


@cache
def others(kind: str) -> tuple[Document, ...]:
    """Return the documents of a kind that other worlds have."""
    found = [
        document
        for seed in range(WORLDS)
        for document in site_inputs(rolled_world(seed), SITE, NOW)
        if document.key.kind == kind and kind in PLANNED
    ]
    return tuple(each for each in found if each.key.kind != "Site" or each.key.name == SITE)
