"""The observed flows whose verdict a change would turn.  `reject` counts as `deny`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.algebra.cidrs import Family
from shared.model.inventory import Workload
from shared.policy.compile import SitePlanner
from shared.policy.flow_columns import UNKNOWN, UNTIMED, VERDICTS, FlowColumns, Observed
from shared.policy.flows import packet_json
from shared.policy.impact.outcomes import Outcomes, outcomes

Places = npt.NDArray[np.int64]
JSON = dict[str, Any]

EXAMPLES: Final = 10
"""Of each kind, so many examples are told."""

_HALF: Final = 32  # bits: sums of halves fit
_FITS: Final = 1 << 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Changed:
    """Flows of one kind: how many, their bytes, when the last was seen (None: not recorded), and
    the most weighty, all flows of a pair of addresses and a service together.
    """

    flows: int
    octets: int | None
    last_seen: datetime | None
    examples: tuple[JSON, ...]
    truncated: bool

    def to_json(self) -> JSON:
        return {
            "flows": self.flows,
            "bytes": self.octets,
            "lastSeen": _time_text(self.last_seen),
            "examples": list(self.examples),
            "truncated": self.truncated,
        }


_NONE: Final = Changed(0, None, None, (), truncated=False)


@dataclass(frozen=True, slots=True)
class FlowImpact:
    """What a change does to the flows of a window; `judged` is how many there are."""

    since: datetime | None
    judged: int
    allowed: Changed
    denied: Changed

    def to_json(self) -> JSON:
        return {
            "since": _time_text(self.since),
            "judged": self.judged,
            "newlyAllowed": self.allowed.to_json(),
            "newlyDenied": self.denied.to_json(),
        }


def no_impact(observed: Observed) -> FlowImpact:
    """Return the same where no flow changes."""
    return FlowImpact(observed.since, len(observed.flows), _NONE, _NONE)


def flow_impact(
    before: SitePlanner,
    after: SitePlanner,
    observed: Observed,
    *,
    node: str | None = None,
    staged: bool = False,
) -> FlowImpact:
    """Return what going from one version to another does to flows that were observed.

    NotFound (`unknown_site`, `unknown_node`) if a version doesn't have it.
    """
    flows = observed.flows
    was, becomes = (outcomes(each, observed, node=node, staged=staged) for each in (before, after))
    telling = _Telling(flows, was, becomes, _names(before, after))
    return FlowImpact(
        observed.since,
        len(flows),
        telling.changed(np.flatnonzero(becomes.allowed & ~was.allowed)),
        telling.changed(np.flatnonzero(was.allowed & ~becomes.allowed)),
    )


class _Telling:
    def __init__(
        self,
        flows: FlowColumns,
        before: Outcomes,
        after: Outcomes,
        names: Mapping[tuple[Family, int], str],
    ) -> None:
        self._flows: Final = flows
        self._before: Final = before
        self._after: Final = after
        self._names: Final = names

    def changed(self, places: Places) -> Changed:
        """Return what is told of the flows at these places."""
        if not len(places):
            return _NONE
        order, starts = self._alike(places)
        places = places[order]
        octets, last_seen = self._flows.octets[places], self._flows.last_seen[places]
        counts = np.diff(starts, append=len(places))
        best = _heaviest(octets, counts, starts)
        return Changed(
            len(places),
            _sum(octets),
            _moment(int(last_seen.max())),
            tuple(
                self._example(places[start : start + count])
                for start, count in zip(starts[best], counts[best], strict=True)
            ),
            truncated=len(best) < len(starts),
        )

    def _alike(self, places: Places) -> tuple[Places, Places]:
        """Return an order in which flows of equal ends and service are neighbours, and where each
        such group begins.
        """
        flows = self._flows
        addresses, services = len(flows.v4) + len(flows.v6), len(flows.services)
        keys = [each[places] for each in (flows.service, flows.destination, flows.source)]
        if addresses * addresses * services < _FITS:
            service, destination, source = keys
            key = (source.astype(np.int64) * addresses + destination) * services + service
            order = np.argsort(key, kind="stable")
            new = np.diff(key[order]) != 0
        else:
            order = np.lexsort(keys)
            new = np.zeros(len(places) - 1, dtype=bool)
            for each in keys:
                new |= np.diff(each[order]) != 0
        return order, np.concatenate(([0], np.flatnonzero(new) + 1))

    def _example(self, places: Places) -> JSON:
        """Return some flows of equal ends and service, with what decides the latest of them."""
        flows = self._flows
        times = flows.last_seen[places]
        latest = int(places[int(np.argmax(times))])
        packet = flows.packet(latest)
        told = packet_json(packet)
        told.pop("sourcePort", None)
        for name, value in (("from", packet.source), ("to", packet.destination)):
            if workload := self._names.get((packet.family, value)):
                told[f"{name}Workload"] = workload
        recorded = int(flows.verdicts[latest])
        return {
            **told,
            "flows": len(places),
            "bytes": _sum(flows.octets[places]),
            "lastSeen": _time_text(_moment(int(times.max()))),
            "recorded": None if recorded == UNKNOWN else VERDICTS[recorded],
            "before": self._before.decision(latest),
            "after": self._after.decision(latest),
        }


def _heaviest(octets: Places, counts: Places, starts: Places) -> Places:
    """Return the groups with the most bytes; among equals those with more flows, then in order of
    addresses.
    """
    known = np.maximum(octets, 0)
    if (total := _sum(octets)) is None or total < _FITS:
        weights = np.add.reduceat(known, starts)
    else:
        # Nobody moves so much; whoever says so gets an order by half of the digits.
        weights = np.add.reduceat(known >> _HALF, starts)
    if len(weights) > EXAMPLES:
        least = np.partition(weights, -EXAMPLES)[-EXAMPLES]
        candidates = np.flatnonzero(weights >= least)
    else:
        candidates = np.arange(len(weights))
    order = np.lexsort((candidates, -counts[candidates], -weights[candidates]))
    return candidates[order][:EXAMPLES]


def _sum(octets: Places) -> int | None:
    """Return the sum of what was counted, exactly; None if nothing was."""
    known = octets[octets != UNKNOWN]
    if not len(known):
        return None
    return (int((known >> _HALF).sum()) << _HALF) + int((known & ((1 << _HALF) - 1)).sum())


def _moment(instant: int) -> datetime | None:
    return None if instant == UNTIMED else _EPOCH + timedelta(microseconds=instant)


def _time_text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _names(*planners: SitePlanner) -> dict[tuple[Family, int], str]:
    """Return the workload that has each address; that of the later version, of several the first
    by tenant and name.
    """
    found: dict[tuple[Family, int], str] = {}
    for planner in planners:
        for document in sorted(planner.workloads.documents, key=_last_first, reverse=True):
            spec = document.spec
            if isinstance(spec, Workload):
                for family, value in _hosts(spec):
                    found[family, value] = document.key.name
    return found


def _last_first(document: Any) -> Any:
    return document.key.tenant, document.key.name


def _hosts(spec: Workload) -> Iterable[tuple[Family, int]]:
    for each in spec.addresses:
        yield (4 if each.version == 4 else 6), int(each)
