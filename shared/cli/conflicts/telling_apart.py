"""Conflicts in sentences: names, nodes and settings that don't fit, and what upstream took back.

Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shared.cli.conflicts.case import Case
from shared.ids import COMMON

JSON = Mapping[str, Any]


def _overlapping(case: Case) -> str:
    other = case.facts.get("other")
    vlan = case.facts.get("vlan")
    if not isinstance(other, Mapping):
        on = f"VLAN {vlan}" if vlan is not None else "addresses"
        return f"{case.target} shares {on} with a network of another tenant, which has other rules."
    tenant = other.get("tenant", COMMON)
    whose = "" if tenant == COMMON else f" (tenant {tenant})"
    said = [_PARTS.get(str(case.facts.get("part")), "")]
    shared = list(case.facts.get("shared") or ())
    if shared and case.facts.get("part") == "partly":
        said[0] += f" ({', '.join(shared[:_SHOWN])}{', …' if len(shared) > _SHOWN else ''})"
    if vlan is not None:
        said.append(f"both are on VLAN {vlan}")
    told = ", and ".join(each for each in said if each)
    return (
        f"{case.target} and Network {other.get('name')}{whose} have different rules, and "
        f"{told or 'share addresses'}."
    )


_SHOWN: Final = 3
_PARTS: Final = {
    "same": "just the same addresses",
    "partly": "share some of their addresses",
    "inside": "the first lies in the second",
    "around": "the second lies in the first",
}


def _disagree(case: Case) -> str:
    flow = case.facts.get("example")
    ends: Sequence[JSON] = case.facts.get("ends") or ()
    scopes = ", ".join(case.facts.get("scopes") or ())
    what = "a flow" if not isinstance(flow, Mapping) else f"the flow {_flow(flow)}"
    told = "; ".join([_end(each) for each in ends])
    return (
        f"What is defined for {scopes} has nodes judge {what} apart: {told}."
        if told
        else f"What is defined for {scopes} has nodes judge flows apart."
    )


def _flow(flow: JSON) -> str:
    port = f" port {flow['port']}" if "port" in flow else ""
    return f"{flow.get('from')} to {flow.get('to')}, {flow.get('protocol')}{port},"


def _end(end: JSON) -> str:
    verdict = _VERDICTS.get(str(end.get("verdict")), "judged")
    text = f"{verdict} at {end.get('node')}"
    if "rule" not in end:
        return text
    rule = end["rule"]
    if not isinstance(rule, Mapping):
        return f"{text} by default"
    return f"{text} by rule {rule.get('rule')} of {rule.get('policy')}"


_VERDICTS: Final = {"allow": "allowed", "deny": "denied", "reject": "rejected"}


def _went_back(case: Case) -> str:
    return (
        f"{case.target} has come back from upstream older than it was known here: generation "
        f"{case.facts.get('generation')} after {case.facts.get('before')}."
    )


def _login(case: Case) -> str:
    users = int(case.facts.get("users") or 0)
    policies = list(case.facts.get("policies") or ())
    held = []
    if users:
        held.append(f"{users} user{'s' if users > 1 else ''} of its own")
    if policies:
        held.append(f"policy {', '.join(policies)} that would let such users in")
    return (
        f"Mandatory {case.target} forbids local users, and the site has "
        f"{', and '.join(held) or 'some'}."
    )


def _schedule(case: Case) -> str:
    own, theirs = (_times(case.facts.get(each)) for each in ("schedule", "mandatory"))
    return (
        f"BackupPolicy {case.facts.get('policy')} of the site backs it up at other times ({own}) "
        f"than mandatory {case.target} asks for ({theirs})."
    )


def _times(given: Any) -> str:
    if not isinstance(given, Mapping):
        return "unknown"
    return f"{given.get('schedule')}, {given.get('timezone')}"


WHAT: Final[Mapping[str, Callable[[Case], str]]] = {
    "overlapping_networks": _overlapping,
    "nodes_disagree": _disagree,
    "upstream_went_back": _went_back,
    "local_login_forbidden": _login,
    "schedule_differs": _schedule,
}
MEANWHILE: Final[Mapping[str, Callable[[Case], str]]] = {
    "overlapping_networks": lambda _: "the rules of both names hold for what they share.",
    "nodes_disagree": lambda _: "flows pass only where both ends allow them.",
    "upstream_went_back": lambda _: "what came is in force.",
    "local_login_forbidden": lambda _: (
        "they can't log in; the emergency account is another matter."
    ),
    "schedule_differs": lambda _: "both run.",
}
REMEDIES: Final = {
    "local_login_forbidden": "Disable or delete the users, delete the policy, or write an Override "
    "of the mandatory one.",
    "schedule_differs": "Delete the site's policy, or give it the same times.",
}
EFFECTS: Final = {
    (type_, "keepLocal"): "changes nothing; it stays settled as long as it says the same"
    for type_ in ("overlapping_networks", "nodes_disagree")
} | {
    ("upstream_went_back", "acceptGlobal"): "changes nothing; what came stays in force",
    ("upstream_went_back", "keepLocal"): "makes what was known before an exception to {target}",
}
