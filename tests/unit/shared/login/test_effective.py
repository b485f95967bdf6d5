"""Which AuthenticationPolicy counts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import Key
from shared.login.effective import (
    DEFAULT,
    KIND,
    EffectivePolicy,
    PolicyOfNow,
    federation_policy,
    site_policy,
)
from shared.model.kinds import KINDS
from shared.policy.inputs import Document
from shared.store.contract import Draft, Store
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SITE = "sfo"
CHAIN = ("site", "region/inner", "region/outer", "federation")


def document(kind: str, scope: str, name: str, spec: Any, tenant: str = "common") -> Document:
    key = Key(kind, tenant, scope, name)
    return Document(key, KINDS[kind].spec.model_validate(spec), {"env": "prod"}, revision=1)


def policy(scope: str, name: str = "p", **spec: Any) -> Document:
    tenant = spec.pop("tenant", "common")
    return document(KIND, scope, name, spec, tenant)


WORLD = [
    document("Site", "federation", SITE, {"region": "inner"}),
    document("Region", "federation", "outer", {}),
    document("Region", "federation", "inner", {"parent": "outer"}),
    document("Region", "federation", "elsewhere", {}),
]


def override(expires: datetime | None = None, **spec: Any) -> Document:
    terms = {"target": {"kind": KIND, "name": "p"}, "reason": "r", "spec": spec}
    if expires:
        terms["expiresAt"] = expires.isoformat()
    return document("Override", "site", "o", terms)


def at_site(*documents: Document, now: datetime = NOW) -> EffectivePolicy:
    return site_policy(SITE, [*WORLD, *documents], now)


def test_without_any_policy_local_users_log_in() -> None:
    for found in (at_site(), federation_policy([], NOW)):
        assert found == DEFAULT
        assert found.spec.providers == ("local",)
        assert found.spec.local_users == found.spec.break_glass == "allowed"


@pytest.mark.parametrize(
    ("documents", "scope", "name"),
    [
        ([policy("federation"), policy("site")], "site", "p"),
        ([policy("federation"), policy("region/inner"), policy("region/outer")], "region/inner", "p"),
        ([policy("federation"), policy("region/elsewhere")], "federation", "p"),
        ([policy("federation", enforcement="mandatory"), policy("site", "a")], "federation", "p"),
        (
            [policy("region/inner", "a", enforcement="mandatory"),
             policy("region/outer", "b", enforcement="mandatory")],
            "region/outer",
            "b",
        ),
        ([policy("site", "b"), policy("site", "a")], "site", "a"),
        ([policy("site", "b"), policy("site", "a", tenant="shop")], "site", "b"),
        ([policy("federation"), policy("node/n"), policy("group/g")], "federation", "p"),
        (
            [policy("federation", "a", sites={"matchLabels": {"env": "test"}}),
             policy("federation", "b", sites={"matchLabels": {"env": "prod"}})],
            "federation",
            "b",
        ),
    ],
)  # fmt: skip
def test_at_a_site_one_policy_counts(documents: list[Document], scope: str, name: str) -> None:
    found = at_site(*documents)
    assert found.policy is not None
    assert (found.policy.scope, found.policy.name) == (scope, name)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(CHAIN), st.sampled_from("abc"), st.booleans(),
        ),
        unique_by=lambda each: each[:2],
    )
)  # fmt: skip
def test_the_choice_is_that_of_the_rule_as_written(given_: list[tuple[str, str, bool]]) -> None:
    found = at_site(
        *(
            policy(
                scope, name, **({"enforcement": "mandatory"} if must and scope != "site" else {})
            )
            for scope, name, must in given_
        )
    )
    # Of one name the nearest counts, unless a mandatory one does; the outermost of these.
    by_name: dict[str, tuple[str, bool]] = {}
    for name in {each[1] for each in given_}:
        own = [(scope, must and scope != "site") for scope, n, must in given_ if n == name]
        own.sort(key=lambda each: CHAIN.index(each[0]))
        musts = [each for each in own if each[1]]
        by_name[name] = musts[-1] if musts else own[0]
    musts = [(CHAIN.index(scope), name) for name, (scope, must) in by_name.items() if must]
    others = [(CHAIN.index(scope), name) for name, (scope, _) in by_name.items()]
    if musts:
        place = max(musts)[0]
        expected: tuple[int, str] | None = min(each for each in musts if each[0] == place)
    else:
        expected = min(others, default=None)
    got = found.policy and (CHAIN.index(found.policy.scope), found.policy.name)
    assert got == expected


def test_an_exception_counts_until_it_expires() -> None:
    mandatory = policy("federation", enforcement="mandatory", localUsers="forbidden")
    end = NOW + timedelta(days=1)
    exception = override(end, localUsers="allowed")
    found = at_site(mandatory, exception)
    assert (found.spec.local_users, found.until) == ("allowed", end)
    assert found.override == exception.key
    later = at_site(mandatory, exception, now=end)
    assert (later.spec.local_users, later.override, later.until) == ("forbidden", None, None)


def test_a_site_that_has_not_heard_of_itself_has_its_own_policies() -> None:
    found = site_policy(SITE, [policy("site", "mine")], NOW)
    assert found.policy is not None
    assert found.policy.name == "mine"


@pytest.mark.parametrize(
    ("documents", "name"),
    [
        ([policy("federation", "b"), policy("federation", "a")], "a"),
        ([policy("federation", "b", enforcement="mandatory"), policy("federation", "a")], "b"),
        ([policy("federation", "a", sites={}), policy("federation", "b")], "b"),
        ([policy("region/inner", "a"), policy("federation", "b")], "b"),
        ([policy("federation", "a", tenant="shop"), policy("federation", "b")], "b"),
    ],
)
def test_the_fsm_heeds_what_is_said_to_everybody(documents: list[Document], name: str) -> None:
    found = federation_policy(documents, NOW)
    assert found.policy is not None
    assert found.policy.name == name


# Followed


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/s.db", clock=VirtualClock(), create=True)
    yield opened
    await opened.close()


async def put(store: Store, *documents: Document) -> None:
    async def work(transaction: Any) -> None:
        for each in documents:
            await transaction.put(Draft(each.key, each.spec.to_json(), each.labels))

    await store.transact(work)


async def test_a_change_counts_without_a_restart_and_an_expiry_by_itself(store: Store) -> None:
    clock = VirtualClock()
    policies = PolicyOfNow(store, judge=partial(site_policy, SITE), now=clock.now, clock=clock)
    changed = asyncio.Event()
    policies.on_change = changed.set
    await put(store, *WORLD)
    await policies.load()
    async with Group() as group:
        group.start(policies.run(), name="follow")
        mandatory = policy("federation", enforcement="mandatory", localUsers="forbidden")
        await put(store, mandatory)
        await changed.wait()
        assert policies.effective.spec.local_users == "forbidden"

        changed.clear()
        end = clock.now() + timedelta(hours=1)
        await put(store, override(end, localUsers="allowed"))
        await changed.wait()
        assert policies.effective.spec.local_users == "allowed"

        changed.clear()
        await clock.sleepers()
        clock.advance(3600)
        await changed.wait()
        assert policies.effective.spec.local_users == "forbidden"


async def test_an_exception_does_not_outlive_its_end_between_two_looks(store: Store) -> None:
    clock = VirtualClock()
    policies = PolicyOfNow(store, judge=partial(site_policy, SITE), now=clock.now, clock=clock)
    end = clock.now() + timedelta(hours=1)
    mandatory = policy("federation", enforcement="mandatory", localUsers="forbidden")
    await put(store, *WORLD, mandatory, override(end, localUsers="allowed"))
    await policies.load()
    assert policies.effective.spec.local_users == "allowed"
    clock.advance(3600)
    assert policies.effective.spec.local_users == "forbidden"
