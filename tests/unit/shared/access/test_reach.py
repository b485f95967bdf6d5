"""How far a permission reaches: as authorize() decides about each object."""

from hypothesis import given
from hypothesis import strategies as st

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.access.reach import WHOLE, reach_of
from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import Key
from shared.model.selectors import Selector
from tests.unit.shared.access import strategies

TRACE = Permission.TRACE
SHOP = Selector.model_validate({"matchLabels": {"app": "shop"}})


def caller(*grants: Grant) -> Caller:
    return Caller(CallerKind.PERSON, "user:kim", "Kim", grants=grants)


def grant(tenants=None, scopes=None, *, shops=False, permission=TRACE) -> Grant:
    bound = ("app=shop", SHOP.matches) if shops else (None, None)
    return Grant("r", frozenset({permission}), tenants, scopes, *bound)


ACME, RIVAL = frozenset({"acme"}), frozenset({"rival"})


@given(
    grants=st.lists(strategies.grants(), max_size=4),
    tenant=strategies.TENANT,
    scope=strategies.SCOPE,
    labels=st.none() | strategies.LABELS,
)
def test_an_object_is_in_reach_if_the_permission_is_held_on_it(grants, tenant, scope, labels):
    held = caller(*grants)
    reach = reach_of(held, TRACE)
    key = Key("SecurityPolicy", tenant, scope, "p")
    allowed = authorize(held, TRACE, tenant=tenant, scope=scope, labels=labels).allowed
    assert reach.sees(key, labels) is allowed
    if labels is not None:
        assert bool(reach.places_of(key, labels)) is allowed
    if allowed:
        assert reach.tenants is None or tenant in reach.tenants
    elif reach.full_tenants is not None:
        assert tenant not in reach.full_tenants
    assert not reach.is_whole or allowed


@given(grants=st.lists(strategies.grants(), max_size=4), labels=strategies.LABELS)
def test_sites_and_nodes_are_no_tenants_and_in_no_scope(grants, labels) -> None:
    held = [each for each in grants if TRACE in each.permissions]
    reach = reach_of(caller(*grants), TRACE)
    assert reach.sees_machine(labels) is any(
        each.labels is None or each.labels(labels) for each in held
    )
    assert reach.sees_machine(None) is any(each.labels is None for each in held)


def test_whoever_holds_all_tenants_in_two_grants_sees_as_by_one() -> None:
    one = reach_of(caller(grant(ACME | RIVAL)), TRACE)
    assert reach_of(caller(grant(RIVAL), grant(ACME)), TRACE) == one
    assert len(one.places) == 1
    assert reach_of(caller(grant(), grant(ACME, shops=True)), TRACE).is_whole
    assert reach_of(caller(grant()), TRACE) == WHOLE
    assert not reach_of(caller(grant(shops=True)), TRACE).is_whole
    assert reach_of(caller(grant(permission=Permission.REVOKE)), TRACE).places == ()


def test_only_what_is_bound_to_nothing_else_makes_a_tenant_wholly_seen() -> None:
    site = frozenset({"site"})
    reach = reach_of(caller(grant(ACME), grant(RIVAL, shops=True), grant(None, site)), TRACE)
    assert reach.full_tenants == ACME
    assert reach.tenants is None
