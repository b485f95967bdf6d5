"""What decides, besides its own objects, what a draft does at the sites.  Pure.

* Definitions of the same name in other scopes, of its tenant and of `common`: the nearest counts.
* The networks and services that its policies name, or may select.
* The policies that name its networks and services, or may select them.
* Every Site and every Region: they say whom it is for.

Other policies are not among them, although they may come before the draft's own: in a federation
where many people write, nobody could ever apply what he has looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fsm.feed.select import references_of
from shared.ids import COMMON, Key
from shared.objects.admission import Batch
from shared.store.contract import Stored

POLICY: Final = "SecurityPolicy"
NAMES: Final = frozenset({"Network", "Service"})
PLACES: Final = frozenset({"Site", "Region"})
KINDS: Final = NAMES | PLACES | {POLICY}
"""The kinds of what may decide."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A document of the draft, as it is or as it is to be."""

    key: Key
    spec: Mapping[str, Any]


def deciding(batch: Batch, changed: Sequence[Stored]) -> Sequence[Stored]:
    """Return, of objects that have changed, those that decide what a draft does."""
    pieces = list(_pieces(batch))
    return [each for each in changed if any(_decides(each, piece) for piece in pieces)]


def _pieces(batch: Batch) -> Iterator[_Piece]:
    for each in batch.proposals:
        if each.before is not None:
            yield _Piece(each.key, each.before.spec)
        if each.draft is not None:
            yield _Piece(each.key, each.draft.spec)


def _decides(changed: Stored, piece: _Piece) -> bool:
    key, drafted = changed.key, piece.key
    if drafted.kind not in KINDS:
        return False
    if key.kind in PLACES:
        return True
    if (key.kind, key.name) == (drafted.kind, drafted.name):
        return key.tenant == drafted.tenant or COMMON in (key.tenant, drafted.tenant)
    if drafted.kind == POLICY and key.kind in NAMES:
        return _means(drafted, piece.spec, key)
    return drafted.kind in NAMES and key.kind == POLICY and _means(key, changed.spec, drafted)


def _means(policy: Key, spec: Mapping[str, Any], named: Key) -> bool:
    """Return whether a policy names a network or service, or may select it."""
    for kind, name in references_of(spec):
        if kind != named.kind:
            continue
        if name is None and COMMON in (policy.tenant, named.tenant):
            return True
        if name in (None, named.name) and named.tenant in (policy.tenant, COMMON):
            return True
    return False
