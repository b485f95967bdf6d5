"""`hanse resolve`: the rules that a site or a node makes of policy."""

from pathlib import Path
from typing import Any, Final

from shared.cli.asking import moment, sound_site
from shared.cli.output import Output, console, print_data, print_table
from shared.ids import COMMON
from shared.policy.balancing import balancer_json
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import sources_of
from shared.policy.nftables import nftables_text

# What still fits on a terminal beside the other columns; -o wide shows all.
_MANY: Final = 6
_FEW: Final = 4


def run_resolve(
    repo: Path,
    *,
    site: str,
    node: str | None,
    staged: bool,
    at: str | None,
    form: Output,
    nft: Path | None = None,
) -> None:
    """Print the resolved rules in order of evaluation; write them to `nft`, too."""
    _, planner = sound_site(repo, site, at=moment(at))
    plan = planner.plan(node, staged=staged)
    if nft is not None:
        inputs = planner.inputs
        loaded = LoadedSite(site, sources_of(inputs), now=inputs.now)
        nft.write_text(nftables_text(loaded.columns(node, staged=staged), plan.default_action))
    answer = plan.to_json()
    if planner.has_balancers:
        answer["balancers"] = [balancer_json(each) for each in planner.balancers(node)]
    print_answer(answer, form)


def print_answer(answer: dict[str, Any], form: Output) -> None:
    """Print what `resolve` found, on a repository or live."""
    if form in (Output.JSON, Output.YAML):
        print_data(answer, form)
    elif form is Output.NAME:
        for rule in answer["rules"]:
            print(f"{rule['tenant']}/{rule['policy']}/{rule['rule']}")
    else:
        print_rules(answer, wide=form is Output.WIDE)


def print_rules(answer: dict[str, Any], *, wide: bool) -> None:
    """Print the answer of `resolve` for people."""
    to = console()
    place = f"site {answer['site']}" + (f", node {answer['node']}" if answer["node"] else "")
    columns = ["#", "TIER", "POLICY", "RULE", "ACTION", "FROM", "TO", "SERVICES"]
    if wide:
        columns += ["TENANT", "ORIGIN", "LOG", "WITHIN", "NAMES"]
    rows = [_row(rule, wide=wide) for rule in answer["rules"]]
    print_table(columns, rows, title=f"Rules at {place}")
    to.print(f"Traffic that no rule decides: {answer['defaultAction']}.")
    if answer["unresolved"]:
        missing = [
            (each["policy"], each["rule"], each["side"], each["reference"])
            for each in answer["unresolved"]
        ]
        to.print("")
        print_table(["POLICY", "RULE", "SIDE", "REFERENCE"], missing, title="Unresolved")
    if answer.get("balancers"):
        to.print("")
        columns = ["BALANCER", "ADDRESSES", "PORTS", "BACKENDS", "ALGORITHM", "LACKS"]
        balancers = [_balancer(each, wide=wide) for each in answer["balancers"]]
        print_table(columns, balancers, title="Load balancers")


def _balancer(balancer: dict[str, Any], *, wide: bool) -> list[str]:
    tenant = "" if balancer["tenant"] == COMMON else f" (tenant {balancer['tenant']})"
    sides = listed if wide else _few
    ports = [
        f"{each['protocol']}/{each['ports']}"
        + (f" to {each['targetPort']}" if "targetPort" in each else "")
        for each in balancer["ports"]
    ]
    return [
        balancer["balancer"] + tenant,
        sides(balancer["addresses"]),
        listed(ports),
        sides(balancer["backends"]),
        balancer["algorithm"],
        ", ".join(f"{each['why']}: {each['what']}" for each in balancer["lacks"]),
    ]


def _row(rule: dict[str, Any], *, wide: bool) -> list[str]:
    sides = listed if wide else _few
    row = [
        str(rule["position"]),
        rule["tier"],
        rule["policy"],
        rule["rule"],
        rule["action"],
        sides(rule["from"]),
        sides(rule["to"]),
        services_text(rule["services"]),
    ]
    if wide:
        row += [
            rule["tenant"],
            rule["origin"],
            "yes" if rule["log"] else "no",
            listed(rule.get("within", [])),
            ", ".join(f"{name['reference']} ({name['scope']})" for name in rule["names"]),
        ]
    return row


def listed(values: Any) -> str:
    """Return `any`, or a list's items on one line."""
    return values if isinstance(values, str) else ", ".join(map(str, values))


def _few(values: Any) -> str:
    """Return what `listed` does, of a long list its first items and how many more there are."""
    if isinstance(values, str) or len(values) <= _MANY:
        return listed(values)
    return f"{listed(values[:_FEW])} and {len(values) - _FEW} more"


def services_text(services: Any) -> str:
    """Return what a rule's services say: `tcp/80,443, icmp`."""
    if isinstance(services, str):
        return services
    return ", ".join(map(_service_text, services))


def _service_text(service: dict[str, Any]) -> str:
    text = str(service["protocol"])
    if "ports" in service:
        text += "/" + ",".join(service["ports"])
    if "sourcePorts" in service:
        text += " from port " + ",".join(service["sourcePorts"])
    return text
