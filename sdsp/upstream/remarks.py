"""What is noted of inherited objects when they come, in the transaction that takes them over.

Two things that the objects can't tell later: that one came after the site's own of its name, and
that one came back older than it was.  Notes go with their object.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sdsp.upstream.removals import record_name
from shared.feed.wire import FeedObject
from shared.ids import Key
from shared.policy.conflicts.remarks import Remarks, WentBack
from shared.policy.definitions import INHERITED_KINDS
from shared.policy.inputs import is_inherited_scope
from shared.store.contract import Selection, Snapshot, Transaction

ARRIVED: Final = "arrived"
WENT_BACK: Final = "went-back"
SPACES: Final = (ARRIVED, WENT_BACK)

_REPLACEABLE: Final = INHERITED_KINDS - {"Network", "Service"}
"""What a local namesake replaces whole."""

JSON = Mapping[str, Any]


async def note(
    transaction: Transaction, objects: Iterable[FeedObject], known: Mapping[str, JSON]
) -> None:
    """Note what there is to say of objects that are about to be written.

    `known` is what was recorded of inherited objects so far, by record_name().
    """
    fresh = []
    for each in objects:
        before = known.get(record_name(each.key))
        if before is None:
            fresh.append(each.key)
        else:
            await _note_age(transaction, each, before)
    await _note_namesakes(transaction, [key for key in fresh if key.kind in _REPLACEABLE])


async def remarks_in(snapshot: Snapshot) -> Remarks:
    """Return all that is noted."""
    arrived = await snapshot.records(ARRIVED)
    went_back = await snapshot.records(WENT_BACK)
    return Remarks(
        {_key(each): dict(each["after"]) for each in arrived.values()},
        {
            _key(each): WentBack(each["before"], each["generation"], each["known"])
            for each in went_back.values()
        },
    )


async def forget(transaction: Transaction, key: Key) -> None:
    """Drop what is noted of an object: it is gone, or a person has decided."""
    for space in SPACES:
        await transaction.delete_record(space, record_name(key))


async def _note_namesakes(transaction: Transaction, fresh: list[Key]) -> None:
    if not fresh:
        return
    kinds = frozenset(key.kind for key in fresh)
    there: dict[tuple[str, str, str], dict[str, int]] = {}
    for stored in await transaction.list(Selection(kinds=kinds)):
        key = stored.key
        if not is_inherited_scope(key.scope):
            there.setdefault((key.kind, key.tenant, key.name), {})[key.scope] = stored.revision
    for key in fresh:
        namesakes = there.get((key.kind, key.tenant, key.name))
        if namesakes:
            record = {**key._asdict(), "after": namesakes}
            await transaction.put_record(ARRIVED, record_name(key), record)


async def _note_age(transaction: Transaction, came: FeedObject, before: JSON) -> None:
    """Note that an object has come back older; forget it when it has come so far again."""
    name = record_name(came.key)
    metadata = came.document["metadata"]
    now, then = metadata.get("generation"), before.get("generation")
    if now is None or then is None:
        return
    noted = await transaction.record(WENT_BACK, name)
    if noted is not None and now < noted["before"]:
        await transaction.put_record(WENT_BACK, name, {**noted, "generation": now})
        return
    if noted is not None:
        await transaction.delete_record(WENT_BACK, name)
    # Another object of the name counts its generations from one.
    is_same = before.get("uid") in (None, metadata.get("uid"))
    if now >= then or not is_same:
        return
    stored = await transaction.get(came.key)
    if stored is not None and stored.spec != came.spec:
        record = {**came.key._asdict(), "before": then, "generation": now, "known": stored.spec}
        await transaction.put_record(WENT_BACK, name, record)


def _key(record: JSON) -> Key:
    return Key(record["kind"], record["tenant"], record["scope"], record["name"])
