"""A neutral workload as a site's own objects.

Networks, services and policies are local ones, as if a site's operator had written them: rules
stand in policies of a hundred, in order of their names.  For single changes there are a hundred
nodes, and a workload for each network, with the first address of its first prefix.
"""

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from shared.errors import Invalid
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.policy.loaded.source import Source

FORMAT: Final = "fwbench-workload/1"
NAME: Final = "bench"
NODES: Final = 100
TIERS: Final = 100
"""How many values of label `tier` the workloads have."""
RULES_IN_A_POLICY: Final = 100
USES: Final = 20
"""So many rules use each of the networks that are changed."""
BUSY: Final = 5

JSON = Mapping[str, Any]

_ACTIONS: Final = {"accept": "allow", "deny": "deny"}


def read(path: Path) -> JSON:
    """Return a workload; Invalid (`invalid_workload`) if the file holds none."""
    try:
        data = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as exc:
        raise Invalid(f"{path} is no JSON: {exc}", code="invalid_workload") from exc
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise Invalid(
            f"{path} is no workload: its `format` must be {FORMAT}", code="invalid_workload"
        )
    return data


def site_key() -> Key:
    return Key("Site", COMMON, FEDERATION, NAME)


def key(kind: str, name: str) -> Key:
    return Key(kind, COMMON, SITE, name)


def sources(workload: JSON) -> list[Source]:
    """Return a site's objects for a workload; Invalid (`invalid_workload`) if it has gaps."""
    try:
        return _sources(workload)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise Invalid(f"the workload is incomplete: {exc!r}", code="invalid_workload") from exc


def _sources(workload: JSON) -> list[Source]:
    networks, services = workload["networks"], workload["services"]
    found = [Source(site_key(), {}, {})]
    for name, prefixes in networks.items():
        found.append(
            Source(Key("Network", COMMON, SITE, name), {"subnets": prefixes}, {"net": name})
        )
    for name, service in services.items():
        entry = {
            "protocol": service["proto"],
            "ports": [f"{low}-{high}" for low, high in service["ports"]],
        }
        found.append(Source(key("Service", name), {"entries": [entry]}, {}))
    peers = {name: {"network": name} for name in networks}
    served = {name: [{"service": name}] for name in services}
    rules = [
        {
            "name": rule["name"],
            "from": [peers[name] for name in rule["src"]],
            "to": [peers[name] for name in rule["dst"]],
            "services": served[rule["service"]],
            "action": _ACTIONS[rule["action"]],
        }
        for rule in workload["rules"]
    ]
    for start in range(0, len(rules), RULES_IN_A_POLICY):
        policy = key("SecurityPolicy", f"{NAME}-{start // RULES_IN_A_POLICY:06d}")
        found.append(Source(policy, {"rules": rules[start : start + RULES_IN_A_POLICY]}, {}))
    return found


def inventory(workload: JSON, dice: random.Random) -> tuple[list[Source], list[str]]:
    """Return nodes and workloads, policies that make single changes matter, and the networks that
    at least USES rules use.

    A workload's label changes only what rules select by it, so one more policy does, a rule for
    each tier.  Where no network is used that often, another policy uses some more.
    """
    found = [Source(key("Node", f"node-{number}"), {}, {}) for number in range(NODES)]
    names = list(workload["networks"])
    services = list(workload["services"])
    for number, name in enumerate(names):
        address = workload["networks"][name][0].partition("/")[0]
        spec = {"addresses": [address], "node": f"node-{number % NODES}"}
        labels = {"net": name, "tier": tier(number // 7)}
        found.append(Source(key("Workload", f"workload-{number}"), spec, labels))

    def rule(name: str, peers: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": name,
            "from": peers,
            "to": [{"network": dice.choice(names)}],
            "services": [{"service": dice.choice(services)}],
            "action": "allow",
        }

    tiers = [
        rule(f"tier-{number}", [{"workloads": {"matchLabels": {"tier": tier(number)}}}])
        for number in range(TIERS)
    ]
    found.append(Source(key("SecurityPolicy", "tiers"), {"rules": tiers}, {}))
    uses = Counter(name for each in workload["rules"] for name in {*each["src"], *each["dst"]})
    busy = sorted([name for name in names if uses[name] >= USES], key=lambda name: uses[name])
    if not busy:
        busy = dice.sample(names, min(BUSY, len(names)))
        more = [
            rule(f"more-{name}-{number}", [{"network": name}, {"network": dice.choice(names)}])
            for name in busy
            for number in range(USES - uses[name])
        ]
        found.append(Source(key("SecurityPolicy", "more"), {"rules": more}, {}))
    return found, busy[:BUSY]


def tier(number: int) -> str:
    return f"t{number % TIERS}"
