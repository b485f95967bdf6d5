"""A loaded site under random edits, thousands of them: it must stay what a fresh compile is, and
not grow.

Some hundred rules and a hundred nodes, each of which applies its deltas as they travel.
"""

import gc
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from shared.cli.bench.workload import NAME, NODES, inventory, key, sources, tier
from shared.ids import COMMON, Key
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import Source
from shared.policy.nodedelta import apply_delta
from tests.bench.workload import Parameters, generate
from tests.soak.harness import Flat, Run, soak

RULES: Final = 300
NETWORKS: Final = 300
CHECKED: Final = 500
"""So many edits between two comparisons with a fresh compile."""
OWN_POLICIES: Final = 5
"""So many nodes now and then have a policy of their own."""
OVERRIDES: Final = 10
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@soak(
    "planner",
    title="A loaded site that is edited all the time",
    limits={"memory": Flat("MiB", share=0.05, amount=8), "objects": Flat("", 0.05, 2000)},
)
def planner(run: Run) -> None:
    edited = Edited(seed=random.SystemRandom().randrange(1 << 32))
    run.say(f"seed {edited.seed}")
    while run.goes_on():
        steps = edited.steps
        for _ in range(CHECKED):
            edited.edit()
        edited.check()
        gc.collect()
        run.sample(memory=_memory(), objects=len(gc.get_objects()))
        run.carried(edits=CHECKED, steps_of_nodes=edited.steps - steps, comparisons=1)


class Edited:
    """A loaded site, its objects, and what its nodes have applied."""

    def __init__(self, *, seed: int, rules: int = RULES, networks: int = NETWORKS) -> None:
        self.seed = seed
        self._dice = random.Random(seed)
        workload = generate(Parameters(networks=networks, rules=rules, services=50), seed=1)
        more, _ = inventory(workload, self._dice)
        self._objects = {each.key: each for each in (*sources(workload), *more)}
        self._policies = [
            key_ for key_ in self._objects if key_.kind == "SecurityPolicy" and key_.name != "tiers"
        ]
        self._most = {each: len(self._objects[each].data["rules"]) for each in self._policies}
        self._names = {
            kind: [each.name for each in self._objects if each.kind == kind]
            for kind in ("Network", "Service", "Workload")
        }
        self._now = NOW
        self._number = 0
        self._site = LoadedSite(NAME, self._objects.values(), now=NOW)
        self._nodes = {name: self._site.configuration(name) for name in self._site.nodes}
        self.steps = 0
        """How many deltas nodes have applied."""

    def edit(self) -> None:
        """Change one thing, sometimes several at once."""
        edits: tuple[Callable[[], None], ...] = (
            self._rule, self._rule, self._network, self._service, self._relabel, self._move,
            self._admission, self._own_policy, self._override,
        )  # fmt: skip
        self._put: dict[Key, Source] = {}
        self._delete: dict[Key, None] = {}
        for _ in range(self._dice.choice((1, 1, 1, 1, 4))):
            self._dice.choice(edits)()
        now = None
        if self._dice.random() < 0.02:
            now = self._now = self._now + timedelta(days=self._dice.choice((-3, 1, 3)))
        for each in self._delete:
            self._objects.pop(each, None)
        self._objects |= self._put
        self._take(self._put, self._delete, now)

    def check(self) -> None:
        """Hold hashes against those of a fresh compile, and nodes against what they should have."""
        fresh = LoadedSite(NAME, self._objects.values(), now=self._now)
        if fresh.hash() != self._site.hash():
            raise AssertionError(f"seed {self.seed}: edited, the site is another than fresh")
        for name, configuration in self._nodes.items():
            if configuration != fresh.configuration(name):
                raise AssertionError(f"seed {self.seed}: {name} enforces something else")
        if self._nodes.keys() != fresh.nodes.keys():
            raise AssertionError(f"seed {self.seed}: other nodes are admitted")

    def _take(self, put: dict[Key, Source], delete: dict[Key, None], now: datetime | None) -> None:
        gone = [each for each in delete if each not in put]
        for name, step in self._site.change(put.values(), gone, now=now).items():
            if step is None:
                del self._nodes[name]
                continue
            delta: dict[str, Any] = orjson.loads(orjson.dumps(step.delta))
            self._nodes[name] = apply_delta(self._nodes[name], delta)
            self.steps += 1
        for name in self._site.nodes.keys() - self._nodes.keys():
            self._nodes[name] = self._site.configuration(name)

    # One kind of edit each.

    def _change(self, key_: Key, **fields: Any) -> None:
        self._replace(key_, {**self._get(key_).data, **fields})

    def _replace(self, key_: Key, data: dict[str, Any], **labels: str) -> None:
        known = self._get(key_).labels if key_ in self._objects or key_ in self._put else {}
        self._put[key_] = Source(key_, data, {**known, **labels})

    def _get(self, key_: Key) -> Source:
        return self._put.get(key_) or self._objects[key_]

    def _named(self, kind: str) -> Key:
        return key(kind, self._dice.choice(self._names[kind]))

    def _rule(self) -> None:
        policy = self._dice.choice(self._policies)
        rules = list(self._get(policy).data["rules"])
        place = self._dice.randrange(len(rules) + 1)
        if len(rules) > self._most[policy] or (rules and self._dice.random() < 0.3):
            del rules[min(place, len(rules) - 1)]
        else:
            rules.insert(place, self._a_rule())
        self._change(policy, rules=rules)

    def _a_rule(self) -> dict[str, Any]:
        self._number += 1
        peers = [{"network": self._named("Network").name} for _ in range(self._dice.randint(1, 3))]
        selected = {"workloads": {"matchLabels": {"tier": tier(self._dice.randrange(100))}}}
        return {
            "name": f"r-{self._number}",
            "from": self._dice.choice([peers, peers, [selected], "any"]),
            "to": [{"network": self._named("Network").name}],
            "services": [{"service": self._named("Service").name}],
            "action": self._dice.choice(["allow", "deny", "reject", "pass"]),
        }

    def _network(self) -> None:
        found = self._named("Network")
        subnets = list(self._get(found).data["subnets"])
        if len(subnets) > 1:
            del subnets[self._dice.randrange(len(subnets))]
        more = self._dice.randint(0, 2) if len(subnets) < 8 else 0
        drawn = [(self._dice.randrange(256), self._dice.randrange(256)) for _ in range(more)]
        subnets += [f"10.{second}.{third}.0/24" for second, third in drawn]
        self._change(found, subnets=[*dict.fromkeys(subnets)])

    def _service(self) -> None:
        port = self._dice.randrange(1, 60000)
        entries = [{"protocol": "tcp", "ports": [f"{port}-{port + self._dice.randrange(9)}"]}]
        self._change(self._named("Service"), entries=entries)

    def _relabel(self) -> None:
        found = self._named("Workload")
        self._replace(found, dict(self._get(found).data), tier=tier(self._dice.randrange(100)))

    def _move(self) -> None:
        network = self._get(self._named("Network")).data["subnets"][0].partition("/")[0]
        node = f"node-{self._dice.randrange(NODES)}"
        self._change(self._named("Workload"), addresses=[network], node=node)

    def _admission(self) -> None:
        admission = self._dice.choice(["admitted", "admitted", "pending"])
        self._replace(key("Node", f"node-{self._dice.randrange(NODES)}"), {"admission": admission})

    def _own_policy(self) -> None:
        scope = f"node/node-{self._dice.randrange(OWN_POLICIES)}"
        self._put_or_delete(
            Key("SecurityPolicy", COMMON, scope, "own"), {"rules": [self._a_rule()]}
        )

    def _override(self) -> None:
        name = self._names["Network"][self._dice.randrange(OVERRIDES)]
        ends = self._now + timedelta(days=self._dice.randint(-2, 5))
        spec = {
            "target": {"kind": "Network", "name": name},
            "reason": "it must work",
            "expiresAt": ends.isoformat().replace("+00:00", "Z"),
            "spec": {"subnets": [f"10.99.{self._dice.randrange(256)}.0/24"]},
        }
        self._put_or_delete(key("Override", f"over-{name}"), spec)

    def _put_or_delete(self, key_: Key, data: dict[str, Any]) -> None:
        self._put.pop(key_, None)
        if key_ in self._objects and self._dice.random() < 0.5:
            self._delete[key_] = None
        else:
            self._replace(key_, data)


def _memory() -> float:
    """Return how much of this process is resident, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
