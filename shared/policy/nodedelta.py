"""From one configuration of a node to another: what travels, and how it is applied.

Applying checks both ends by their hashes and costs what changed, not what there is.
"""

import socket
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from shared.policy.balancers import balancers_delta, changed_balancers
from shared.policy.nodeconfig import (
    NodeConfiguration,
    from_json,
    rule_from_json,
    rule_to_json,
    to_json,
)
from shared.policy.nodehash import MODULUS, member_term, members_total, rules_total, set_term

HashableT = TypeVar("HashableT", bound=Hashable)


def compute_delta(have: NodeConfiguration, want: NodeConfiguration) -> dict[str, Any]:
    """Return what turns `have` into `want`, in wire form; the inverse is apply_delta.

    Sets carry added and removed members.  Rules are splices `[at, remove, [inserted]]`, each of
    what those before it have left; these go from the last to the first.  Equal parts are absent.
    `staged` is the whole of what is newly counted, a delta of what is, or null.
    """
    delta: dict[str, Any] = {"base": have.hash(), "hash": want.hash()}
    if have.default_action != want.default_action:
        delta["defaultAction"] = want.default_action
    if have.addresses != want.addresses:
        delta["addresses"] = members_delta(have.addresses, want.addresses)
    sets: dict[str, Any] = {}
    for name in have.sets.keys() | want.sets.keys():
        if name not in want.sets:
            sets[name] = None
        elif name not in have.sets or have.sets[name] != want.sets[name]:
            sets[name] = members_delta(have.sets.get(name, ()), want.sets[name])
    if sets:
        delta["sets"] = sets
    if splices := rule_splices(have.rules, want.rules):
        delta["rules"] = [
            [at, remove, [rule_to_json(rule) for rule in inserted]]
            for at, remove, inserted in splices
        ]
    if have.staged != want.staged:
        delta["staged"] = _staged_delta(have.staged, want.staged)
    if have.balancers != want.balancers:
        delta["balancers"] = balancers_delta(have.balancers, want.balancers)
    return delta


def apply_delta(have: NodeConfiguration, delta: Mapping[str, Any]) -> NodeConfiguration:
    """Return the configuration after `delta`; ValueError if it doesn't fit or doesn't add up."""
    if have.hash() != delta["base"]:
        raise ValueError("the delta is for another configuration")
    total = have.total()
    sets = dict(have.sets)
    for name, change in delta.get("sets", {}).items():
        before = sets.pop(name, None)
        if change is None:
            if before is None:
                raise ValueError(f"the delta removes set {name}, which isn't there")
            total -= set_term(name) + members_total(name, before)
            continue
        total += sum(member_term(name, cidr) for cidr in change["add"])
        total -= sum(member_term(name, cidr) for cidr in change["remove"])
        total += set_term(name) if before is None else 0
        sets[name] = _changed(before or (), change)
    rules = list(have.rules)
    for at, remove, given in delta.get("rules", ()):
        inserted = [rule_from_json(rule) for rule in given]
        # The rule behind the splice follows another one then, so its term changes too.
        total -= rules_total(rules, at, at + remove + 1)
        rules[at : at + remove] = inserted
        total += rules_total(rules, at, at + len(inserted) + 1)
    result = NodeConfiguration(
        node=have.node,
        default_action=delta.get("defaultAction", have.default_action),
        addresses=_changed(have.addresses, delta["addresses"])
        if "addresses" in delta
        else have.addresses,
        sets=sets,
        rules=tuple(rules),
        staged=_staged_after(have.staged, delta["staged"]) if "staged" in delta else have.staged,
        balancers=changed_balancers(have.balancers, delta["balancers"], _place)
        if "balancers" in delta
        else have.balancers,
    ).with_total(total % MODULUS)
    if result.hash() != delta["hash"]:
        raise ValueError("the delta does not lead to the configuration that it announces")
    return result


def _staged_delta(have: NodeConfiguration | None, want: NodeConfiguration | None) -> Any:
    if want is None:
        return None
    if have is None:
        return {"snapshot": to_json(want)}
    return {"delta": compute_delta(have, want)}


def _staged_after(have: NodeConfiguration | None, change: Any) -> NodeConfiguration | None:
    if change is None:
        return None
    if "snapshot" in change:
        return from_json(change["snapshot"])
    if have is None:
        raise ValueError("the delta changes what is staged, of which nothing is here")
    return apply_delta(have, change["delta"])


def members_delta(have: Sequence[str], want: Sequence[str]) -> dict[str, list[str]]:
    """Return the members to add and to remove, in the order that they are given in."""
    before, after = set(have), set(want)
    return {
        "add": [each for each in want if each not in before],
        "remove": [each for each in have if each not in after],
    }


def rule_splices(
    have: Sequence[HashableT], want: Sequence[HashableT]
) -> list[tuple[int, int, list[HashableT]]]:
    """Return splices (place in `have`, how many go, what comes), from the last to the first.

    A longest common subsequence would be shorter at times; matching runs greedily is linear.
    """
    places = {rule: place for place, rule in enumerate(have)}
    splices: list[tuple[int, int, list[HashableT]]] = []
    at = 0
    inserted: list[HashableT] = []
    for rule in want:
        place = places.get(rule, -1)
        if place < at:
            inserted.append(rule)
            continue
        if place > at or inserted:
            splices.append((at, place - at, inserted))
            inserted = []
        at = place + 1
    if at < len(have) or inserted:
        splices.append((at, len(have) - at, inserted))
    return splices[::-1]


def _changed(have: Sequence[str], change: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return members in address order after a change; ValueError if it doesn't fit `have`."""
    members = list(have)
    if (len(change["add"]) + len(change["remove"])) * 32 > len(members):
        left = set(members)
        if not left.issuperset(change["remove"]):
            raise ValueError("the delta removes members that aren't there")
        left.difference_update(change["remove"])
        if not left.isdisjoint(change["add"]):
            raise ValueError("the delta adds members that are there")
        return tuple(sorted(left.union(change["add"]), key=_place))
    for cidr in change["remove"]:
        at = bisect_left(members, _place(cidr), key=_place)
        if at == len(members) or members[at] != cidr:
            raise ValueError(f"the delta removes {cidr}, which isn't there")
        del members[at]
    for cidr in change["add"]:
        at = bisect_left(members, _place(cidr), key=_place)
        if at < len(members) and members[at] == cidr:
            raise ValueError(f"the delta adds {cidr}, which is there")
        members.insert(at, cidr)
    return tuple(members)


def _place(cidr: str) -> tuple[int, bytes]:
    """Return what puts disjoint CIDRs in order: IPv4 first, then by address."""
    address = cidr.partition("/")[0]
    try:
        if ":" in address:
            return 6, socket.inet_pton(socket.AF_INET6, address)
        return 4, socket.inet_pton(socket.AF_INET, address)
    except OSError as exc:
        raise ValueError(f"{cidr!r} is no CIDR") from exc
