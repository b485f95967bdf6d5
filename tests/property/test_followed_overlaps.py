"""Overlapping networks that follow a loaded site are after any edit those of a fresh plan."""

from random import Random
from typing import Any

import pytest

from shared.ids import Key
from shared.policy.compile import plan
from shared.policy.conflicts.followed import RulesInForce
from shared.policy.inputs import Document, SiteInputs
from shared.policy.loaded.peers import Meaning
from shared.policy.loaded.sides import Side
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import Source, sources_of
from shared.policy.overlapping import FollowedOverlaps
from shared.policy.overlaps import Overlap, Overlaps, used_networks
from tests.property.profile import rolls
from tests.unit.shared.policy.building import NOW, network, override, policy, rule, world

STEPS = 12
WITHIN = 40
"""Worlds within which each bug must show."""
NAMES = [f"N{number}" for number in range(6)]


def drawn_network(dice: Random) -> Document:
    first = dice.randrange(6)
    subnets = [f"10.0.{first}.0/24", f"10.0.{first + dice.choice([0, 1])}.0/25"]
    more: dict[str, Any] = {"vlan": dice.randint(1, 3)} if dice.random() < 0.4 else {}
    labels = {"tier": dice.choice("ab")}
    return network(
        dice.choice(NAMES), *subnets[: dice.randint(1, 2)], scope="site", labels=labels, **more
    )


def drawn_policy(dice: Random) -> Document:
    def peers() -> Any:
        if dice.random() < 0.3:
            return [{"networks": {"matchLabels": {"tier": dice.choice("ab")}}}]
        return [{"network": each} for each in dice.sample(NAMES, dice.randint(1, 2))]

    rules = [rule(f"r{number}", from_=peers(), to=peers()) for number in range(2)]
    return policy(dice.choice("pq"), *rules, scope="site")


def drawn(dice: Random) -> Document:
    """Return a document: mostly of a network, now and then an exception to a declared one."""
    draw = dice.random()
    if draw < 0.6:
        return drawn_network(dice)
    if draw < 0.7:
        spec: dict[str, Any] = {"subnets": [f"10.0.{dice.randrange(6)}.0/24"]}
        return override("o", "Network", "N5", {**spec, "vlan": dice.randint(1, 3)})
    return drawn_policy(dice)


def follow(seed: int) -> list[Overlap]:
    """Edit a site, and hold what is followed against a fresh plan after each edit."""
    dice = Random(seed)
    inputs = world([network("N5", "10.0.9.0/24")], [drawn_policy(dice), drawn_network(dice)])
    documents: dict[Key, Document] = {each.key: each for each in inputs}
    site = LoadedSite("s1", sources_of(inputs), now=NOW, own_view=True)
    looking, followed = RulesInForce(), FollowedOverlaps()
    met = []
    for _ in range(STEPS):
        found = drawn(dice)
        if found.key in documents and dice.random() < 0.2:
            del documents[found.key]
            site.change([], [found.key])
        else:
            documents[found.key] = found
            site.change([Source.of(found)])
        in_force = looking.look(site)
        followed.update(in_force.rules, in_force.meanings)
        fresh = [*Overlaps(used_networks(plan(_inputs(documents)))).findings]
        assert [*followed.overlaps.findings] == fresh
        met += fresh
    return met


def _inputs(documents: dict[Key, Document]) -> SiteInputs:
    given = [each for each in documents.values() if each.key.kind != "Site"]
    federation = [each for each in given if each.key.scope == "federation"]
    return world(federation, [each for each in given if each.key.scope != "federation"])


def test_overlaps_follow_networks_rules_and_labels() -> None:
    met = [each for seed in rolls(60) for each in follow(seed)]
    assert {each.part for each in met} == {"same", "inside", "around", "partly", "nothing"}
    assert {each.vlan for each in met} == {None, 1, 2, 3}


BUGS: dict[str, tuple[Any, str, Any]] = {
    "sides know what they took in at first": (Side, "forget_names", lambda _: None),
    "what networks mean stays": (Meaning, "says", lambda *_: True),
    "nothing is used no more": (
        Overlaps,
        "change",
        lambda self, changed, own=Overlaps.change: own(
            self, {name: each for name, each in changed.items() if each is not None}
        ),
    ),
}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_following_is_noticed(
    bug: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*bug)
    with pytest.raises(AssertionError):
        follow_worlds()


def follow_worlds() -> None:
    for seed in range(WITHIN):
        follow(seed)
