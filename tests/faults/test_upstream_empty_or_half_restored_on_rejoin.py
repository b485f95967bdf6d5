"""Upstream empty or half-restored on rejoin: nothing enforced is removed on incomplete data.

A snapshot is applied only when it is complete; a store that was restored has a new incarnation, so
everyone lists again; what is missing is held, and large removals wait for a person.

Elsewhere, with real programs: tests/integration/road/test_rejoin.py; a snapshot that breaks off
between two pages in tests/unit/shared/feed/test_follow.py; restored and rolled-back stores amid
other mishaps in tests/simulation.
"""

from pathlib import Path

import pytest

from shared.ids import Key
from tests.simulation.ledger import records_in
from tests.simulation.run import staged
from tests.simulation.world import World, template

SITE = "s1"
POLICY = Key("SecurityPolicy", "common", "federation", "base")


def site(name: str) -> dict[str, object]:
    return document("Site", name, {"defaultAction": "deny"})


def document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def base(rules: int = 3, action: str = "deny") -> dict[str, object]:
    found = [
        {
            "name": f"r{number}",
            "from": "any",
            "to": "any",
            "services": [{"protocol": "tcp", "ports": [1000 + number]}],
            "action": action,
        }
        for number in range(rules)
    ]
    return document("SecurityPolicy", "base", {"enforcement": "mandatory", "rules": found})


async def settled(world: World, *, backup: Path | None = None) -> dict[str, str]:
    """Have a site with policy of the FSM enforced on both of its nodes; return their hashes.

    `backup` is written before there is any policy.
    """
    world.start()
    await world.people["fsm"].write([site(SITE), site("s2")])
    if backup is not None:
        world.fsm.disk.copy(backup)
    await world.people["fsm"].write([base()])
    await world.people[SITE].write(
        [
            document("Node", name, {"admission": "admitted"})
            for name in ("n1", "n2")
        ]
        + [
            document("Workload", f"w-{name}", {"node": name, "addresses": [address]})
            for name, address in (("n1", "10.0.0.1"), ("n2", "10.0.0.2"))
        ]
    )  # fmt: skip
    await world.rest(40)
    found = enforced(world)
    assert all(rules == 3 for rules, _ in found.values()), found
    return {name: hash_ for name, (_, hash_) in found.items()}


def enforced(world: World) -> dict[str, tuple[int, str]]:
    """Return how many rules each node of the site has, and the hash of all."""
    found = {}
    for name in ("n1", "n2"):
        standing = world.planes[f"{SITE}/{name}"].plane._standing
        assert standing is not None
        found[name] = len(standing.rules), standing.hash()
    return found


def held(world: World) -> set[str]:
    return {each["name"] for each in records_in(world.sites[SITE].disk.store, "held").values()}


async def empty_fsm(world: World) -> None:
    """Put an FSM in the old one's place that knows of nothing."""
    world.fsm.kill()
    world.read_ledgers()
    world.fsm.disk.create(template(), world.new_life())
    world.begin_life(world.fsm)
    world.fsm.start()


@pytest.mark.parametrize("seed", [1, 2])
def test_an_empty_upstream_takes_nothing_away(seed: int) -> None:
    async def story(world: World) -> None:
        before = await settled(world)

        await empty_fsm(world)
        await world.rest(90)

        assert {name: hash_ for name, (_, hash_) in enforced(world).items()} == before
        assert not held(world), "there is no snapshot to miss anything in"
        assert world.history.counts["answered unknown_site"] > 2

    staged(seed, story)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_half_restored_upstream_has_what_it_lacks_held_until_it_is_back(seed: int) -> None:
    async def story(world: World) -> None:
        before = await settled(world)

        await empty_fsm(world)
        await world.people["fsm"].write([site(SITE)])
        await world.rest(90)
        assert {name: hash_ for name, (_, hash_) in enforced(world).items()} == before
        assert held(world) == {"base"}

        # What is held delays nothing else.
        urgent = base(1, "reject")
        urgent["metadata"] = {"name": "block"}
        await world.people["fsm"].write([urgent])
        await world.rest(30)
        assert {rules for rules, _ in enforced(world).values()} == {4}

        await world.people["fsm"].write([base()])
        await world.rest(30)
        assert held(world) == set()
        assert {rules for rules, _ in enforced(world).values()} == {4}

    staged(seed, story)


def test_what_is_missing_goes_when_a_person_drops_it() -> None:
    async def story(world: World) -> None:
        await settled(world)
        await empty_fsm(world)
        await world.people["fsm"].write([site(SITE)])
        await world.rest(90)

        people = world.network.client(world.loop.world, "people", SITE)
        key = {"kind": POLICY.kind, "tenant": "common", "scope": POLICY.scope, "name": "base"}
        await people.request("POST", "/api/v1/held/drop", body={"keys": [key]})
        await world.rest(30)

        assert held(world) == set()
        assert {rules for rules, _ in enforced(world).values()} == {0}

    staged(1, story)


@pytest.mark.parametrize("anew", [True, False], ids=["restored", "put back without a word"])
def test_an_upstream_of_the_day_before_takes_nothing_new_away(anew: bool) -> None:
    async def story(world: World) -> None:
        backup = world.fsm.disk.folder / "backup"
        before = await settled(world, backup=backup)

        world.fsm.kill()
        world.read_ledgers()
        world.fsm.disk.restore(backup, world.new_life() if anew else None)
        world.begin_life(world.fsm)
        world.fsm.start()
        await world.rest(90)

        assert {name: hash_ for name, (_, hash_) in enforced(world).items()} == before
        assert held(world) == {"base"}

    staged(3, story)
