"""What a site may see, of everything there is.  Pure.

A View holds all that decides membership for one site: its labels, the regions it lies in, what it
subscribes to.  Its digest is part of every position, so that a copy made under another view is
never mistaken for one of this.

Content is one of three sorts.  What a site must have: revocations, roots and verification keys,
its Site and the Regions around it, its own ChangeRequests, the Tenants, Roles and RoleBindings that
flow down, policies of settings and mandatory policies that select it.  What it may have, and gets
unless its Subscription leaves it out: default policies that select it, and the Networks and
Services declared on its chain, since its own policies may name any of them.  And, whatever the
Subscription says, every Network and Service that a delivered policy names or may select.  Nothing
else ever reaches it.

A selector of networks may select any name in sight, whatever its labels here: the definition that
counts may be the site's own, with labels that the FSM doesn't know.  So all of them go along.

An object with a field that the site doesn't know is *withheld*: a change to it isn't sent, and the
site keeps what it has.

While a change goes site by site, a site that it hasn't reached sees the version before
(fsm.feed.rolling).  A site that people have paused keeps the policy of that revision; only what
says whom it is to believe, and who may do what, goes on.
"""

import hashlib
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import orjson

from fsm.feed.item import BALANCER, GOING_ON, SUBSCRIPTION, Audience, Duty, Item
from fsm.feed.rolling import rollings_in, seen_by, version_at
from shared.feed.wire import Removal
from shared.ids import COMMON, FEDERATION, Key
from shared.model.subscription import Subscription

World = Mapping[Key, Item]
"""Everything that the FSM has at one revision, as far as sites are concerned."""

NO_WISHES: Final = Subscription.model_validate({})


@dataclass(frozen=True, slots=True)
class View:
    """What decides membership for one site.  `chain` is its scopes on the FSM, nearest first."""

    site: str
    labels: Mapping[str, str] = field(hash=False)
    chain: tuple[str, ...]
    subscription: Subscription = field(hash=False)
    digest: str
    paused: int | None = None
    """The revision whose policy a paused site keeps; None: it takes what there is."""

    @property
    def is_narrowed(self) -> bool:
        """Whether the subscription leaves out anything optional."""
        wishes = self.subscription
        return bool(wishes.kinds or wishes.tenants or wishes.selector != NO_WISHES.selector)


class Membership(Enum):
    IN = "in"
    WITHHELD = "withheld"
    """The site is meant to have it, but doesn't know its kind or one of its fields."""
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Selected:
    """What a site is to have, and what it would have if it knew how to take it."""

    items: Mapping[Key, Item]
    withheld: frozenset[Key] = frozenset()
    is_whole: bool = True
    """False of a paused site whose policy isn't known any more: it keeps what isn't here."""

    def covers(self, key: Key) -> bool:
        """Return whether the site may have some version of the object."""
        return key in self.items or key in self.withheld


@dataclass(frozen=True, slots=True)
class Delta:
    """What leads from one selection to another."""

    puts: tuple[Item, ...] = ()
    removals: tuple[tuple[Key, Removal], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.removals)


def site_key(site: str) -> Key:
    return Key("Site", COMMON, FEDERATION, site)


def subscription_key(site: str) -> Key:
    return Key(SUBSCRIPTION, COMMON, FEDERATION, site)


def view_of(world: World, site: str) -> View | None:
    """Return a site's view; None if there is no such Site."""
    item = world.get(site_key(site))
    if item is None:
        return None
    subscribed = world.get(subscription_key(site))
    wishes = Subscription.model_validate(subscribed.spec) if subscribed else NO_WISHES
    chain = _chain_of(world, item.spec.get("region"))
    what: dict[str, Any] = {
        "site": site,
        "labels": dict(item.labels),
        "chain": chain,
        "subscription": wishes.to_json(),
    }
    # Said only while it is so, lest all sites list again where this is new.
    if (pause := item.spec.get("paused")) is not None:
        what["paused"] = pause["revision"]
    digest = hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return View(site, item.labels, chain, wishes, digest, what.get("paused"))


def decides_view(key: Key, site: str) -> bool:
    """Return whether a change of this object can change the site's view."""
    return key.kind == "Region" or key in (site_key(site), subscription_key(site))


def select(world: World, view: View) -> Selected:
    """Return what a site is to have of the world."""
    return select_seen(seen_by(world, view.site), view)


def select_seen(world: World, view: View) -> Selected:
    """Return what a site is to have of a world that is as this site sees it."""
    meant = {key: item for key, item in world.items() if is_meant_for(view, item.audience)}
    wanted = {key: item for key, item in meant.items() if _is_wanted(view, item)}
    if view.is_narrowed:
        wanted = _with_whole_names(wanted, meant)
        wanted |= _referenced(wanted.values(), meant)
    withheld = frozenset(key for key, item in wanted.items() if not _is_known(view, item))
    return Selected({k: item for k, item in wanted.items() if k not in withheld}, withheld)


def select_paused(now: Selected, kept: Selected | None, view: View) -> Selected:
    """Return what a paused site is to have: the policy of when it was paused, and all else of now.

    `kept` is what it was to have then, None if that isn't known any more.
    """
    items = {key: item for key, item in now.items.items() if key.kind in GOING_ON}
    withheld = {key for key in now.withheld if key.kind in GOING_ON}
    old = {} if kept is None else kept.items
    for key, item in old.items():
        if key.kind in GOING_ON:
            continue
        if _is_known(view, item):
            items[key] = item
        else:
            withheld.add(key)
    if kept is not None:
        withheld |= {key for key in kept.withheld if key.kind not in GOING_ON}
    return Selected(items, frozenset(withheld), is_whole=kept is not None)


def difference(before: Selected, after: Selected, *, world: World, view: View) -> Delta:
    """Return what leads from `before` to `after`; `world` and `view` are those of `after`."""
    puts = tuple(
        item
        for key, item in sorted(after.items.items())
        if key not in before.items or before.items[key].version != item.version
    )
    gone = {*before.items, *before.withheld} - {*after.items, *after.withheld}
    return Delta(puts, tuple((key, removal_of(key, world, view)) for key in sorted(gone)))


def change_of(view: View, before: Item | None, after: Item | None) -> Delta:
    """Return what one object's change means under a view that isn't narrowed.

    Then membership is each object's own affair, and nothing else need be looked at.
    """
    is_in = membership(view, after)
    if is_in is Membership.WITHHELD:
        return Delta()
    if is_in is Membership.IN:
        assert after is not None
        return Delta(puts=(after,))
    if before is None or membership(view, before) is Membership.OUT:
        return Delta()
    reason = Removal.DELETED if after is None else Removal.DESELECTED
    return Delta(removals=((before.key, reason),))


def standing_in(seen: World, view: View) -> Callable[[Item], Membership]:
    """Return what says whether a site is to have an object of the world as the site sees it."""
    if not view.is_narrowed:
        return lambda item: membership(view, item)
    selected = select_seen(seen, view)

    def standing(item: Item) -> Membership:
        if item.key in selected.items:
            return Membership.IN
        return Membership.WITHHELD if selected.covers(item.key) else Membership.OUT

    return standing


def membership(view: View, item: Item | None) -> Membership:
    """Return whether a site is to have an object, under a view that isn't narrowed."""
    if item is None or not is_meant_for(view, item.audience):
        return Membership.OUT
    return Membership.IN if _is_known(view, item) else Membership.WITHHELD


def is_meant_for(view: View, audience: Audience) -> bool:
    """Return whether a site may have an object, whatever it subscribes to."""
    key = audience.key
    if audience.duty is Duty.NEVER:
        return False
    if key.kind == "Site":
        return key.name == view.site
    if audience.site is not None:
        return audience.site == view.site
    if key.kind == "Region":
        return f"region/{key.name}" in view.chain
    if key.scope not in view.chain:
        return False
    return audience.sites is None or audience.sites.matches(view.labels)


def removal_of(key: Key, world: World, view: View) -> Removal:
    """Return why a site no longer has an object that it had."""
    item = version_at(view.site, world.get(key), rollings_in(world).get(key))
    if item is None:
        return Removal.DELETED
    return Removal.UNSUBSCRIBED if is_meant_for(view, item.audience) else Removal.DESELECTED


def _chain_of(world: World, region: Any) -> tuple[str, ...]:
    """Return a site's scopes, nearest first; a cycle, which admission refuses, ends it."""
    chain: list[str] = []
    while isinstance(region, str) and f"region/{region}" not in chain:
        chain.append(f"region/{region}")
        item = world.get(Key("Region", COMMON, FEDERATION, region))
        region = item.spec.get("parent") if item else None
    return (*chain, FEDERATION)


def _is_wanted(view: View, item: Item) -> bool:
    """Return whether an object that is meant for a site is among what it asked for."""
    if item.audience.duty is Duty.ALWAYS:
        return True
    wishes = view.subscription
    return (
        (not wishes.kinds or item.key.kind in wishes.kinds)
        and (not wishes.tenants or item.key.tenant in wishes.tenants)
        and wishes.selector.matches(item.labels)
    )


def _is_known(view: View, item: Item) -> bool:
    return item.is_known(view.subscription.accepts)


def _with_whole_names(wanted: World, meant: World) -> dict[Key, Item]:
    """Add the other definitions on the chain of every name that is in.

    The nearest definition of a name hides the others; a site that had only some of them would
    take the wrong one for the nearest.
    """
    names = {(key.kind, key.tenant, key.name) for key in wanted}
    return {k: item for k, item in meant.items() if (k.kind, k.tenant, k.name) in names}


def _referenced(policies: Iterable[Item], meant: World) -> dict[Key, Item]:
    """Return every Network and Service that the policies name, or may select."""
    names: set[tuple[str, str, str]] = set()
    selecting: set[str] = set()
    for item in policies:
        if item.key.kind not in ("SecurityPolicy", BALANCER):
            continue
        tenant = item.key.tenant
        for kind, name in references_of(item.spec):
            if name is None:
                selecting.add(tenant)
            else:
                names |= {(kind, tenant, name), (kind, COMMON, name)}
    return {
        key: item
        for key, item in meant.items()
        if (key.kind, key.tenant, key.name) in names
        or (key.kind == "Network" and _is_in_sight(key.tenant, selecting))
    }


def _is_in_sight(tenant: str, selecting: Container[str]) -> bool:
    """Return whether a selector in a policy of one of the tenants looks at `tenant`'s networks."""
    return COMMON in selecting or tenant in selecting or (tenant == COMMON and bool(selecting))


def references_of(spec: Mapping[str, Any]) -> Iterable[tuple[str, str | None]]:
    """Yield (kind, name) of what the spec of a policy or a balancer names; a selector of networks
    has no name.
    """
    if "network" in spec:
        yield "Network", spec["network"]
    for port in spec.get("ports", ()):
        if "service" in port:
            yield "Service", port["service"]
    for rule in spec.get("rules", ()):
        for side in ("from", "to"):
            for peer in _listed(rule.get(side)):
                if "network" in peer:
                    yield "Network", peer["network"]
                elif "networks" in peer:
                    yield "Network", None
        for service in _listed(rule.get("services")):
            if "service" in service:
                yield "Service", service["service"]


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return value if isinstance(value, list) else []
