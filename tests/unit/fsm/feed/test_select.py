import random

import pytest

from fsm.feed.item import Item
from fsm.feed.select import (
    Selected,
    World,
    change_of,
    difference,
    select,
    view_of,
)
from shared.feed.wire import Removal
from shared.ids import COMMON, FEDERATION, Key
from shared.store.contract import Draft
from tests.fakes.store import MemoryStore
from tests.unit.fsm.feed.federation import (
    delete,
    key,
    network,
    policy,
    put,
    region,
    site,
    subscription,
    world_of,
)

EAST, WEST = "region/east", "region/west"


async def federation(*more: object) -> World:
    store = MemoryStore()
    await put(
        store,
        region("us"),
        region("west", "us"),
        region("east", "us"),
        site("sfo", "west", env="prod"),
        site("nyc", "east", env="prod"),
        *more,
    )
    return await world_of(store)


def seen(world: World, name: str = "sfo", kind: str | None = None) -> set[str]:
    view = view_of(world, name)
    assert view is not None
    items = select(world, view).items
    return {each.name for each in items if kind is None or each.kind == kind}


async def test_a_site_sees_itself_and_the_regions_around_it_and_no_others() -> None:
    world = await federation()
    assert seen(world) == {"sfo", "west", "us"}


async def test_a_policy_that_does_not_select_a_site_never_reaches_it() -> None:
    world = await federation(
        policy("for-all"),
        policy("for-prod", sites={"env": "prod"}, mandatory=True),
        policy("for-test", sites={"env": "test"}, mandatory=True),
        policy("of-the-east", scope=EAST, mandatory=True),
        policy("of-the-west", scope=WEST),
    )
    assert seen(world, kind="SecurityPolicy") == {"for-all", "for-prod", "of-the-west"}


@pytest.mark.parametrize(
    "kind", ["User", "Credential", "JoinToken", "Subscription", "RoleBinding", "AdmissionRule"]
)
async def test_what_is_the_fsm_s_own_reaches_no_site(kind: str) -> None:
    store = MemoryStore()
    await put(store, site("sfo"))
    await put(store, Draft(key(kind, "secret"), {}))
    assert seen(await world_of(store)) == {"sfo"}


REVOKED = {
    "identity": "spiffe://fra.hanse.example/sdsp",
    "notAfter": "2026-06-01T00:00:00+00:00",
    "at": "2026-01-01T00:00:00+00:00",
    "reason": "stolen",
}


async def test_revocations_reach_every_site_whatever_it_subscribes_to() -> None:
    narrow = subscription("sfo", kinds=["Service"], tenants=["acme"])
    world = await federation(Draft(key("Revocation", "c0ffee"), REVOKED), narrow)
    for name in ("sfo", "nyc"):
        assert seen(world, name, kind="Revocation") == {"c0ffee"}


async def test_a_site_of_an_earlier_release_is_sent_no_revocation_that_it_could_not_take() -> None:
    old = subscription("sfo", accepts={"Site": ["region"], "Region": ["parent"]})
    world = await federation(Draft(key("Revocation", "c0ffee"), REVOKED), old)
    assert seen(world, kind="Revocation") == set()
    view = view_of(world, "sfo")
    assert view is not None
    withheld = select(world, view).withheld
    assert {each.kind for each in withheld} == {"Revocation"}, "and the FSM says so"


async def test_only_roles_that_flow_down_reach_a_site() -> None:
    world = await federation(
        Draft(key("Role", "here"), {}), Draft(key("Role", "below"), {"flowsDown": True})
    )
    assert seen(world, kind="Role") == {"below"}


async def test_only_bindings_that_flow_down_reach_a_site() -> None:
    world = await federation(
        Draft(key("RoleBinding", "here"), {}),
        Draft(key("RoleBinding", "below"), {"flowsDown": True}),
    )
    assert seen(world, kind="RoleBinding") == {"below"}


async def test_settings_reach_the_sites_that_they_are_meant_for_whatever_is_subscribed() -> None:
    world = await federation(
        Draft(key("BackupPolicy", "all"), {"schedule": "0 0 * * *"}),
        Draft(
            key("BackupPolicy", "test"),
            {"schedule": "0 0 * * *", "sites": {"matchLabels": {"env": "test"}}},
        ),
        subscription("sfo", kinds=["Network"]),
    )
    assert seen(world, kind="BackupPolicy") == {"all"}


async def test_without_a_subscription_a_site_gets_all_names_on_its_chain() -> None:
    world = await federation(network("AppX"), network("West", scope=WEST), network("E", scope=EAST))
    assert seen(world, kind="Network") == {"AppX", "West"}


async def test_a_narrowed_subscription_leaves_out_optional_content_only() -> None:
    world = await federation(
        policy("must", mandatory=True, names=("AppX",), service="web"),
        policy("may", names=("Unused",)),
        network("AppX"),
        network("Unused"),
        Draft(key("Service", "web"), {}),
        Draft(key("Service", "ssh"), {}),
        subscription("sfo", selector={"matchLabels": {"wanted": "yes"}}),
    )
    assert seen(world) == {"sfo", "west", "us", "must", "AppX", "web"}


async def test_a_delivered_policy_brings_every_definition_of_its_names() -> None:
    world = await federation(
        policy("must", tenant="shop", mandatory=True),
        network("AppX"),
        network("AppX", tenant="shop", scope=WEST),
        network("AppX", tenant="shop"),
        network("AppX", tenant="bank"),
        network("AppX", scope=EAST),
        subscription("sfo", kinds=["Service"]),
    )
    view = view_of(world, "sfo")
    assert view
    networks = {(k.tenant, k.scope) for k in select(world, view).items if k.kind == "Network"}
    assert networks == {(COMMON, FEDERATION), ("shop", WEST), ("shop", FEDERATION)}


async def test_a_selector_of_networks_brings_every_name_in_its_sight() -> None:
    selecting = policy("must", tenant="shop", mandatory=True)
    selecting.spec["rules"][0]["from"] = [{"networks": {"matchLabels": {"zone": "dmz"}}}]  # type: ignore[index]
    world = await federation(
        selecting,
        network("A"),
        network("B", tenant="shop"),
        network("C", tenant="bank"),
        subscription("sfo", kinds=["Service"]),
    )
    assert seen(world, kind="Network") == {"A", "B"}


async def test_a_name_whose_nearest_definition_is_wanted_comes_whole() -> None:
    world = await federation(
        network("AppX"),
        Draft(key("Network", "AppX", scope=WEST), {}, {"wanted": "yes"}),
        subscription("sfo", selector={"matchLabels": {"wanted": "yes"}}),
    )
    view = view_of(world, "sfo")
    assert view
    scopes = {k.scope for k in select(world, view).items if k.kind == "Network"}
    assert scopes == {FEDERATION, WEST}


async def test_what_a_site_does_not_know_is_withheld() -> None:
    accepts = {"Site": ["region"], "Region": ["parent"], "SecurityPolicy": ["enforcement", "rules"]}
    world = await federation(
        policy("known", mandatory=True),
        policy("unknown", sites={"env": "prod"}, mandatory=True),
        network("AppX"),
        subscription("sfo", accepts=accepts),
    )
    view = view_of(world, "sfo")
    assert view
    selected = select(world, view)
    assert {k.name for k in selected.withheld} == {"unknown", "AppX"}
    assert key("SecurityPolicy", "known") in selected.items


async def test_a_view_changes_with_what_decides_membership_and_with_nothing_else() -> None:
    store = MemoryStore()
    await put(store, region("us"), region("west", "us"), site("sfo", "west", env="prod"))

    async def digest() -> str:
        view = view_of(await world_of(store), "sfo")
        assert view
        return view.digest

    digests = [await digest()]
    await put(store, policy("p"), site("nyc", "west"), region("east"))
    assert await digest() == digests[0]
    for draft in (
        site("sfo", "west", env="test"),
        region("west"),
        subscription("sfo", kinds=["Network"]),
    ):
        await put(store, draft)
        digests.append(await digest())
    assert len(set(digests)) == len(digests)


async def test_a_region_in_a_circle_ends_the_chain() -> None:
    store = MemoryStore()
    await put(store, region("a", "b"), region("b", "a"), site("sfo", "a"))
    view = view_of(await world_of(store), "sfo")
    assert view
    assert view.chain == ("region/a", "region/b", FEDERATION)


async def test_each_removal_says_why() -> None:
    store = MemoryStore()
    await put(store, site("sfo", env="prod"), *(policy(name) for name in "abc"))
    before_world = await world_of(store)
    before = selection(before_world)
    await delete(store, key("SecurityPolicy", "a"))
    await put(store, policy("b", sites={"env": "test"}), subscription("sfo", kinds=["Network"]))

    world = await world_of(store)
    view = view_of(world, "sfo")
    assert view
    delta = difference(before, selection(world), world=world, view=view)
    assert {k.name: reason for k, reason in delta.removals} == {
        "a": Removal.DELETED,
        "b": Removal.DESELECTED,
        "c": Removal.UNSUBSCRIBED,
    }


def selection(world: World) -> Selected:
    view = view_of(world, "sfo")
    assert view is not None
    return select(world, view)


@pytest.mark.parametrize("seed", range(30))
async def test_the_short_way_for_one_change_gives_what_selecting_anew_gives(seed: int) -> None:
    """change_of() looks at the changed object alone; select() and difference() at everything."""
    source = random.Random(seed)
    store = MemoryStore()
    await put(store, region("west"), site("sfo", "west", env="prod"), site("nyc"))
    if seed % 3 == 0:
        await put(store, subscription("sfo", accepts={"SecurityPolicy": ["rules", "enforcement"]}))
    for _ in range(60):
        before = await world_of(store)
        changed = await one_change(store, source, before)
        after = await world_of(store)
        view = view_of(after, "sfo")
        assert view
        was, now = before.get(changed), after.get(changed)
        if was and now and was.version == now.version:
            continue
        short = change_of(view, was, now)
        long = difference(select(before, view), select(after, view), world=after, view=view)
        assert short.removals == long.removals
        assert [put.version for put in short.puts] == [put.version for put in long.puts]


async def one_change(store: MemoryStore, source: random.Random, world: World) -> Key:
    scope = source.choice([FEDERATION, WEST, EAST])
    drafts = [
        policy(
            source.choice("pqr"),
            sites=source.choice([None, {}, {"env": "prod"}, {"env": "test"}]),
            mandatory=source.random() < 0.5,
            scope=scope,
            action=source.choice(["allow", "deny"]),
        ),
        network(source.choice(["AppX", "B"]), scope=scope, vlan=source.randrange(1, 5)),
        Draft(key("Role", "r"), {"flowsDown": source.random() < 0.5}),
    ]
    draft = source.choice(drafts)
    if draft.key in world and source.random() < 0.4:
        await delete(store, draft.key)
    else:
        await put(store, draft)
    return draft.key


async def test_an_object_is_serialised_once_and_without_status() -> None:
    world = await federation(policy("p", scope=WEST))
    item: Item = world[key("SecurityPolicy", "p", scope=WEST)]
    assert item.document is item.document
    assert b'"status"' not in item.document
    assert b'"origin":"region/west"' in item.document


async def test_a_balancer_reaches_the_sites_it_selects_with_what_it_names() -> None:
    spec = {
        "network": "front",
        "ports": [{"service": "https"}],
        "backends": {"workloads": {}},
        "sites": {"matchLabels": {"env": "prod"}},
    }
    other = {**spec, "sites": {"matchLabels": {"env": "test"}}}
    world = await federation(
        network("front"),
        network("beside"),
        Draft(key("Service", "https"), {}),
        Draft(key("LoadBalancer", "shop"), spec),
        Draft(key("LoadBalancer", "not-here"), other),
        subscription("sfo", kinds=["SecurityPolicy"]),
    )
    assert seen(world, kind="LoadBalancer") == {"shop"}
    assert seen(world, kind="Network") == {"front"}, "narrow as its wishes are"
    assert seen(world, kind="Service") == {"https"}
