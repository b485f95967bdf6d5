"""A draft as the FSM judges it: what it may hold, and what would be refused of it.

Nothing is written, so nobody needs the right to write: who may see an object may ask what would
become of it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from fsm.feed.item import Item
from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.auth.identity import Caller
from shared.errors import Forbidden, Invalid, NotFound
from shared.ids import Generation, Key, Revision
from shared.objects.admission import Admission, Batch, Proposal
from shared.objects.rights import absent, check_read, check_scope, may_read
from shared.objects.service import Write, refuse
from shared.store.contract import Draft, Snapshot, Stored


async def judged(
    caller: Caller,
    writes: Sequence[Write],
    snapshot: Snapshot,
    admission: Admission,
    *,
    force: bool,
) -> None:
    """Raise what an apply would be refused for, but for the right to write.

    Forbidden and NotFound for what the caller may not see; Invalid with the fields.
    """
    proposals = []
    for each in writes:
        check_scope("fsm", each.key)
        before = await snapshot.get(each.key)
        _check_sight(caller, each, before)
        if each.envelope is None and before is None:
            raise NotFound(f"there is no {each.key}")
        proposals.append(Proposal(each.operation, each.key, each.envelope, _draft(each), before))
    if len({each.key for each in writes}) < len(writes):
        raise Invalid("an object stands twice in the draft", code="duplicate")
    review = await admission.review(Batch(tuple(proposals), caller, force=force), snapshot)
    refuse(review.faults, alone=len(writes) == 1)


def items(
    writes: Sequence[Write], before: Mapping[Key, Item], *, revision: int, now: datetime
) -> dict[Key, Item | None]:
    """Return what a draft makes of each object; None deletes.  What stays the same is left out."""
    found: dict[Key, Item | None] = {}
    for each in writes:
        draft, old = _draft(each), before.get(each.key)
        if draft is None:
            found[each.key] = None
        elif old is None or not _is_same(draft, old.stored):
            found[each.key] = Item(_stored(draft, old, revision=revision + 1, now=now))
    return found


def _check_sight(caller: Caller, write: Write, before: Stored | None) -> None:
    key = write.key
    check_read(caller, key)
    if before is not None and not may_read(caller, key, before.labels):
        raise absent(key)
    labels = write.envelope.metadata.labels if write.envelope else before.labels if before else {}
    decision = authorize(
        caller, Permission.TRACE, tenant=key.tenant, scope=key.scope, labels=labels
    )
    if not decision.allowed:
        raise Forbidden(decision.reason)


def _draft(write: Write) -> Draft | None:
    if write.envelope is None:
        return None
    metadata = write.envelope.metadata
    return Draft(
        write.key,
        write.envelope.spec.to_json(),
        dict(metadata.labels),
        dict(metadata.annotations),
    )


def _is_same(draft: Draft, stored: Stored) -> bool:
    """Return whether a site would be delivered just what it has."""
    return (
        draft.spec == stored.spec
        and dict(draft.labels) == dict(stored.labels)
        and dict(draft.annotations) == dict(stored.annotations)
    )


def _stored(draft: Draft, old: Item | None, *, revision: int, now: datetime) -> Stored:
    was = old.stored if old else None
    return Stored(
        draft.key,
        was.uid if was else "draft",
        draft.spec,
        draft.labels,
        draft.annotations,
        None,
        Revision(revision),
        Generation((was.generation if was else 0) + 1),
        was.created_at if was else now,
        now,
    )
