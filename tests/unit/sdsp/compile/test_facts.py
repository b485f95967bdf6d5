"""What a compiled site says of each policy."""

import pytest

from sdsp.compile.facts import PolicyFacts, policy_facts
from sdsp.compile.model import SiteModel
from shared.ids import Key, Revision
from shared.policy.compile import SitePlanner
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import NOW, SITE, global_, key, policy, rule, to_network, write

P = global_("SecurityPolicy", "p")


async def facts(objects: dict[Key, dict[str, object]]) -> dict[Key, PolicyFacts]:
    store = MemoryStore()
    await write(store, {SITE: {}, global_("Network", "A"): {}, **objects})
    model = SiteModel("s1")
    async with store.snapshot() as snapshot:
        model.load(await snapshot.list(), Revision(1))
    return {each.key: each for each in policy_facts(SitePlanner(model.inputs(NOW)))}


@pytest.mark.parametrize(("action", "fails"), [("deny", True), ("reject", True), ("allow", False)])
async def test_an_uninstalled_deny_fails_open(action: str, fails: bool) -> None:
    found = await facts({P: policy(rule(to=to_network("A"), action=action))})
    (reference,) = found[P].unresolved
    assert (reference.reference, reference.fails_open) == ("network:A", fails)


async def test_a_deny_that_is_installed_without_a_name_does_not_fail_open() -> None:
    sides = [{"network": "A"}, {"network": "B"}]
    found = await facts(
        {P: policy(rule(to=sides)), global_("Network", "B"): {"subnets": ["10.0.0.0/24"]}}
    )
    assert [each.fails_open for each in found[P].unresolved] == [False]


async def test_a_deny_that_selects_nothing_has_nothing_unresolved() -> None:
    nobody = [{"workloads": {"matchLabels": {"no": "one"}}}]
    found = await facts({P: policy(rule(to=nobody))})
    assert found[P].unresolved == ()


async def test_what_every_admitted_node_resolves_fails_open_nowhere() -> None:
    objects = {
        P: policy(rule(to=to_network("A"))),
        key("NodeGroup", "g"): {},
        key("Node", "n1"): {"groups": ["g"]},
        key("Network", "A", scope="group/g"): {"subnets": ["10.0.0.0/24"]},
    }
    found = await facts(objects)
    assert [each.fails_open for each in found[P].unresolved] == [False]

    waiting = {"groups": ["g"], "admission": "pending"}
    found = await facts({**objects, key("Node", "n1"): waiting})
    assert [each.fails_open for each in found[P].unresolved] == [True]


async def test_a_policy_that_is_not_in_force_says_why() -> None:
    found = await facts(
        {
            P: policy(rule(), enforcement="mandatory"),
            key("SecurityPolicy", "p"): policy(rule()),
            global_("SecurityPolicy", "q"): policy(rule()),
            key("SecurityPolicy", "q"): policy(rule()),
            global_("SecurityPolicy", "r"): policy(rule(), stage="staged"),
        }
    )
    assert {(of.name, of.scope): each.idle for of, each in found.items()} == {
        ("p", "federation"): None,
        ("p", "site"): "suspended",
        ("q", "federation"): "replaced",
        ("q", "site"): None,
        ("r", "federation"): "staged",
    }
