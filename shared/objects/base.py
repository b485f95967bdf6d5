"""A draft that was judged against a revision is written only while what it rests on stands.

What has changed since is refused by name, all at once, before anything is written.  Its own
objects always count; what else decides what a draft does, the component says.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.auth.identity import Caller
from shared.errors import Conflict, FieldError
from shared.http.response import timestamp
from shared.ids import Key
from shared.objects.admission import ACCEPTED, Base, Batch, Review
from shared.objects.rights import may_read
from shared.store.contract import Change, Position, Selection, Snapshot, Store, Stored

Deciding = Callable[[Batch, Sequence[Stored]], Sequence[Stored]]
"""Returns, of objects that have changed, those that decide what a batch does."""

# Of thousands that have changed somebody reads the first few.
_NAMED: Final = 20


def nothing_else(_batch: Batch, _changed: Sequence[Stored]) -> Sequence[Stored]:
    """Let nothing but its own objects decide what a batch does."""
    return ()


class UnmovedBase:
    """An Admission for batches that say against which revision they were judged."""

    def __init__(
        self,
        store: Store,
        *,
        kinds: frozenset[str] = frozenset(),
        deciding: Deciding = nothing_else,
    ) -> None:
        """`kinds` are those among which `deciding` looks."""
        self._store = store
        self._kinds = kinds
        self._deciding = deciding

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        """Accept a batch whose base still stands; Conflict (`base_moved`) with what has changed."""
        if batch.base is None:
            return ACCEPTED
        _check_history(batch.base, snapshot.position)
        own = {each.key: index for index, each in enumerate(batch.proposals)}
        selection = Selection(kinds=self._kinds | {key.kind for key in own})
        changed = {
            each.key: each
            for each in await snapshot.list(selection)
            if each.revision > batch.base.revision
        }
        gone = {
            each.key: each
            for each in await snapshot.deleted(batch.base.revision, selection)
            if each.key not in changed
        }
        every = [*changed.values(), *(each.before for each in gone.values() if each.before)]
        moved = [each for each in every if each.key in own]
        moved += [each for each in self._deciding(batch, every) if each.key not in own]
        if moved:
            raise await self._moved(batch, moved, gone, own)
        return Review(depends_on=selection)

    async def _moved(
        self, batch: Batch, moved: Iterable[Stored], gone: dict[Key, Change], own: dict[Key, int]
    ) -> Conflict:
        found = sorted(moved, key=lambda each: each.key)
        fields = []
        for each in found[:_NAMED]:
            alone = len(batch.proposals) == 1 or each.key not in own
            path = "" if alone else f"operations[{own[each.key]}].object"
            said = await self._said(batch.caller, each, gone.get(each.key))
            fields.append(FieldError(path, "base_moved", said))
        assert batch.base is not None
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        message = (
            f"what this was judged by at revision {batch.base.revision} has changed since: "
            + "; ".join(each.message for each in fields)
            + f"{more}. Look at it again (hanse diff), and apply what you then see"
        )
        return Conflict(
            message,
            code="base_moved",
            fields=fields,
            recorded=f"{len(found)} objects have changed since revision {batch.base.revision}",
        )

    async def _said(self, caller: Caller, each: Stored, deleted: Change | None) -> str:
        """Return what became of an object, by whom and when, as far as the caller may know."""
        key = each.key
        if not may_read(caller, key, each.labels):
            return "something that you may not see"
        who = ""
        if authorize(caller, Permission.READ_AUDIT, tenant=key.tenant).allowed:
            records = await self._store.audit_records(key=key, committed=True, limit=1)
            who = "".join(f" by {record.identity}" for _, record in records)
        if deleted is not None:
            return f"{key} was deleted{who} in revision {deleted.revision}"
        return f"{key} was changed{who} in revision {each.revision}, {timestamp(each.updated_at)}"


def _check_history(base: Base, now: Position) -> None:
    """Raise Conflict unless the base is a revision of this very store."""
    if base.incarnation and not str(now.incarnation).startswith(base.incarnation):
        raise _another("the server's store was restored, or made anew, since")
    if base.revision > now.revision:
        raise _another(f"the server's store is only at revision {now.revision}")


def _another(why: str) -> Conflict:
    return Conflict(f"the base of this is unknown here: {why}. Look again", code="base_moved")
