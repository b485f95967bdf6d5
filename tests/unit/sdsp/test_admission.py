"""What a site refuses of its own people's writes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from sdsp.admission import SiteAdmission
from sdsp.overrides import EXPIRED
from shared.auth.identity import Caller
from shared.objects.admission import Proposal, Review
from tests.fakes.clock import VirtualClock
from tests.fakes.store import MemoryStore
from tests.unit.sdsp.world import (
    NOW,
    SITE,
    batch,
    caller,
    delete,
    global_,
    key,
    policy,
    put,
    rule,
    to_network,
    write,
)

EDITOR = caller("write:Network")
BOSS = caller("override", "allot", "admit")
MANDATORY = policy(rule(to=to_network("A")), enforcement="mandatory")
NET = {"subnets": ["10.0.0.0/24"]}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await write(
        store,
        {
            SITE: {},
            global_("Tenant", "shop"): {},
            global_("Network", "A"): {},
            global_("Network", "B"): {"subnets": ["10.9.0.0/24"]},
            global_("SecurityPolicy", "p"): MANDATORY,
            global_("SecurityPolicy", "q"): policy(rule(to=to_network("B"))),
        },
    )
    return store


@pytest.fixture
def admission(clock: VirtualClock) -> Iterator[SiteAdmission]:
    with ThreadPoolExecutor(1) as executor:
        yield SiteAdmission(site="s1", now=clock.now, executor=executor)


@pytest.fixture
def review(admission: SiteAdmission, store: MemoryStore) -> Any:
    async def work(by: Caller, *proposals: Proposal, force: bool = False) -> Review:
        async with store.snapshot() as snapshot:
            return await admission.review(batch(by, *proposals, force=force), snapshot)

    return work


def codes(review: Review) -> list[tuple[str, str]]:
    return [(each.error.code, each.error.path) for each in review.faults]


async def test_a_local_policy_with_a_mandatory_ones_name_is_refused(review: Any) -> None:
    found = await review(BOSS, put(key("SecurityPolicy", "p"), policy(rule())))
    assert codes(found) == [("mandatory_policy_exists", "metadata.name")]


async def test_faults_are_told_at_the_document_that_has_them(review: Any) -> None:
    good = put(key("Network", "A"), NET)
    bad = put(key("SecurityPolicy", "mine"), policy(rule(to=to_network("Nope"))))
    found = await review(BOSS, good, bad)
    assert [(each.index, each.error.path) for each in found.faults] == [
        (1, "spec.rules[0].to[0].network")
    ]


async def test_a_site_refuses_only_the_faults_that_a_write_adds(
    review: Any, store: MemoryStore
) -> None:
    await write(store, {key("SecurityPolicy", "old"): policy(rule(to=to_network("Nope")))})
    assert codes(await review(BOSS, put(key("Network", "A"), NET))) == []


@pytest.mark.parametrize("kind", ["NodeGroup", "Node"])
async def test_a_group_or_node_in_use_stays(kind: str, review: Any, store: MemoryStore) -> None:
    await write(
        store,
        {
            key("NodeGroup", "g1"): {},
            key("Node", "g1"): {"groups": ["g1"]},
            key("Workload", "w"): {"node": "g1"},
        },
    )
    found = await review(BOSS, delete(key(kind, "g1")))
    assert codes(found) == [("in_use", "metadata.name")]


async def test_a_setting_in_an_unknown_group_or_with_an_fsms_field_is_refused(review: Any) -> None:
    spec = {"schedule": "0 3 * * *", "destination": "b", "retain": 3}
    elsewhere = put(key("BackupPolicy", "b", scope="group/nope"), spec)
    assert ("unknown_group", "metadata.scope") in codes(await review(BOSS, elsewhere))
    theirs = put(key("BackupPolicy", "b"), {**spec, "enforcement": "mandatory"})
    assert ("fsm_only", "spec.enforcement") in codes(await review(BOSS, theirs))


async def test_no_object_is_written_in_a_tenant_that_is_not_there(review: Any) -> None:
    account = put(key("ServiceAccount", "s", tenant="nope"), {})
    found = await review(BOSS, account)
    assert codes(found) == [("unknown_tenant", "metadata.tenant")]


async def test_a_name_that_an_installed_rule_uses_does_not_go(
    review: Any, store: MemoryStore
) -> None:
    await write(store, {key("Network", "A"): NET})
    gone = delete(key("Network", "A"))
    other = put(key("Network", "C"), {})

    found = await review(EDITOR, other, gone)
    assert [(each.index, each.error.code) for each in found.faults] == [(1, "would_unresolve")]
    assert codes(await review(EDITOR, gone, force=True)) == [("would_unresolve", "")]
    assert codes(await review(BOSS, gone)) == [("would_unresolve", "")]
    assert codes(await review(BOSS, gone, force=True)) == []


async def test_hiding_what_a_mandatory_rule_uses_needs_the_permission_override(
    review: Any, store: MemoryStore
) -> None:
    mandatory = policy(rule(to=to_network("B")), enforcement="mandatory")
    await write(store, {global_("SecurityPolicy", "p"): mandatory})
    hides = put(key("Network", "B"), {"subnets": ["10.8.0.0/24"]})
    assert codes(await review(EDITOR, hides)) == [("forbidden", "spec")]
    assert codes(await review(BOSS, hides)) == []


@pytest.mark.parametrize(
    ("before", "after", "needs"),
    [
        pytest.param(None, "admitted", True, id="declared as admitted"),
        pytest.param(None, "pending", False, id="declared, to be admitted later"),
        pytest.param("pending", "admitted", True, id="admitted"),
        pytest.param("admitted", "refused", True, id="put out"),
        pytest.param("admitted", None, True, id="deleted"),
        pytest.param("refused", None, True, id="deleted, so that it might join again"),
        pytest.param("pending", None, False, id="deleted before it was admitted"),
        pytest.param("admitted", "admitted", False, id="changed otherwise"),
    ],
)
async def test_letting_a_node_in_or_out_needs_the_permission_admit(
    before: str | None, after: str | None, needs: bool, review: Any, store: MemoryStore
) -> None:
    node = key("Node", "n1")
    if before:
        await write(store, {node: {"admission": before}})
    stored = store.objects.get(node)
    change = put(node, {"admission": after}, before=stored) if after else delete(node, stored)
    assert codes(await review(caller(), change)) == (
        [("forbidden", "spec.admission")] if needs else []
    )
    assert codes(await review(caller("admit"), change)) == []


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("Network", {"subnets": ["10.1.0.0/24"]}, "spec.subnets"),
        ("Workload", {"addresses": ["10.1.0.1"]}, "spec.addresses"),
    ],
)
async def test_giving_a_tenant_addresses_needs_the_permission_allot(
    kind: str, spec: dict[str, Any], path: str, review: Any
) -> None:
    theirs = put(key(kind, "x", tenant="shop"), spec)
    assert codes(await review(caller(), theirs)) == [("forbidden", path)]
    assert codes(await review(caller("allot"), theirs)) == []
    assert codes(await review(caller(), put(key(kind, "x", tenant="shop"), {}))) == []
    assert codes(await review(caller(), put(key(kind, "x"), spec))) == []


def override(
    target: str = "q",
    kind: str = "SecurityPolicy",
    *,
    tenant: str = "common",
    spec: Any = None,
    **more: Any,
) -> dict[str, Any]:
    where = {"kind": kind, "name": target, "tenant": tenant}
    return {"target": where, "reason": "why", "spec": spec or policy(rule("other")), **more}


async def test_an_exception_needs_the_permission_where_its_target_is(review: Any) -> None:
    of_a_tenant = caller("override", tenants={"shop"})
    foreign = put(key("Override", "o", tenant="shop"), override())
    assert codes(await review(of_a_tenant, foreign)) == [("forbidden", "spec.target")]
    assert codes(await review(caller(), put(key("Override", "o"), override()))) != []
    assert codes(await review(caller("override"), foreign)) == []


async def test_an_exception_that_gives_a_tenant_addresses_needs_allot_too(
    review: Any, store: MemoryStore
) -> None:
    await write(store, {global_("Network", "T", tenant="shop"): {"subnets": ["10.7.0.0/24"]}})
    spec = override("T", "Network", tenant="shop", spec={"subnets": ["10.6.0.0/24"]})
    wider = put(key("Override", "o"), spec)
    assert codes(await review(caller("override"), wider)) == [("forbidden", "spec.spec.subnets")]
    assert codes(await review(BOSS, wider)) == []


async def test_an_exception_records_what_it_is_based_on(review: Any, store: MemoryStore) -> None:
    own_word = override(basedOn={"revision": 1, "spec": {}})
    found = await review(BOSS, put(key("Override", "o"), own_word))
    base = found.drafts[0].spec["basedOn"]
    assert base == {
        "revision": store.objects[global_("SecurityPolicy", "q")].revision,
        "spec": policy(rule(to=to_network("B"))),
    }


async def test_an_exception_written_again_unchanged_keeps_its_base(
    review: Any, store: MemoryStore
) -> None:
    mine = key("Override", "o")
    first = (await review(BOSS, put(mine, override()))).drafts[0]
    await write(store, {mine: first.spec})
    await write(store, {global_("SecurityPolicy", "q"): policy(rule("newer"))})
    stored = store.objects[mine]

    same = await review(BOSS, put(mine, override(reason="better said"), before=stored))
    assert same.drafts[0].spec["basedOn"] == first.spec["basedOn"]

    changed = await review(BOSS, put(mine, override(spec=policy(rule("third"))), before=stored))
    assert changed.drafts[0].spec["basedOn"]["spec"] == policy(rule("newer"))


async def test_what_the_system_noted_of_an_expiry_is_not_a_persons_to_write(
    review: Any,
) -> None:
    mine = put(key("Override", "o"), override(), annotations={EXPIRED: "x", "why": "y"})
    found = await review(BOSS, mine)
    assert found.drafts[0].annotations == {"why": "y"}


async def test_a_judgement_is_made_anew_when_an_override_has_expired(
    review: Any, store: MemoryStore, clock: VirtualClock
) -> None:
    ends = (NOW + timedelta(hours=1)).isoformat()
    names_b = override("B", "Network", spec={"subnets": []}, expiresAt=ends)
    await write(store, {key("Override", "o"): names_b})
    hides = put(key("Network", "Z"), {})
    await review(BOSS, hides)

    clock.advance(3601)
    # The override made B mean nothing; now q's rule is installed, and uses B.
    deleted = put(
        key("Override", "o2"),
        override("B", "Network", spec={"subnets": []}),
    )
    found = await review(BOSS, delete(key("Override", "o")), deleted)
    assert codes(found) == [("would_unresolve", "")]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"rules": policy(rule("other"))["rules"]}, id="without priority"),
        pytest.param({}, id="empty"),
        pytest.param({"priority": "high"}, id="no number"),
        pytest.param({"priority": None, "rules": None}, id="null"),
        pytest.param({"rules": [{}]}, id="empty rule"),
        pytest.param({"rules": [None]}, id="null rule"),
        pytest.param({"rules": 7}, id="rules no list"),
    ],
)
async def test_whatever_an_exception_says_it_is_judged(review: Any, content: Any) -> None:
    """A document that a policy couldn't be is a fault of the writer, never of the server."""
    found = await review(BOSS, put(key("Override", "o"), override(spec=content)))
    assert found.faults or found.drafts
