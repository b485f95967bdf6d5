"""Two loaded sites side by side: what is enforced, and what would be if staged policies were.

Staging may replace, suspend and move other policies, so what would be is a site of its own, kept
by the same changes.  It is there only while something is staged; a node is told of it only if it
would be enforced otherwise there, and if its agent can count (`counts`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.ids import Key
from shared.policy.loaded.nodes import LoadedNode, Step
from shared.policy.loaded.site import LoadedSite, Steps
from shared.policy.loaded.source import Source
from shared.policy.nodeconfig import NodeConfiguration, to_json
from shared.policy.nodehash import counted_hash
from shared.policy.nodestaged import with_staged


def is_staged(source: Source) -> bool:
    """Return whether an object is a staged policy, or an exception that says so."""
    spec: Any = source.data
    if source.key.kind == "Override":
        spec = spec["spec"]
    return source.key.kind in ("SecurityPolicy", "Override") and spec.get("stage") == "staged"


@dataclass(frozen=True, slots=True)
class _Known:
    """What a node was last told: the hash, and whether something staged was with it."""

    hash: str
    counting: bool


class StagingSite:
    """A loaded site, with what is staged there."""

    def __init__(
        self,
        site: str,
        sources: Iterable[Source],
        *,
        now: datetime,
        counts: Callable[[str], bool] = lambda _: True,
        balances: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`counts` and `balances` ask if a node's agent can.  What is enforced has its own view.

        NotFound as LoadedSite.
        """
        given = list(sources)
        self._counts: Final = counts
        self._staging: Final = {source.key for source in given if is_staged(source)}
        self.enforced: Final = LoadedSite(site, given, now=now, own_view=True, balances=balances)
        self._staged: LoadedSite | None = None
        if self._staging:
            self._staged = LoadedSite(site, given, now=now, staged=True, balances=balances)
        self._known = {name: self._now(name) for name in self.enforced.nodes}

    @property
    def nodes(self) -> Mapping[str, LoadedNode]:
        """The admitted nodes, with what they enforce."""
        return self.enforced.nodes

    def hash(self, node: str) -> str:
        """Return the hash of all that a node is told."""
        return self._known[node].hash

    def configuration(self, node: str) -> NodeConfiguration:
        """Return all that a node is told."""
        enforced = self.enforced.configuration(node)
        if self._staged is None or not self._known[node].counting:
            return enforced
        return with_staged(enforced, self._staged.configuration(node))

    def takes(self, put: Iterable[Source]) -> bool:
        """Return whether it can take these in; else, being the first that are staged, they call
        for loading everything.
        """
        return self._staged is not None or not any(is_staged(source) for source in put)

    def look_again(self, node: str) -> bool:
        """Mind what a node's agent can do now; return whether it is told otherwise then."""
        if node not in self._known:
            return False
        for side in (self.enforced, self._staged):
            if side is not None:
                side.balance_again()
        before, after = self._known[node], self._now(node)
        self._known[node] = after
        return before != after

    def change(
        self, put: Iterable[Source] = (), delete: Iterable[Key] = (), *, now: datetime | None = None
    ) -> Steps:
        """Do as LoadedSite.change, on both sides."""
        put, delete = list(put), list(delete)
        assert self.takes(put), "the first that is staged calls for loading everything"
        found = dict(self.enforced.change(put, delete, now=now))
        if self._staged is not None:
            staged = self._staged.change(put, delete, now=now)
            self._note(put, delete)
            if not self._staging:
                self._staged = None
            found = self._joined(found, staged)
        for name in [each for each in self._known if each not in self.nodes]:
            del self._known[name]
        for name in found.keys() | (self.nodes.keys() - self._known.keys()):
            if name in self.nodes:
                self._known[name] = self._now(name)
        return found

    def _note(self, put: Iterable[Source], delete: Iterable[Key]) -> None:
        self._staging.difference_update(delete)
        for source in put:
            if is_staged(source):
                self._staging.add(source.key)
            else:
                self._staging.discard(source.key)

    def _joined(self, enforced: Mapping[str, Step | None], staged: Steps) -> dict[str, Step | None]:
        """Return the steps of both sides as one for each node."""
        steps: dict[str, Step | None] = {}
        # Without staged policies from now on, whoever counted has to hear of it.
        concerned = self._known.keys() if self._staged is None else enforced.keys() | staged.keys()
        for name in concerned:
            if name not in self.nodes:
                steps[name] = None
                continue
            before, after = self._known[name], self._now(name)
            if before == after:
                continue
            own = enforced.get(name)
            delta: dict[str, Any] = {**(own.delta if own else {})}
            delta |= {"base": before.hash, "hash": after.hash}
            delta |= self._staged_part(name, before, after, staged.get(name))
            steps[name] = Step(before.hash, after.hash, delta)
        return steps

    def _staged_part(
        self, name: str, before: _Known, after: _Known, step: Step | None
    ) -> dict[str, Any]:
        if not after.counting:
            return {"staged": None} if before.counting else {}
        if before.counting:
            return {"staged": {"delta": step.delta}} if step is not None else {}
        assert self._staged is not None, "somebody counts"
        return {"staged": {"snapshot": to_json(self._staged.configuration(name))}}

    def _now(self, name: str) -> _Known:
        own = self.enforced.nodes[name].hash
        if self._staged is None or not self._counts(name):
            return _Known(own, counting=False)
        would = self._staged.nodes[name].hash
        return _Known(counted_hash(own, would), counting=would != own)
