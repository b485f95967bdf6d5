"""How a verdict came about, as data and for people."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from shared.cli.balanced import balanced_lines
from shared.cli.output import console
from shared.model.network import Network, Service
from shared.model.traffic import protocol_text
from shared.policy.inherit import LeftOut
from shared.policy.inputs import Document
from shared.policy.plan import PlannedPolicy, PlannedRule
from shared.policy.resolve import NameUsed
from shared.policy.verdict import Step, Story

LineOf = Callable[[Document, str], int | None]

_WHY: Final = {
    "not_selected": "it does not select this site",
    "staged": "it is staged",
    "replaced": "it is replaced by {by}",
    "suspended": "it is suspended by {by}",
    "expired": "it has expired",
    "no_effect": "its target is not inherited here",
}
_COLOURS: Final = {"allow": "green", "deny": "red", "reject": "red", "pass": "cyan"}


def story_json(story: Story, line_of: LineOf) -> dict[str, Any]:
    """Return a story as `hanse trace -o json` shows it, beside the flow and its verdict.

    `policies` are all that were looked at, in order, each with its rules; `notReached` those
    after the deciding rule; `leftOut` those that don't count in this view, and why.
    """
    looked_at: dict[int, tuple[PlannedPolicy, list[Step]]] = {}
    for step in story.steps:
        looked_at.setdefault(id(step.policy), (step.policy, []))[1].append(step)
    return {
        "site": story.plan.site,
        "node": story.plan.node,
        "defaultAction": story.plan.default_action,
        "policies": [
            {
                **_policy(policy),
                "rules": [_step(step, line_of) for step in steps],
            }
            for policy, steps in looked_at.values()
        ],
        "notReached": [
            _policy(policy) for policy in story.plan.policies if id(policy) not in looked_at
        ],
        "leftOut": [_left_out(each) for each in story.plan.left_out],
    }


def _policy(policy: PlannedPolicy) -> dict[str, Any]:
    return {
        "tier": policy.tier,
        "policy": policy.name,
        "tenant": policy.tenant,
        "priority": policy.priority,
        "origin": policy.effective.origin,
        **_place(policy.effective.source),
    }


def _step(step: Step, line_of: LineOf) -> dict[str, Any]:
    rule = step.rule
    return {
        "rule": rule.rule,
        "action": rule.action,
        "matched": step.matched,
        "reason": step.reason,
        **rule_place(rule, line_of),
        "names": [_name(name) for name in rule.names],
    }


def rule_place(rule: PlannedRule, line_of: LineOf) -> dict[str, Any]:
    """Return the file and line where a rule is written, if it is in a file."""
    if rule.document.file is None:
        return {}
    root = "spec.spec" if rule.document.key.kind == "Override" else "spec"
    line = line_of(rule.document, f"{root}.rules[{rule.index}]")
    return {"file": rule.document.file, "line": line}


def _name(name: NameUsed) -> dict[str, Any]:
    spec = name.effective.spec
    meaning: list[Any] = []
    if isinstance(spec, Network):
        meaning = [str(subnet) for subnet in spec.subnets]
    elif isinstance(spec, Service):
        meaning = [
            {**entry.to_json(), "protocol": protocol_text(entry.protocol)} for entry in spec.entries
        ]
    return {
        "reference": name.reference,
        "tenant": name.tenant,
        "scope": name.scope,
        "meaning": meaning,
        **_place(name.effective.source),
    }


def _place(document: Document) -> dict[str, Any]:
    if document.file is not None:
        return {"file": document.file, "line": document.line}
    return {} if document.revision is None else {"revision": document.revision}


def _left_out(each: LeftOut) -> dict[str, Any]:
    key = each.document.key
    return {
        "policy": key.name,
        "kind": key.kind,
        "tenant": key.tenant,
        "scope": key.scope,
        "why": each.why,
        "by": None if each.by is None else str(each.by.key),
        **_place(each.document),
    }


def print_story(answer: dict[str, Any]) -> None:
    """Tell for people what `trace` answered."""
    to = console()
    place = f"site {answer['site']}" + (f", node {answer['node']}" if answer["node"] else "")
    _say(to, f"{flow_text(answer)}, judged at {place}")
    for line in balanced_lines(answer):
        _say(to, line)
    tier = None
    for policy in answer["policies"]:
        if policy["tier"] != tier:
            tier = policy["tier"]
            _say(to, f"\n[bold]Tier {tier}[/]", markup=True)
        _say(to, f"  policy {_policy_text(policy)}")
        for rule in policy["rules"]:
            _print_rule(to, rule)
    if answer["notReached"]:
        _say(to, "\nNot looked at any more:")
        for policy in answer["notReached"]:
            _say(to, f"  policy {_policy_text(policy)} of tier {policy['tier']}")
    if answer["leftOut"]:
        _say(to, "\nLeft out here:")
        for each in answer["leftOut"]:
            why = _WHY[each["why"]].format(by=each["by"] or "another")
            _say(to, f"  {each['kind']} {each['policy']}{_at(each)}: {why}")
    _say(to, "")
    _say(to, _verdict_text(answer), markup=True)


def flow_text(flow: dict[str, Any]) -> str:
    """Name a flow: `tcp/5432 from 10.1.10.11 to 10.1.20.21`."""
    protocol = flow["protocol"]
    named = f"protocol {protocol}" if isinstance(protocol, int) else protocol
    port = f"/{flow['port']}" if "port" in flow else ""
    source_port = f" (port {flow['sourcePort']})" if "sourcePort" in flow else ""
    return f"{named}{port} from {flow['from']}{source_port} to {flow['to']}"


def _verdict_text(answer: dict[str, Any]) -> str:
    verdict = answer["verdict"]
    shown = f"[bold {_COLOURS[verdict]}]{verdict}[/]"
    if answer["rule"] is None:
        if not answer.get("balanced", {}).get("backends", True):
            return f"{shown}: there is no backend"
        return f"{shown}, the site's default action: no rule decides"
    tenant = "" if answer["tenant"] == "common" else f" of tenant {answer['tenant']}"
    rule, policy, tier = answer["rule"], answer["policy"], answer["tier"]
    return f"{shown}, by rule {escape(rule)} of policy {escape(policy)}{tenant} (tier {tier})"


def _print_rule(to: Console, rule: dict[str, Any]) -> None:
    colour = _COLOURS[rule["action"]]
    outcome = f"[{colour}]matches: {rule['action']}[/]" if rule["matched"] else "no match"
    reason = "" if rule["matched"] else f": {escape(rule['reason'])}"
    place = escape(_at(rule))
    _say(to, f"    rule {escape(rule['rule'])}{place}: {outcome}{reason}", markup=True)
    for name in rule["names"]:
        tenant = "" if name["tenant"] == "common" else f" of tenant {name['tenant']}"
        meaning = ", ".join(_meanings(name["meaning"]))
        scope = name["scope"]
        _say(to, f"        {name['reference']}{tenant} = {meaning}, from {scope}{_at(name)}")


def _meanings(meaning: list[Any]) -> Iterator[str]:
    for each in meaning:
        if isinstance(each, str):
            yield each
            continue
        ports = ",".join(map(str, each.get("ports", ())))
        yield f"{each['protocol']}/{ports}" if ports else str(each["protocol"])


def _policy_text(policy: dict[str, Any]) -> str:
    tenant = "" if policy["tenant"] == "common" else f" of tenant {policy['tenant']}"
    return f"{policy['policy']}{tenant}, {policy['origin']}{_at(policy)}"


def _at(place: dict[str, Any]) -> str:
    if "file" in place:
        return f" ({place['file']}:{place['line']})"
    return f" (revision {place['revision']})" if "revision" in place else ""


def _say(to: Console, text: str, *, markup: bool = False) -> None:
    to.print(text, markup=markup, soft_wrap=True)
