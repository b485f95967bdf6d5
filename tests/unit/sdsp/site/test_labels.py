"""What a site's status and traces show somebody whose grant selects objects by their labels."""

from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from sdsp.site.service import parse_packet
from sdsp.site.sight import Sight
from sdsp.upstream.apply import HELD, REFUSED
from sdsp.upstream.removals import record_name
from shared.access.permissions import Permission
from shared.access.reach import reach_of
from shared.algebra.cidrs import parse_address
from shared.auth.identity import Caller, CallerKind, Grant
from shared.errors import NotFound
from shared.ids import Key
from shared.model.selectors import Selector
from tests.fakes.store import MemoryTransaction
from tests.unit.sdsp.compiled import P, World, compiled
from tests.unit.sdsp.world import global_, key, policy, rule, to_network, write

SHOP, TILL = {"app": "shop"}, {"app": "till"}
EVERYBODY = Sight()

OBJECTS: dict[Key, dict[str, Any]] = {
    P: policy(rule(to=to_network("A"))),
    global_("SecurityPolicy", "gap"): policy(rule(to=to_network("Nowhere"))),
    global_("Network", "Nowhere"): {},
    global_("Tenant", "acme"): {},
    key("SecurityPolicy", "ours"): policy(rule(action="allow")),
    key("SecurityPolicy", "theirs", tenant="acme"): policy(rule()),
    key("SecurityPolicy", "near", scope="node/n2"): policy(rule()),
    key("Node", "n1"): {},
    key("Node", "n2"): {},
    key("Node", "n3"): {"admission": "pending"},
    key("Workload", "w"): {"addresses": ["10.66.0.5"], "node": "n1"},
    key("Workload", "x"): {"addresses": ["10.67.0.5"], "node": "n2"},
    key("Workload", "lonely"): {"addresses": ["10.68.0.5"]},
    key("Workload", "waiting", tenant="acme"): {"addresses": ["10.69.0.5"], "node": "n3"},
}
HOLDS = [P, global_("SecurityPolicy", "gap")]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with compiled() as found:
        yield found


async def labelled(world: World, labels: dict[Key, dict[str, str]]) -> None:
    """Write everything with its labels; of what upstream has no longer, hold some."""
    for each, spec in OBJECTS.items():
        await write(world.store, {each: spec}, labels=labels[each])

    async def hold(transaction: MemoryTransaction) -> None:
        for each in HOLDS:
            said = {**each._asdict(), "cause": "missing", "reason": None, "since": "then"}
            await transaction.put_record(HELD, record_name(each), said)
            said = {**each._asdict(), "code": "invalid", "revision": 9}
            await transaction.put_record(REFUSED, record_name(each), said)

    await world.store.transact(hold)
    await world.compile()
    world.acknowledge()
    # n2 refuses what it is to enforce.
    said = {"outcome": "nack", "code": "kernel_refused", "message": "no", "hash": None}
    world.states.report("n2", said, at=world.clock.now())


def grant(permission: Permission, selector: dict[str, str] | None, **where: Any) -> Grant:
    meant = Selector.model_validate({"matchLabels": selector or {}})
    bound = (str(selector), meant.matches) if selector else (None, None)
    found = {name: frozenset(each) for name, each in where.items()}
    return Grant("r", frozenset({permission}), found.get("tenants"), found.get("scopes"), *bound)


def sight(*grants: Grant) -> Sight:
    caller = Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)
    (permission,) = {each for one in grants for each in one.permissions}
    return Sight(reach_of(caller, Permission(permission)))


def seen(who: Grant, each: Key, labels: dict[str, str]) -> bool:
    return (
        (who.tenants is None or each.tenant in who.tenants)
        and (who.scopes is None or each.scope in who.scopes)
        and (who.labels is None or who.labels(labels))
    )


@pytest.mark.parametrize(
    "where", [{}, {"tenants": ["acme"]}, {"scopes": ["site"]}, {"tenants": ["common"]}]
)
async def test_status_is_everybodys_filtered_by_labels(
    world: World, where: dict[str, list[str]]
) -> None:
    dice = Random(str(where))
    shown = hidden = 0
    for _ in range(12):
        labels = {each: dice.choice([SHOP, TILL]) for each in OBJECTS}
        await labelled(world, labels)
        who = grant(Permission.READ_STATUS, SHOP, **where)
        everything, told = await world.view.status(EVERYBODY), await world.view.status(sight(who))

        def sees(each: dict[str, Any], kind: str = "SecurityPolicy") -> bool:
            found = key_of(each, kind)
            return seen(who, found, labels.get(found, {}))  # noqa: B023 - asked in this turn

        nodes = {
            each["name"]
            for each in everything["nodes"]
            if labels[key("Node", each["name"])] == SHOP
        }
        assert [each | {"message": ""} for each in told["nodes"]] == [
            each | {"message": ""} for each in everything["nodes"] if each["name"] in nodes
        ]
        assert not any("message" in each for each in told["nodes"])
        policies = [each for each in everything["policies"] if sees(each)]
        counts = {"nodes", "failing"}
        assert [without(each, counts) for each in told["policies"]] == [
            without(each, counts) for each in policies
        ]
        for mine, whole in zip(told["policies"], policies, strict=True):
            failing = [each for each in whole["failing"] if each["node"] in nodes]
            assert mine["failing"] == failing
            assert mine["nodes"]["failed"] == len(failing)
            assert mine["nodes"]["total"] == sum(
                mine["nodes"][each] for each in ("realised", "pending", "failed")
            )
            assert mine["nodes"]["total"] <= len(nodes)
        assert told["held"] == [each for each in everything["held"] if sees(each)]
        assert told["refused"] == []
        assert told["unenforced"] == [
            name
            for name in everything["unenforced"]
            if seen(who, workload(name), labels[workload(name)])
        ]
        assert {"breakGlass", "events", "backups", "expiring"}.isdisjoint(told)
        shown += len(policies) + len(told["held"]) + len(told["unenforced"])
        hidden += len(everything["policies"]) - len(policies)
    assert shown
    assert hidden


def key_of(each: dict[str, Any], kind: str) -> Key:
    return Key(each.get("kind", kind), each["tenant"], each["scope"], each["name"])


def workload(name: str) -> Key:
    return next(each for each in OBJECTS if (each.kind, each.name) == ("Workload", name))


def without(each: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    return {name: value for name, value in each.items() if name not in fields}


async def test_a_policy_has_failed_although_the_node_that_failed_is_not_told(world: World) -> None:
    labels = dict.fromkeys(OBJECTS, SHOP) | {key("Node", "n2"): TILL}
    await labelled(world, labels)
    told = await world.view.status(sight(grant(Permission.READ_STATUS, SHOP)))
    (ours,) = [each for each in told["policies"] if each["name"] == "ours"]
    assert (ours["state"], ours["failing"], ours["nodes"]["failed"]) == ("failed", [], 0)
    assert "n2" not in str(told["nodes"]) + str(told["policies"][0])


async def test_regression_a_grant_in_one_scope_showed_every_scopes_policies(world: World) -> None:
    await labelled(world, dict.fromkeys(OBJECTS, SHOP))
    status = grant(Permission.READ_STATUS, None, scopes=["site"])
    told = await world.view.status(sight(status))
    assert {each["name"] for each in told["policies"]} == {"ours", "theirs"}
    assert told["held"] == []
    trace = grant(Permission.TRACE, None, scopes=["node/n2"])
    found = await world.view.resolve("n2", staged=False, sight=sight(trace))
    assert {each["policy"] for each in found["rules"]} == {"near"}


async def trace(world: World, who: Sight, source: str, to: str, node: str | None = None) -> Any:
    packet = parse_packet(parse_address(source), parse_address(to), 6, 443, 49152)
    return await world.view.trace(packet, node, staged=False, sight=who)


async def test_a_trace_names_the_rules_and_nodes_that_one_may_know_of(world: World) -> None:
    labels = dict.fromkeys(OBJECTS, TILL)
    labels |= {key("SecurityPolicy", "theirs", tenant="acme"): SHOP, key("Workload", "x"): SHOP}
    await labelled(world, labels)
    kim = sight(grant(Permission.TRACE, SHOP))
    everything = await trace(world, EVERYBODY, "10.67.0.5", "10.66.0.5")
    told = await trace(world, kim, "10.67.0.5", "10.66.0.5")
    assert set(everything["views"]) == {"n1", "n2"}
    # Where x is stands in x itself; w, and so n1, is nothing that he knows of.
    assert set(told["views"]) == {"n2"}
    assert (told["outcome"], everything["outcome"]) == ("deny", "deny")
    assert {step["policy"] for step in told["views"]["n2"]["steps"]} <= {"theirs"}
    assert told["view"]["policy"] is None
    assert told["view"]["verdict"] == everything["view"]["verdict"]
    # A node with other labels is as one that isn't there.
    for asked in (
        trace(world, kim, "10.67.0.5", "10.66.0.5", "n1"),
        trace(world, kim, "10.67.0.5", "10.66.0.5", "n9"),
        world.view.resolve("n1", staged=False, sight=kim),
    ):
        with pytest.raises(NotFound) as refused:
            await asked
        assert refused.value.code == "unknown_node"


async def test_a_rule_is_shown_with_all_that_it_comes_to_and_no_hidden_names(world: World) -> None:
    labels = dict.fromkeys(OBJECTS, TILL) | {P: SHOP}
    await labelled(world, labels)
    kim = sight(grant(Permission.TRACE, SHOP))
    found = await world.view.resolve(None, staged=False, sight=kim)
    whole = await world.view.resolve(None, staged=False, sight=EVERYBODY)
    (mine,) = found["rules"]
    (same,) = [each for each in whole["rules"] if each["policy"] == "p"]
    assert same["names"]
    assert mine == same | {"position": 1, "names": []}
    assert mine["to"] == ["10.66.0.0/24"]
    assert found["unresolved"] == []
    assert whole["unresolved"]
