"""Taking over what the FSM says, in a real store."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sdsp.upstream.apply import Inbound
from shared.errors import NotFound
from shared.feed.wire import (
    Changes,
    FeedObject,
    Position,
    Put,
    Removal,
    Remove,
    Snapshot,
    Tombstone,
)
from shared.ids import Key
from shared.store.contract import AuditRecord, Draft, Store, Transaction
from tests.fakes.clock import VirtualClock


def key(kind: str, name: str, scope: str = "federation") -> Key:
    return Key(kind, "common", scope, name)


def document(of: Key, spec: Mapping[str, Any], revision: int = 1, **labels: str) -> FeedObject:
    return FeedObject(
        of,
        revision,
        {
            "apiVersion": "hanse/v1",
            "kind": of.kind,
            "metadata": {
                "name": of.name,
                "tenant": of.tenant,
                "scope": of.scope,
                "labels": labels,
                "revision": revision,
                "generation": 1,
            },
            "spec": spec,
        },
    )


def position(revision: int, incarnation: str = "i1") -> Position:
    return Position(incarnation, revision, f"d{revision}", "v1")


SITE = key("Site", "s1")
NETWORK = key("Network", "A")


def policy(name: str, rules: int) -> FeedObject:
    return document(
        key("SecurityPolicy", name),
        {
            "rules": [
                {"name": f"r{number}", "from": "any", "to": "any", "action": "pass"}
                for number in range(rules)
            ]
        },
    )


BASE = (
    document(SITE, {}),
    document(NETWORK, {"subnets": ["10.0.0.0/24"]}),
)


@pytest.fixture
def inbound(store: Store, clock: VirtualClock) -> Iterator[Inbound]:
    with ThreadPoolExecutor(1) as executor:
        yield Inbound(store, site="s1", clock=clock, executor=executor)


async def names(store: Store) -> set[str]:
    async with store.snapshot() as snapshot:
        return {stored.key.name for stored in await snapshot.list()}


async def held(inbound: Inbound) -> dict[str, str]:
    return {each["name"]: each["cause"] for each in await inbound.held()}


async def test_a_step_and_its_position_are_one_transaction(store: Store, inbound: Inbound) -> None:
    assert await inbound.position() is None
    await inbound.replace(Snapshot(position(5), BASE))

    added = document(key("Network", "B"), {"subnets": ["10.1.0.0/24"]}, 6)
    refused = await inbound.apply(Changes(5, position(6), (Put(added),)))

    assert refused == []
    assert await inbound.position() == position(6)
    assert await names(store) == {"s1", "A", "B"}
    async with store.snapshot() as snapshot:
        stored = await snapshot.get(key("Network", "B"))
        assert stored is not None
        assert stored.origin == "federation"


async def test_a_step_taken_twice_changes_nothing(store: Store, inbound: Inbound) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    before = await store.position()

    await inbound.replace(Snapshot(position(5), BASE))

    assert await store.position() == before


async def test_an_object_with_an_unknown_field_is_refused_and_its_last_good_version_stays(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    newer = document(NETWORK, {"subnets": ["10.0.0.0/24"], "mtu": 9000}, 6)
    other = document(key("Network", "B"), {}, 6)

    refused = await inbound.apply(Changes(5, position(6), (Put(newer), Put(other))))

    assert [(each.key, each.code) for each in refused] == [(NETWORK, "unsupported_field")]
    assert await names(store) == {"s1", "A", "B"}
    async with store.snapshot() as snapshot:
        stored = await snapshot.get(NETWORK)
        assert stored is not None
        assert stored.spec == {"subnets": ["10.0.0.0/24"]}


async def test_what_a_snapshot_lacks_is_held_and_all_else_applies(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), (*BASE, policy("block", 1))))

    block = policy("emergency", 1)
    await inbound.replace(Snapshot(position(2, "i2"), (BASE[0], block)))

    assert await held(inbound) == {"A": "missing", "block": "missing"}
    assert await names(store) == {"s1", "A", "block", "emergency"}
    assert await inbound.position() == position(2, "i2")


async def test_what_a_snapshot_buries_is_removed(store: Store, inbound: Inbound) -> None:
    await inbound.replace(Snapshot(position(5), BASE))

    tombstone = Tombstone(NETWORK, Removal.DELETED, 7)
    await inbound.replace(Snapshot(position(8), BASE[:1], (tombstone,)))

    assert await names(store) == {"s1"}
    assert await held(inbound) == {}


async def test_a_held_object_that_comes_back_is_held_no_longer(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    await inbound.replace(Snapshot(position(6), BASE[:1]))
    assert await held(inbound) == {"A": "missing"}

    await inbound.apply(Changes(6, position(7), (Put(BASE[1]),)))

    assert await held(inbound) == {}
    assert await names(store) == {"s1", "A"}


async def test_a_removal_that_is_said_applies_at_once(store: Store, inbound: Inbound) -> None:
    await inbound.replace(Snapshot(position(5), (*BASE, policy("small", 9))))

    gone = Remove(key("SecurityPolicy", "small"), Removal.DELETED)
    await inbound.apply(Changes(5, position(6), (gone,)))

    assert await names(store) == {"s1", "A"}


async def test_a_removal_of_many_rules_waits_for_a_person(
    store: Store, inbound: Inbound, clock: VirtualClock
) -> None:
    await inbound.replace(Snapshot(position(5), (*BASE, policy("large", 10), policy("other", 5))))
    large = key("SecurityPolicy", "large")

    await inbound.apply(Changes(5, position(6), (Remove(large, Removal.DESELECTED),)))

    assert await held(inbound) == {"large": "large_removal"}
    assert "large" in await names(store)

    audit = AuditRecord(clock.now(), "r1", "user:ops", "held.drop", "ok", reason="meant so")
    assert await inbound.drop_held([large], audit=audit) == 1
    assert await held(inbound) == {}
    assert "large" not in await names(store)
    (_, record), *_ = await store.audit_records(limit=1)
    assert record.reason == "meant so"


async def test_only_what_is_held_can_be_dropped(
    store: Store, inbound: Inbound, clock: VirtualClock
) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    audit = AuditRecord(clock.now(), "r1", "user:ops", "held.drop", "ok")

    with pytest.raises(NotFound, match="is not held"):
        await inbound.drop_held([NETWORK], audit=audit)

    assert "A" in await names(store)


async def test_the_sites_own_objects_are_none_of_upstreams_business(
    store: Store, inbound: Inbound
) -> None:
    own = Key("Network", "common", "site", "A")

    async def write(transaction: Transaction) -> None:
        await transaction.put(Draft(own, {"subnets": ["10.9.0.0/24"]}, origin="local"))

    await store.transact(write)
    await inbound.replace(Snapshot(position(5), BASE))

    foreign = document(own, {"subnets": ["10.8.0.0/24"]})
    refused = await inbound.apply(Changes(5, position(6), (Put(foreign),)))

    assert [each.code for each in refused] == ["invalid_scope"]
    assert await held(inbound) == {}
    async with store.snapshot() as snapshot:
        stored = await snapshot.get(own)
        assert stored is not None
        assert stored.spec == {"subnets": ["10.9.0.0/24"]}
