"""Of documents taken together, exactly those are refused that the contract refuses."""

import copy
from collections import Counter
from random import Random
from typing import Any

from hypothesis import given

from shared.policy.faults.fault import Fault
from shared.policy.faults.federation import federation_address_faults, federation_faults
from shared.policy.faults.site import site_faults, site_warnings
from tests.property.generated_documents import NETWORKS, NOW, POLICIES, SITE, V4
from tests.property.generators import rolled_world, worlds
from tests.property.oracle_inheritance import Asking, Document, World
from tests.property.oracle_refusals import (
    Refusal,
    addresses_clash,
    federation_refusals,
    site_refusals,
)
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

CODES = {
    *("unknown_network", "unknown_service", "address_in_global_policy", "priority_reserved"),
    *("mandatory_policy_exists", "sealed", "override_exists"),
}


@given(world=worlds(live=False))
def test_a_world_that_breaks_no_rule_has_no_fault(world: World) -> None:
    assert all_faults(world) == []


def test_worlds_by_dice_that_break_no_rule_have_no_fault() -> None:
    for seed in rolls(100):
        assert all_faults(rolled_world(seed, live=False)) == [], seed


def all_faults(world: World) -> list[Fault]:
    inputs = site_inputs(world, SITE, NOW)
    for warning in site_warnings(inputs):
        assert warning.code in {"unresolved_name", "no_target"}
    return [
        *federation_faults(inputs.federation),
        *federation_address_faults(inputs.federation),
        *site_faults(inputs),
    ]


def test_spoilt_worlds_by_dice_are_refused_for_what_is_wrong_with_them() -> None:
    seen: Counter[str] = Counter()
    for seed in rolls(150):
        world = spoilt(rolled_world(seed), Random(seed))
        asking = Asking(world, SITE, None, NOW)
        inputs = site_inputs(world, SITE, NOW)
        above = federation_refusals(world)
        here = site_refusals(asking)
        assert refused(federation_faults(inputs.federation)) == above, seed
        faults = list(site_faults(inputs))
        assert refused(fault for fault in faults if fault.code != "address_taken") == here, seed
        taken = any(fault.code == "address_taken" for fault in faults)
        assert taken == addresses_clash(asking), seed
        seen.update(code for code, *_ in above | here)
        seen["address_taken"] += taken
    assert set(seen) == CODES | {"address_taken"}, "every code was met"


def refused(faults: Any) -> set[Refusal]:
    found = set()
    for fault in faults:
        assert fault.key is not None
        found.add((fault.code, fault.key.kind, fault.key.tenant, fault.key.scope, fault.key.name))
    return found


def spoilt(world: World, random: Random) -> World:
    """Return a copy with a few documents changed without regard for what is allowed."""
    changed = copy.deepcopy(world)
    for _ in range(random.randint(1, 4)):
        home = random.choice((changed["federation"], changed["sites"][SITE]))
        random.choice((_rename, _add_address, _move, _take, _priority, _double))(home, random)
    return changed


def _of(home: list[Document], random: Random, *kinds: str) -> Document | None:
    found = [each for each in home if each["kind"] in kinds]
    return random.choice(found) if found else None


def _policy(home: list[Document], random: Random) -> dict[str, Any] | None:
    found = _of(home, random, "SecurityPolicy", "Override")
    if found is None or found["kind"] == "SecurityPolicy":
        return None if found is None else found["spec"]
    inner = found["spec"]["spec"]
    return inner if "rules" in inner else None


def _rename(home: list[Document], random: Random) -> None:
    policy = _policy(home, random)
    if policy is not None:
        rule = random.choice(policy["rules"])
        rule["from"] = [{"network": random.choice((*NETWORKS, "Nowhere"))}]
        rule["services"] = [{"service": random.choice(("web", "dns", "nothing"))}]


def _add_address(home: list[Document], random: Random) -> None:
    policy = _policy(home, random)
    if policy is not None:
        random.choice(policy["rules"])["to"] = [{"cidr": "10.0.0.0/24"}]


def _move(home: list[Document], random: Random) -> None:
    """Give a document the name or scope of another of its kind, if that is free."""
    found = _of(home, random, "SecurityPolicy", "Network", "Service")
    other = found and _of(home, random, found["kind"])
    if not found or not other:
        return
    metadata = copy.deepcopy(found["metadata"])
    field = random.choice(("scope", "name"))
    metadata.pop(field, None)
    if field in other["metadata"]:
        metadata[field] = other["metadata"][field]
    if field == "name" and found["kind"] == "SecurityPolicy":
        metadata["name"] = random.choice(POLICIES)
    if not any(each["kind"] == found["kind"] and _key(each) == _key_of(metadata) for each in home):
        found["metadata"] = metadata


def _key(document: Document) -> tuple[Any, ...]:
    return _key_of(document["metadata"])


def _key_of(metadata: dict[str, Any]) -> tuple[Any, ...]:
    return metadata.get("tenant"), metadata.get("scope"), metadata["name"]


def _take(home: list[Document], random: Random) -> None:
    found = _of(home, random, "Network", "Workload")
    if found is not None:
        address = V4[random.choice(tuple(V4))].format(random.randrange(256))
        field = {"Network": "subnets", "Workload": "addresses"}[found["kind"]]
        found["spec"][field] = [address]


def _priority(home: list[Document], random: Random) -> None:
    policy = _policy(home, random)
    if policy is not None:
        policy["priority"] = random.choice((0, 99, 100))


def _double(home: list[Document], random: Random) -> None:
    """Write an override once more under another name, or aim it at something else."""
    found = _of(home, random, "Override")
    other = _of(home, random, "Network", "Service", "SecurityPolicy")
    if found is None or other is None:
        return
    twin = copy.deepcopy(found)
    twin["metadata"]["name"] = f"twin-{random.randrange(10**9)}"
    if other["kind"] == twin["spec"]["target"]["kind"] and random.random() < 0.7:
        tenant = other["metadata"].get("tenant", "common")
        twin["spec"]["target"] |= {"name": other["metadata"]["name"], "tenant": tenant}
    home.append(twin)
