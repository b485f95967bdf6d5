"""What nodes have counted for staged policies, added up for the site.

A node reports how far its counters have come; what is added is how far they have moved since.  A
counter that stands lower than before has begun anew, with the node: what it counted between its
last report and that is lost.  What was added and where each counter stood then are written
together, so that a site which is killed neither loses a count nor adds it twice; what nodes count
meanwhile is added afterwards.

Counts are of a policy's present text: they begin anew when it changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sdsp.compile.compiler import Compilation
from sdsp.nodes.states import NodeStates
from sdsp.staged.facts import NOTHING, PolicyName, StagedFacts, StagedPolicy
from shared.clock import Clock
from shared.http.response import timestamp
from shared.ids import Key
from shared.policy.inputs import is_inherited_scope
from shared.policy.nodestaged import counted_for
from shared.store.contract import Store, Transaction
from shared.tasks.loop import Outcome

SPACE: Final = "staged"

# What goes to the FSM moves at most so often: a report carries all of the site's policies.
UPWARD_PERIOD: Final = timedelta(seconds=30)

JSON = Mapping[str, Any]


@dataclass(slots=True)
class RuleCount:
    """How many first packets a rule would newly deny and allow, and when one was last counted."""

    deny: int = 0
    allow: int = 0
    last: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"wouldDeny": self.deny, "wouldAllow": self.allow, "lastAt": self.last}


@dataclass(slots=True)
class PolicyCount:
    """The counts of a policy's present text, since it is known here."""

    content: str
    since: str
    rules: dict[str, RuleCount] = field(default_factory=dict)
    seen: dict[str, dict[str, int]] = field(default_factory=dict)
    """By node and counter: how far it had come."""

    def take(self, node: str, counter: str, value: int, rule: str, *, at: str) -> bool:
        """Add what a counter has moved; return whether it has."""
        known = self.seen.setdefault(node, {})
        before = known.get(counter, 0)
        if value == before:
            return False
        known[counter] = value
        moved = value - before if value > before else value
        difference = counted_for(counter)
        assert difference is not None, "it counts for what is staged"
        count = self.rules.setdefault(rule, RuleCount())
        if difference.would == "deny":
            count.deny += moved
        else:
            count.allow += moved
        if moved:
            count.last = at
        return True

    def miss(self, node: str, counters: Mapping[str, int]) -> bool:
        """Mind counters that stand at nothing, which nodes leave out; return whether any do."""
        known = self.seen.get(node, {})
        gone = [name for name in known if name not in counters]
        for name in gone:
            del known[name]
        return bool(gone)

    def total(self) -> RuleCount:
        """Return the sum over all rules."""
        counts = self.rules.values()
        return RuleCount(
            sum(each.deny for each in counts),
            sum(each.allow for each in counts),
            max((each.last for each in counts if each.last), default=None),
        )

    def begin_anew(self, content: str, since: str) -> "PolicyCount":
        """Return the counts of another text; counters go on from where they are."""
        return PolicyCount(content, since, seen=self.seen)

    def to_record(self) -> dict[str, Any]:
        rules = {name: [each.deny, each.allow, each.last] for name, each in self.rules.items()}
        return {"content": self.content, "since": self.since, "rules": rules, "seen": self.seen}

    @classmethod
    def of(cls, record: JSON) -> "PolicyCount":
        return cls(
            record["content"],
            record["since"],
            {name: RuleCount(*each) for name, each in record["rules"].items()},
            {node: dict(counters) for node, counters in record["seen"].items()},
        )


@dataclass(frozen=True, slots=True)
class _Upward:
    """What was told to the FSM, when, and of which texts of which policies."""

    at: datetime
    texts: list[tuple[Key, str]]
    items: list[dict[str, Any]]


class StagedCounts:
    """A reconciler that adds up what nodes have reported, and keeps it in the store."""

    name = "count for staged policies"

    def __init__(
        self,
        store: Store,
        states: NodeStates,
        *,
        newest: Callable[[], Compilation | None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._states = states
        self._newest = newest
        self._clock = clock
        self._counts: dict[PolicyName, PolicyCount] = {}
        self._dirty: set[PolicyName] = set()
        self._loaded = False
        self._upward: _Upward | None = None

    async def reconcile(self) -> Outcome:
        newest = self._newest()
        if newest is None:
            return Outcome()
        if not self._loaded:
            await self._load()
        facts, now = newest.staged, timestamp(self._clock.now())
        gone = [name for name in self._counts if name not in facts.policies]
        for name in gone:
            del self._counts[name]
        self._dirty.update(gone)
        for name, policy in facts.policies.items():
            self._begin(name, policy, now)
        if facts.policies:
            nodes = newest.planner.places.nodes
            for node in nodes:
                self._take(node, facts, now)
            for count in self._counts.values():
                for node in [each for each in count.seen if each not in nodes]:
                    del count.seen[node]
        return Outcome(changed=await self._write())

    def shown(self, sees: Callable[[Key, Mapping[str, str]], bool]) -> list[dict[str, Any]]:
        """Return the staged policies that somebody sees, with their counts by rule."""
        found = []
        for name, policy in self._facts().policies.items():
            objects = [key for key in policy.objects if sees(key, policy.labels[key])]
            if objects:
                found.append(self._policy(name, policy, objects))
        return found

    def upward(self) -> list[dict[str, Any]]:
        """Return the counts of inherited policies for the FSM: names and numbers."""
        counted = [
            (key, count)
            for name, policy in self._facts().policies.items()
            if (count := self._counts.get(name)) is not None
            for key in policy.objects
            if is_inherited_scope(key.scope)
        ]
        now, texts = self._clock.now(), [(key, count.content) for key, count in counted]
        last = self._upward
        if last is None or last.texts != texts or now - last.at >= UPWARD_PERIOD:
            items = [
                {**key._asdict(), "since": count.since, **count.total().to_json()}
                for key, count in counted
            ]
            last = self._upward = _Upward(now, texts, items)
        return last.items

    def _facts(self) -> StagedFacts:
        newest = self._newest()
        return newest.staged if newest is not None else NOTHING

    def _policy(self, name: PolicyName, policy: StagedPolicy, objects: list[Key]) -> dict[str, Any]:
        count = self._counts.get(name)
        rules = count.rules if count is not None else {}
        return {
            "tenant": name.tenant,
            "name": name.name,
            "objects": [
                {"kind": key.kind, "scope": key.scope, "name": key.name} for key in objects
            ],
            "since": count.since if count is not None else None,
            **(count.total() if count is not None else RuleCount()).to_json(),
            "rules": [
                {"rule": each, **rules.get(each, RuleCount()).to_json()} for each in policy.rules
            ],
        }

    def _begin(self, name: PolicyName, policy: StagedPolicy, now: str) -> None:
        known = self._counts.get(name)
        if known is None:
            self._counts[name] = PolicyCount(policy.content, now)
        elif known.content != policy.content:
            self._counts[name] = known.begin_anew(policy.content, now)
        else:
            return
        self._dirty.add(name)

    def _take(self, node: str, facts: StagedFacts, now: str) -> None:
        counters = self._states.get(node).counters
        if not counters:
            # Nothing was heard yet, or its data plane could not be asked.
            return
        for name, count in self._counts.items():
            if count.miss(node, counters):
                self._dirty.add(name)
        for counter, value in counters.items():
            difference = counted_for(counter)
            if difference is None or difference.rule not in facts.rules:
                continue
            name, rule = facts.rules[difference.rule]
            if self._counts[name].take(node, counter, value, rule, at=now):
                self._dirty.add(name)

    async def _load(self) -> None:
        async with self._store.snapshot() as snapshot:
            for name, record in (await snapshot.records(SPACE)).items():
                tenant, _, policy = name.partition("/")
                self._counts[PolicyName(tenant, policy)] = PolicyCount.of(record)
        self._loaded = True

    async def _write(self) -> int:
        dirty = sorted(self._dirty)
        if not dirty:
            return 0

        async def work(transaction: Transaction) -> None:
            for name in dirty:
                count, record = self._counts.get(name), f"{name.tenant}/{name.name}"
                if count is None:
                    await transaction.delete_record(SPACE, record)
                else:
                    await transaction.put_record(SPACE, record, count.to_record())

        await self._store.transact(work)
        self._dirty.difference_update(dirty)
        return len(dirty)
