"""Take over what the FSM says: one step, one local transaction, with the new position in it.

A kill at any moment therefore neither loses a step nor takes it twice.  What can't be taken over
is refused by name, and its last good version stays.  What is removed may be held instead
(sdsp.upstream.removals): still enforced, reported, dropped by a person only.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from sdsp.compile.model import PLANNED, site_inputs
from sdsp.upstream.removals import (
    Held,
    is_large,
    missing_in,
    record_name,
    removed_rules,
    to_record,
)
from shared.clock import Clock
from shared.errors import NotFound
from shared.feed.wire import (
    Changes,
    FeedObject,
    Position,
    Put,
    Refusal,
    Removal,
    Remove,
    Snapshot,
    parse_position,
)
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.inputs import SiteInputs, is_inherited_scope
from shared.store.contract import EVERYTHING, AuditRecord, Draft, Store, Transaction

FEED: Final = "feed"
POSITION: Final = "position"
HELD: Final = "held"
INHERITED: Final = "inherited"
REFUSED: Final = "refused"

EnforcedRules = Callable[[SiteInputs], Collection[tuple[str, ...]]]
"""Returns the rules that a site enforces, each named by its provenance."""

# Only these can take rules away by going.
_RULE_BEARING: Final = frozenset({"SecurityPolicy", "Network", "Service", "Site", "Region"})


@dataclass(slots=True)
class _Step:
    """What one step did, for its audit record."""

    put: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class Inbound:
    """The site's copy of what it inherits: a shared.feed.follow.Copy."""

    def __init__(
        self, store: Store, *, site: str, clock: Clock, enforced_rules: EnforcedRules
    ) -> None:
        self._store = store
        self._site = site
        self._clock = clock
        self._enforced_rules = enforced_rules

    async def position(self) -> Position | None:
        """Return where the copy stands; None before the first snapshot."""
        async with self._store.snapshot() as snapshot:
            record = await snapshot.record(FEED, POSITION)
        return parse_position(record) if record else None

    async def replace(self, snapshot: Snapshot) -> list[Refusal]:
        """Take over a complete snapshot; return what was refused.

        What it neither contains nor buries is held.
        """

        async def work(transaction: Transaction) -> _Step:
            step = _Step()
            inherited = [
                stored.key
                for stored in await transaction.list(EVERYTHING)
                if is_inherited_scope(stored.key.scope)
            ]
            here = set(inherited)
            listed = {each.key for each in snapshot.objects}
            # Tombstones go back far; only what is still here matters, and what is listed lives.
            buried = {
                each.key: each.reason
                for each in snapshot.tombstones
                if each.key in here and each.key not in listed
            }
            await self._put(transaction, snapshot.objects, step)
            await self._remove(transaction, buried, step)
            held = [Held(key, "missing") for key in missing_in(inherited, listed, buried)]
            await self._hold(transaction, held, step)
            await self._finish(transaction, snapshot.position, step, action="feed.snapshot")
            return step

        return (await self._store.transact(work)).result.refused

    async def apply(self, changes: Changes) -> list[Refusal]:
        """Take over one line of changes; return what was refused."""

        async def work(transaction: Transaction) -> _Step:
            step = _Step()
            puts = [each.object for each in changes.changes if isinstance(each, Put)]
            gone = {each.key: each.reason for each in changes.changes if isinstance(each, Remove)}
            await self._put(transaction, puts, step)
            await self._remove(transaction, gone, step)
            await self._finish(transaction, changes.position, step, action="feed.changes")
            return step

        return (await self._store.transact(work)).result.refused

    async def advance(self, position: Position) -> None:
        """Record that nothing changed up to a position."""

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(FEED, POSITION, position.to_json())

        await self._store.transact(work)

    async def held(self) -> Sequence[Mapping[str, Any]]:
        """Return what is enforced although upstream has it no longer: key, cause, since when."""
        async with self._store.snapshot() as snapshot:
            return [record for _, record in sorted((await snapshot.records(HELD)).items())]

    async def drop_held(self, keys: Iterable[Key], *, audit: AuditRecord) -> int:
        """Let go of held objects, as a person decided; NotFound if one isn't held."""
        wanted = list(keys)

        async def work(transaction: Transaction) -> int:
            for key in wanted:
                name = record_name(key)
                if await transaction.record(HELD, name) is None:
                    raise NotFound(f"{key} is not held; `hanse held` lists what is")
                await self._delete(transaction, key)
            await transaction.audit(audit)
            return len(wanted)

        return (await self._store.transact(work)).result

    async def _put(
        self, transaction: Transaction, objects: Iterable[FeedObject], step: _Step
    ) -> None:
        for each in objects:
            name = record_name(each.key)
            code = _refusal_of(each)
            if code is not None:
                step.refused.append(Refusal(each.key, code))
                await transaction.put_record(
                    REFUSED, name, {**each.key._asdict(), "code": code, "revision": each.revision}
                )
                continue
            metadata = each.document["metadata"]
            await transaction.put(
                Draft(
                    key=each.key,
                    spec=each.spec,
                    labels=metadata.get("labels", {}),
                    annotations=metadata.get("annotations", {}),
                    origin=each.key.scope,
                )
            )
            await transaction.put_record(
                INHERITED,
                name,
                {"revision": each.revision, "generation": metadata.get("generation")},
            )
            await transaction.delete_record(HELD, name)
            await transaction.delete_record(REFUSED, name)
            step.put.append(str(each.key))

    async def _remove(
        self, transaction: Transaction, gone: Mapping[Key, Removal], step: _Step
    ) -> None:
        present = [key for key in gone if await transaction.get(key) is not None]
        if await self._is_large(transaction, present):
            held = [Held(key, "large_removal", gone[key].value) for key in present]
            await self._hold(transaction, held, step)
            return
        for key in present:
            await self._delete(transaction, key)
            step.removed.append(str(key))

    async def _is_large(self, transaction: Transaction, gone: Sequence[Key]) -> bool:
        if not any(key.kind in _RULE_BEARING for key in gone):
            return False
        stored = await transaction.list(PLANNED)
        left = [each for each in stored if each.key not in set(gone)]
        now = self._clock.now()
        before, after = (
            self._enforced_rules(site_inputs(self._site, each, now=now)) for each in (stored, left)
        )
        return is_large(removed=removed_rules(before, after), enforced=len(before))

    async def _hold(self, transaction: Transaction, held: Sequence[Held], step: _Step) -> None:
        since = self._clock.now().isoformat()
        for each in held:
            name = record_name(each.key)
            # Held already: it keeps the time since when.
            if await transaction.record(HELD, name) is None:
                await transaction.put_record(HELD, name, to_record(each, since=since))
                step.held.append(str(each.key))

    async def _delete(self, transaction: Transaction, key: Key) -> None:
        await transaction.delete(key)
        for space in (HELD, INHERITED, REFUSED):
            await transaction.delete_record(space, record_name(key))

    async def _finish(
        self, transaction: Transaction, position: Position, step: _Step, *, action: str
    ) -> None:
        await transaction.put_record(FEED, POSITION, position.to_json())
        if step.put or step.removed or step.held or step.refused:
            await transaction.audit(_record(step, position, at=self._clock.now(), action=action))


def _refusal_of(each: FeedObject) -> str | None:
    """Return why an object can't be taken over; None if it can."""
    kind = KINDS.get(each.key.kind)
    if kind is None:
        return "unsupported_kind"
    if not is_inherited_scope(each.key.scope):
        return "invalid_scope"
    try:
        kind.spec.model_validate(each.spec)
    except ValidationError as exc:
        types = {error["type"] for error in exc.errors(include_url=False, include_input=False)}
        return "unsupported_field" if types == {"extra_forbidden"} else "invalid"
    return None


def _record(step: _Step, position: Position, *, at: datetime, action: str) -> AuditRecord:
    return AuditRecord(
        at=at,
        request_id=f"feed-{position.incarnation}-{position.revision}",
        identity="upstream",
        action=action,
        outcome="partly refused" if step.refused else "applied",
        diff={
            "put": step.put,
            "removed": step.removed,
            "held": step.held,
            "refused": [f"{each.key}: {each.code}" for each in step.refused],
        },
    )
