"""Taking over what the FSM says, in a real store."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from sdsp.upstream.apply import Inbound, claim, refused_in
from shared.enrolment.revocations import Revocations, revoked_in
from shared.errors import Conflict, NotFound, StorageFull
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


async def test_what_is_held_is_seen_and_dropped_by_the_labels_that_it_had(
    store: Store, inbound: Inbound, clock: VirtualClock
) -> None:
    first, other = (
        document(key("SecurityPolicy", name), {"rules": policy(name, 10).spec["rules"]}, **labels)
        for name, labels in (("first", {"app": "shop"}), ("other", {"app": "till"}))
    )
    await inbound.replace(Snapshot(position(5), (*BASE, first, other)))
    await inbound.apply(
        Changes(5, position(6), tuple(Remove(each.key, Removal.DELETED) for each in (first, other)))
    )
    assert set(await held(inbound)) == {"first", "other"}

    def sees(_key: Key, labels: Mapping[str, str] | None) -> bool:
        return labels is not None and labels.get("app") == "shop"

    assert [each["name"] for each in await inbound.held(sees)] == ["first"]
    audit = AuditRecord(clock.now(), "r1", "user:kim", "held.drop", "ok")
    with pytest.raises(NotFound) as refused:
        await inbound.drop_held([first.key, other.key], audit=audit, sees=sees)
    with pytest.raises(NotFound) as absent:
        await inbound.drop_held([NETWORK], audit=audit, sees=sees)
    assert str(refused.value).replace(str(other.key), str(NETWORK)) == str(absent.value)
    assert set(await held(inbound)) == {"first", "other"}, "all or none"
    assert await inbound.drop_held([first.key], audit=audit, sees=sees) == 1
    assert set(await held(inbound)) == {"other"}


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


async def refused(inbound: Inbound, store: Store) -> dict[str, str]:
    async with store.snapshot() as snapshot:
        return {each["name"]: each["code"] for each in await refused_in(snapshot)}


async def test_a_refusal_is_forgotten_when_its_object_goes_or_comes_back_good(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    strange = document(key("Network", "strange"), {"mtu": 9000}, 6)
    bad = document(NETWORK, {"mtu": 9000}, 6)
    await inbound.apply(Changes(5, position(6), (Put(strange), Put(bad))))
    assert await refused(inbound, store) == {
        "strange": "unsupported_field",
        "A": "unsupported_field",
    }

    gone = Remove(strange.key, Removal.DELETED)
    await inbound.apply(Changes(6, position(7), (gone, Put(BASE[1]))))
    assert await refused(inbound, store) == {}

    await inbound.apply(Changes(7, position(8), (Put(strange),)))
    await inbound.replace(Snapshot(position(9), BASE))
    assert await refused(inbound, store) == {}


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        pytest.param({"labels": "no"}, "invalid", id="labels that are none"),
        pytest.param({"labels": {"a": 5}}, "invalid", id="a label that is none"),
        pytest.param({"name": "a\x00b"}, "invalid", id="a name that no store takes"),
        pytest.param({"annotations": {"a": 1}}, "invalid", id="annotations that are none"),
    ],
)
async def test_an_object_with_broken_metadata_is_refused_and_stops_nothing(
    broken: dict[str, Any], code: str, store: Store, inbound: Inbound
) -> None:
    good = document(key("Network", "B"), {}, 6)
    bad = document(key("Network", str(broken.get("name", "C"))), {}, 6)
    metadata = {**bad.document["metadata"], **broken}
    bad = FeedObject(bad.key, 6, {**bad.document, "metadata": metadata})
    await inbound.replace(Snapshot(position(5), BASE))
    found = await inbound.apply(Changes(5, position(6), (Put(bad), Put(good))))
    assert [each.code for each in found] == [code]
    assert await names(store) == {"s1", "A", "B"}


@pytest.mark.parametrize(
    ("kind", "scope", "code"),
    [
        ("Telepathy", "federation", "unsupported_kind"),
        ("Workload", "federation", "unsupported_kind"),
        ("Credential", "federation", "unsupported_kind"),
        ("Site", "region/west", "invalid_scope"),
    ],
)
async def test_what_no_fsm_may_send_is_refused(
    kind: str, scope: str, code: str, inbound: Inbound
) -> None:
    strange = document(key(kind, "x", scope), {}, 6)
    found = await inbound.replace(Snapshot(position(5), (*BASE, strange)))
    assert [each.code for each in found] == [code]


async def test_a_removal_never_takes_the_sites_own_object(store: Store, inbound: Inbound) -> None:
    own = Key("Network", "common", "site", "mine")

    async def write(transaction: Transaction) -> None:
        await transaction.put(Draft(own, {}, origin="local"))

    await store.transact(write)
    await inbound.replace(Snapshot(position(5), BASE))
    await inbound.apply(Changes(5, position(6), (Remove(own, Removal.DELETED),)))
    assert "mine" in await names(store)


def users_of(network: str, rules: int) -> FeedObject:
    return document(
        key("SecurityPolicy", "users"),
        {
            "rules": [
                {
                    "name": f"r{number}",
                    "from": "any",
                    "to": [{"network": network}],
                    "action": "deny",
                }
                for number in range(rules)
            ]
        },
    )


async def test_a_network_that_many_rules_use_waits_for_a_person_too(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), (*BASE, users_of("A", 12))))
    await inbound.apply(Changes(5, position(6), (Remove(NETWORK, Removal.DELETED),)))
    assert await held(inbound) == {"A": "large_removal"}


async def test_rules_count_where_only_a_node_sees_them(store: Store, inbound: Inbound) -> None:
    local = [
        Draft(Key("NodeGroup", "common", "site", "g"), {}, origin="local"),
        Draft(Key("Node", "common", "site", "n"), {"groups": ["g"]}, origin="local"),
        Draft(
            Key("Network", "common", "group/g", "B"), {"subnets": ["10.5.0.0/24"]}, origin="local"
        ),
    ]

    async def write(transaction: Transaction) -> None:
        for each in local:
            await transaction.put(each)

    await store.transact(write)
    declared = document(key("Network", "B"), {})
    await inbound.replace(Snapshot(position(5), (*BASE, declared, users_of("B", 12))))
    gone = Remove(key("SecurityPolicy", "users"), Removal.DELETED)
    await inbound.apply(Changes(5, position(6), (gone,)))
    assert await held(inbound) == {"users": "large_removal"}


async def test_a_name_that_moves_within_one_step_takes_nothing(
    store: Store, inbound: Inbound
) -> None:
    site = document(SITE, {"region": "west"})
    region = document(key("Region", "west"), {})
    await inbound.replace(Snapshot(position(5), (site, region, BASE[1], users_of("A", 12))))
    moved = document(key("Network", "A", "region/west"), {"subnets": ["10.0.0.0/24"]}, 6)
    step = Changes(5, position(6), (Remove(NETWORK, Removal.DELETED), Put(moved)))
    await inbound.apply(step)
    assert await held(inbound) == {}


async def test_listing_again_what_is_there_already_is_no_news(
    store: Store, inbound: Inbound
) -> None:
    await inbound.replace(Snapshot(position(5), BASE))
    before = await store.audit_records()
    await inbound.replace(Snapshot(position(6, "i2"), BASE))
    assert await store.audit_records() == before


async def test_a_store_is_one_sites(store: Store) -> None:
    await claim(store, "s1")
    await claim(store, "s1")
    with pytest.raises(Conflict) as caught:
        await claim(store, "s2")
    assert caught.value.code == "other_site"


REVOKED = {
    "identity": "spiffe://hanse.example/fsm",
    "notAfter": "2026-06-01T00:00:00+00:00",
    "at": "2026-01-01T00:00:00+00:00",
    "reason": "stolen",
}


class Unwilling:
    """A store that takes nothing: its disk is full."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(self, *_: Any, **__: Any) -> Any:
        raise StorageFull("no space is left")


async def test_on_rejoin_revocations_count_before_anything_else_of_the_step(
    store: Store, clock: VirtualClock
) -> None:
    revocations = Revocations()
    seen: list[Position | None] = []
    with ThreadPoolExecutor(1) as executor:
        inbound = Inbound(
            store, site="s1", clock=clock, executor=executor, on_revoked=revocations.add
        )
        await inbound.replace(Snapshot(position(5), BASE))
        full = Inbound(
            cast("Store", Unwilling(store)),
            site="s1",
            clock=clock,
            executor=executor,
            on_revoked=revocations.add,
        )
        listing = (*BASE, document(key("Revocation", "c0ffee"), REVOKED, 9))
        with pytest.raises(StorageFull):
            await full.replace(Snapshot(position(9), listing))
        assert revocations("c0ffee"), "even if the rest of the step can't be written yet"
        seen.append(await inbound.position())
        assert seen == [position(5)]

        await inbound.replace(Snapshot(position(9), listing))
        later = document(key("Revocation", "bad"), REVOKED, 10)
        await inbound.apply(Changes(9, position(10), (Put(later),)))
    assert revocations("bad")
    fresh = Revocations()
    async with store.snapshot() as snapshot:
        await fresh.read(snapshot)
        stored = await snapshot.get(key("Revocation", "bad"))
        assert stored is not None
        assert snapshot.position.revision == stored.revision, "with its position, in one revision"
    assert set(fresh.all) == {"c0ffee", "bad"}


async def test_a_revocation_that_the_fsm_drops_goes_and_one_that_it_lost_is_held(
    store: Store, inbound: Inbound
) -> None:
    revocation = document(key("Revocation", "c0ffee"), REVOKED)
    await inbound.replace(Snapshot(position(5), (*BASE, revocation)))
    await inbound.replace(Snapshot(position(6, "restored"), BASE))
    async with store.snapshot() as snapshot:
        assert set(await revoked_in(snapshot)) == {"c0ffee"}, "an FSM restored from before"
    gone = Remove(revocation.key, Removal.DELETED)
    await inbound.apply(Changes(6, position(7, "restored"), (gone,)))
    async with store.snapshot() as snapshot:
        assert await revoked_in(snapshot) == {}
