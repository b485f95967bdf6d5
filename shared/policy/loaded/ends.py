"""The ends of a view's rules: peers and sides, each once, following what they name."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from shared.algebra.cidrs import BITS, prefix_text
from shared.ids import COMMON
from shared.policy.definitions import Name
from shared.policy.loaded.columns import Columns
from shared.policy.loaded.names import Names, other_text
from shared.policy.loaded.peers import Meaning, Peer, Window
from shared.policy.loaded.selecting import SelectorIndex
from shared.policy.loaded.sides import Side
from shared.policy.loaded.source import JSON, Source
from shared.policy.loaded.stabbing import PrefixIndex
from shared.policy.loaded.workloads import Host, hosts_of, selects_workload


class Ends:
    """Peers and sides, found by what is asked for, and told what changes.

    What changes is noted as windows of sides; take_windows() hands them out.
    """

    def __init__(self, names: Names) -> None:
        self.names: Final = names
        self.fresh: list[Side] = []
        """Sides that nobody has counted own addresses in."""
        self.unresolved: Final[dict[Peer, None]] = {}
        """The peers that name a network without a meaning."""
        self._sides: Final[dict[frozenset[Peer], Side]] = {}
        self._bounds: Final[dict[str, Side]] = {}
        self._named: Final[dict[str, dict[str, Peer]]] = {}
        """The peers that name a network, by tenant and name; `_others` by tenant and text."""
        self._others: Final[dict[tuple[str, str], Peer]] = {}
        self._network_selectors: Final = SelectorIndex()
        self._workload_selectors: Final = SelectorIndex()
        self._covering: PrefixIndex | None = None
        """Made when an own address changes for the first time."""
        self._windows: dict[Side, list[Window]] = {}

    def load(self, columns: Columns) -> list[Side]:
        """Make sides of columns, and return them by row."""
        peers = [
            each if isinstance(each, Peer) else self.names.named_peer(*each)
            for each in columns.peers
        ]
        tenants = {row: tenant for tenant, row in columns.bound_rows.items()}
        bounding = {row for side in tenants for row in columns.sides[side]}
        for row, peer in enumerate(peers):
            if row not in bounding:
                self._add_peer(peer)
        sides = []
        for row, rows in enumerate(columns.sides):
            of = [*dict.fromkeys([peers[each] for each in rows])]
            if row in tenants:
                side = self._add_bound(tenants[row], of)
            else:
                side = self._sides.get(frozenset(of)) or self._add_side(of)
            side.settle(columns.cidrs[row])
            sides.append(side)
        return sides

    def take_windows(self) -> dict[Side, list[Window]]:
        """Return where sides may have changed since the last time."""
        windows, self._windows = self._windows, {}
        return windows

    def network_changed(self, name: Name) -> None:
        """Note that a definition of a network, or an override of it, came, went or changed."""
        old, new = self.names.refresh(name)
        for tenant in self._named if name.tenant == COMMON else (name.tenant,):
            peer = self._named.get(tenant, {}).get(name.name)
            if peer is not None:
                self._look_up(peer)
        # A tenant's own declaration decides whether its selectors see the common one.
        twin = Name(name.kind, COMMON, name.name)
        meant = self.names.meaning(twin) if name.tenant != COMMON else None
        labels = [each.labels for each in (old, new, meant) if each is not None]
        for peer in self._network_selectors.candidates(*labels):
            self._take(peer, name, self.names.selected(peer, name))
            if meant is not None and peer.tenant == name.tenant:
                self._take(peer, twin, self.names.selected(peer, twin))
        bound = self._bounds.get(name.tenant)
        if bound is not None:
            self._take(bound.peers[0], name, new)

    def workload_changed(self, before: Source | None, after: Source | None) -> None:
        """Note that a workload came, went, or has other labels or addresses."""
        versions = [each for each in (before, after) if each is not None]
        old, new = hosts_of(before), hosts_of(after)
        for peer in self._workload_selectors.candidates(*(each.labels for each in versions)):
            gone = old if before is not None and selects_workload(peer, before) else []
            come = new if after is not None and selects_workload(peer, after) else []
            self._change_hosts(peer, gone, come)
        # A workload keeps its tenant: another tenant makes another workload.
        bound = self._bounds.get(versions[0].key.tenant)
        if bound is not None:
            self._change_hosts(bound.peers[1], old, new)

    def covering(self, host: Host) -> Iterable[Side]:
        if self._covering is None:
            self._covering = PrefixIndex()
            for peer in self._every_peer():
                self._cover(peer)
        found: dict[Side, None] = {}
        for peer in self._covering.covering(*host):
            found.update(peer.sides)
        return found

    def _cover(self, peer: Peer) -> None:
        if self._covering is not None:
            for cidr in peer.cidrs():
                self._covering.put(cidr, peer)

    def _every_peer(self) -> Iterator[Peer]:
        yield from self._others.values()
        for named in self._named.values():
            yield from named.values()
        for bound in self._bounds.values():
            yield from bound.peers

    def side(self, tenant: str, given: Any) -> Side | None:
        """Return the side that a list of peers is; None for any."""
        if given == "any":
            return None
        peers = dict.fromkeys([self._peer(tenant, each) for each in given])
        side = self._sides.get(frozenset(peers))
        if side is None:
            side = self._add_side([*peers])
            self.fresh.append(side)
        return side

    def _add_side(self, peers: Sequence[Peer]) -> Side:
        side = self._sides[frozenset(peers)] = Side(peers)
        for peer in peers:
            peer.sides[side] = None
        return side

    def _peer(self, tenant: str, given: JSON) -> Peer:
        if "network" in given:
            name = given["network"]
            peer = self._named.get(tenant, {}).get(name)
            return self._add_peer(self.names.named_peer(tenant, name)) if peer is None else peer
        text = other_text(given)
        peer = self._others.get((tenant, text))
        if peer is None:
            peer = self._add_peer(self.names.other_peer(tenant, text, given))
        return peer

    def _add_peer(self, peer: Peer) -> Peer:
        if peer.kind == "network":
            self._named.setdefault(peer.tenant, {})[peer.name] = peer
            if not peer.members:
                self.unresolved[peer] = None
        else:
            self._others[peer.tenant, peer.text] = peer
        if peer.kind == "networks":
            self._network_selectors.put(peer)
        elif peer.kind == "workloads":
            self._workload_selectors.put(peer)
        self._cover(peer)
        return peer

    def bound(self, tenant: str) -> Side:
        """Return a tenant's own addresses, as this view sees them."""
        if tenant not in self._bounds:
            self.fresh.append(self._add_bound(tenant, self.names.bound_peers(tenant)))
        return self._bounds[tenant]

    def _add_bound(self, tenant: str, peers: Sequence[Peer]) -> Side:
        bound = self._bounds[tenant] = Side(peers, tenant)
        for peer in peers:
            peer.sides[bound] = None
            self._cover(peer)
        return bound

    def drop(self, side: Side) -> None:
        """Forget a side that no rule uses.  Bounds stay: there is one for a tenant."""
        if side.tenant_bound is not None:
            return
        del self._sides[frozenset(side.peers)]
        for peer in side.peers:
            del peer.sides[side]
            if not peer.sides:
                self._drop_peer(peer)

    def _drop_peer(self, peer: Peer) -> None:
        if peer.kind == "network":
            del self._named[peer.tenant][peer.name]
            self.unresolved.pop(peer, None)
        else:
            del self._others[peer.tenant, peer.text]
        if peer.kind == "networks":
            self._network_selectors.discard(peer)
        elif peer.kind == "workloads":
            self._workload_selectors.discard(peer)
        if self._covering is not None:
            for cidr in peer.cidrs():
                self._covering.discard(cidr, peer)

    # Peers follow what they name.

    def _look_up(self, peer: Peer) -> None:
        """Let a peer that names a network take what that is now."""
        name = self.names.lookup("Network", peer.tenant, peer.name)
        for other in [each for each in peer.members if each != name]:
            self._take(peer, other, None)
        self._take(peer, name, self.names.meaning(name))

    def _take(self, peer: Peer, name: Name, meaning: Meaning | None) -> None:
        before = peer.members.get(name)
        if before is meaning:
            return
        windows = peer.change_member(name, meaning)
        for side in peer.sides:
            side.forget_names()
        if peer.kind == "network" and not peer.members:
            self.unresolved[peer] = None
        else:
            self.unresolved.pop(peer, None)
        if self._covering is not None:
            for cidr in before.subnets if before is not None else ():
                self._covering.discard(cidr, peer)
            for cidr in meaning.subnets if meaning is not None else ():
                self._covering.put(cidr, peer)
        self._spread(peer, windows)

    def _change_hosts(self, peer: Peer, gone: Sequence[Host], come: Sequence[Host]) -> None:
        if gone == come:
            return
        windows = peer.change_hosts(gone, come)
        if self._covering is not None:
            for window in windows:
                cidr = prefix_text(window.family, window.start, BITS[window.family])
                if (window.family, window.start) in peer.hosts:
                    self._covering.put(cidr, peer)
                else:
                    self._covering.discard(cidr, peer)
        self._spread(peer, windows)

    def _spread(self, peer: Peer, windows: list[Window]) -> None:
        if windows:
            for side in peer.sides:
                self._windows.setdefault(side, []).extend(windows)
