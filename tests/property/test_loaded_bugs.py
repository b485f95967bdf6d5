"""The comparison of a loaded site with a fresh compile can fail: bugs put into it are noticed."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.ids import SITE
from shared.policy.definitions import Name
from shared.policy.loaded import ends, nodes, owners, peers, selecting, sides, site, source, view
from shared.policy.nodehash import rule_term
from tests.property import test_loaded_site as scenes

WITHIN = 60
"""Worlds of 25 edits each, within which each bug must show."""

_windows_between = peers.windows_between
_change_hosts = nodes.LoadedNode.change_hosts


def only_what_came(before: Any, after: Any) -> Any:
    return [
        each
        for each in _windows_between(before, after)
        if any(start <= each.start < end for start, end in peers.pairs(after.of(each.family)))
    ]


def one_workload_less_is_none(self: Any, node: str, family: Any, address: int) -> bool:
    found = self.of[family].get(address, {})
    if node not in found:
        return False
    found[node] = 1
    return bool(REMOVE(self, node, family, address))


REMOVE = owners.Owners.remove


def with_the_name_first_met(self: Any, peer: Any) -> None:
    for name in [*peer.members] or [self.names.lookup("Network", peer.tenant, peer.name)]:
        self._take(peer, name, self.names.meaning(name))


def of_the_own_tenant(self: Any, peer: Any) -> None:
    name = Name("Network", peer.tenant, peer.name)
    self._take(peer, name, self.names.meaning(name))


def put_once(self: Any, name: Any, labels: Any) -> None:
    if name not in self._rows:
        PUT(self, name, labels)


PUT = selecting.NetworkLabels.put


def without_a_replacement(self: Any, old: Any, new: Any) -> None:
    self.before |= set(old)
    self.after |= set(new)


def hosts_and_inside_kept(self: Any, family: Any, address: int, *, present: bool) -> None:
    inside = dict(self.inside)
    _change_hosts(self, family, address, present=present)
    self.inside.update(inside)


def moved_with_its_rules(self: Any, leave: Any) -> None:
    self._begin()
    self._configuration_before = self.configuration()
    leave(self)


def time_alone(self: Any, now: Any, batch: Any) -> None:
    if now is not None:
        self.now = now


def as_of_the_site(self: Any) -> Any:
    return {name: chain[chain.index(SITE) :] for name, chain in ADMITTED(self).items()}


ADMITTED = site.LoadedSite._admitted


def nothing(*_: Any, **__: Any) -> None:
    return None


def no_candidates(*_: Any) -> Any:
    return ()


BUGS: dict[str, tuple[Any, str, Any, tuple[str, ...]]] = {
    "windows where addresses went are forgotten": (
        peers, "windows_between", only_what_came, ("subnet",),
    ),
    "a name keeps the twin that it met first": (
        ends.Ends, "_look_up", with_the_name_first_met, ("network",),
    ),
    "a tenant's name never means the common one": (
        ends.Ends, "_look_up", of_the_own_tenant, ("network",),
    ),
    "labels of networks are indexed once": (
        selecting.NetworkLabels, "put", put_once, ("label", "policy"),
    ),
    "selectors aren't asked when labels change": (
        selecting.SelectorIndex, "candidates", no_candidates, ("label",),
    ),
    "a rule's follower keeps its term": (
        nodes, "rule_term", lambda rule, _: rule_term(rule, ""), ("rule",),
    ),
    "own addresses lie in no side": (ends.Ends, "covering", no_candidates, ("move",)),
    "sides that nobody uses stay": (ends.Ends, "drop", nothing, ("rule",)),
    "services that nobody uses stay": (view.LoadedView, "_drop", nothing, ("rule",)),
    "nothing is sealed": (source.Source, "is_sealed", False, ("network",)),
    "overrides never expire": (site.LoadedSite, "_pass_time", time_alone, ("time", "override")),
    "an override's last target isn't looked at": (
        source.LoadedDefinitions, "target", nothing, ("override",),
    ),
    "a node that moves keeps its rules": (
        nodes.LoadedNode, "start_over", moved_with_its_rules, ("node", "group", "policy"),
    ),
    "all nodes see with the site's view": (
        site.LoadedSite, "_admitted", as_of_the_site, ("node", "group", "policy"),
    ),
    "members that come and go are told twice": (
        sides.Members, "replace", without_a_replacement, ("subnet",),
    ),
    "services aren't followed": (view.LoadedView, "service_changed", nothing, ("service",)),
    "the nodes' default action stays": (nodes.LoadedNode, "change_default", nothing, ("group",)),
    "addresses of new sides aren't counted": (view.LoadedView, "_count_nodes", nothing, ("rule",)),
}  # fmt: skip


SCENES: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "workloads that share an address aren't counted": (
        owners.Owners, "remove", one_workload_less_is_none,
        scenes.test_an_address_that_two_workloads_share_stays_with_the_second,
    ),
    "own addresses in a bound stay as they were": (
        nodes.LoadedNode, "change_hosts", hosts_and_inside_kept,
        scenes.test_an_address_that_comes_into_a_tenants_networks_brings_the_tenants_rules,
    ),
    "the sets of a node that goes know it still": (
        nodes.LoadedNode, "let_go", nothing, scenes.test_of_a_node_that_goes_nothing_stays,
    ),
    "labels go against the order": (
        view, "_labels_between", lambda low, high, count: [low or 0] * count,
        scenes.test_rules_go_into_one_place_until_there_is_no_room_and_beyond,
    ),
}  # fmt: skip
"""Bugs that random edits meet too seldom."""

# Some lead to another configuration, some to a delta that doesn't fit or a broken index.
NOTICED = (AssertionError, ValueError, LookupError)


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_loaded_site_is_noticed(
    bug: tuple[Any, str, Any, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, replacement, kinds = bug
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(NOTICED):
        edit_worlds(kinds)


def edit_worlds(kinds: tuple[str, ...]) -> None:
    for seed in range(WITHIN):
        scenes.run_edits(seed, *kinds)


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in SCENES.items()])
def test_a_bug_in_the_loaded_site_is_noticed_by_its_scene(
    bug: tuple[Any, str, Any, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, replacement, scene = bug
    monkeypatch.setattr(module, name, replacement)
    with pytest.raises(NOTICED):
        scene()
