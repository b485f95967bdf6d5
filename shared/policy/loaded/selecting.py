"""Which peers a change of labels may concern, without asking each of them."""

from collections.abc import Iterable, Mapping
from typing import Final

from shared.algebra.labels import LabelIndex, Term
from shared.model.selectors import Selector
from shared.policy.definitions import Name
from shared.policy.loaded.peers import Peer
from shared.policy.resolve import selector_terms


class SelectorIndex:
    """Peers that select by labels, findable by the labels of what they might select."""

    def __init__(self) -> None:
        self._by_label: Final[dict[tuple[str, str], dict[Peer, None]]] = {}
        self._others: Final[dict[Peer, None]] = {}

    def put(self, peer: Peer) -> None:
        labels = _required(peer.selector)
        for label in labels:
            self._by_label.setdefault(label, {})[peer] = None
        if not labels:
            self._others[peer] = None

    def discard(self, peer: Peer) -> None:
        for label in _required(peer.selector):
            peers = self._by_label.get(label, {})
            peers.pop(peer, None)
            if not peers:
                self._by_label.pop(label, None)
        self._others.pop(peer, None)

    def candidates(self, *labels: Mapping[str, str]) -> Iterable[Peer]:
        """Return the peers that may match one of these sets of labels, each once."""
        found: dict[Peer, None] = dict(self._others)
        for each in labels:
            for label in each.items():
                found.update(self._by_label.get(label, {}))
        return found


class NetworkLabels:
    """The labels of the networks that mean something in a view."""

    def __init__(self) -> None:
        self._index: Final = LabelIndex()
        self._names: Final[list[Name]] = []
        self._rows: Final[dict[Name, int]] = {}

    def put(self, name: Name, labels: Mapping[str, str] | None) -> None:
        """Give a network these labels; None if it means nothing any more."""
        row = self._rows.get(name)
        if labels is None:
            if row is not None:
                self._index.discard(row)
            return
        if row is None:
            row = self._rows[name] = len(self._names)
            self._names.append(name)
        self._index.put(row, labels)

    def select(self, terms: Iterable[Term]) -> Iterable[Name]:
        return [self._names[row] for row in self._index.select(terms)]


def _required(selector: Selector | None) -> list[tuple[str, str]]:
    """Return labels of which a match has at least one; none if the selector demands none."""
    if selector is None:
        return []
    for key, operator, values in selector_terms(selector):
        if operator == "In":
            return [(key, value) for value in values]
    return []
