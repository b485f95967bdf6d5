"""Take over what the FSM says: one step, one local transaction, with the new position in it.

A kill at any moment therefore neither loses a step nor takes it twice.  What can't be taken over
is refused by name, and its last good version stays.  What is removed may be held instead
(sdsp.upstream.removals): still enforced, reported, dropped by a person only.

Revocations come first: those of certificates count in memory before the step that brings them is
even written, and logins end in its transaction, so that nothing else of it is ever acted upon for
somebody who is out.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from sdsp.compile.model import PLANNED, PLANNED_KINDS, document_of
from sdsp.upstream.remarks import forget, note
from sdsp.upstream.removals import (
    RULE_BEARING,
    Held,
    missing_in,
    record_name,
    takes_much,
    to_record,
)
from shared.clock import Clock
from shared.enrolment.anchors import KIND as ANCHOR
from shared.enrolment.revocations import Revoked, revocations_of
from shared.errors import Conflict, NotFound
from shared.failpoints import pause
from shared.feed.wire import (
    Changes,
    FeedObject,
    Position,
    Put,
    Refusal,
    Removal,
    Remove,
    parse_position,
)
from shared.feed.wire import Snapshot as Listing
from shared.ids import Key
from shared.login.end_by_revocation import KIND as LOGIN_REVOCATION
from shared.login.end_by_revocation import end_logins_of
from shared.model.base import Metadata
from shared.model.kinds import KINDS
from shared.policy.inputs import Document, is_inherited_scope
from shared.policy.scopes import level_of
from shared.store.contract import (
    EVERYTHING,
    AuditRecord,
    Draft,
    Snapshot,
    Store,
    Stored,
    Transaction,
)

OWNER: Final = "site"
FEED: Final = "feed"
POSITION: Final = "position"
HELD: Final = "held"
INHERITED: Final = "inherited"
REFUSED: Final = "refused"
CHANGED: Final = "changed"
"""Names the record of FEED that says at which revision of the site's own store something that is
planned was last taken over."""

_FEW: Final = 16
"""Of more objects than this all records are read at once."""

# What is taken over of an object's metadata; all else is the FSM's own.
_DESCRIBED: Final = ("name", "tenant", "labels", "annotations")

REQUEST: Final = "ChangeRequest"

_VOUCHED: Final = frozenset({ANCHOR, "VerificationKey", REQUEST})
"""Kinds that are worth what the FSM of now says: nobody vouches for what it doesn't list.

Of two issuing CAs that are both the current one, one held, a site would follow either.
"""

Sees = Callable[[Key, Mapping[str, str] | None], bool]
"""Says whether somebody may see an object with such labels; None: whatever its labels are."""

# A snapshot of thousands of objects is one record of the audit trail; so many are named in it.
_NAMED: Final = 1000


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is to be done, decided before the transaction that does it."""

    puts: Sequence[FeedObject]
    codes: Mapping[Key, str]
    gone: Mapping[Key, Removal]
    is_large: bool


@dataclass(slots=True)
class _Step:
    """What one step did, for its audit record."""

    put: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    departed: list[str] = field(default_factory=list)
    ended: Sequence[str] = ()
    plans: bool = False
    """Whether it changed anything that the site's conflicts are found in."""


async def position_in(snapshot: Snapshot) -> Position | None:
    """Return where the site's copy stands; None before the first listing."""
    record = await snapshot.record(FEED, POSITION)
    return parse_position(record) if record else None


async def changed_in(snapshot: Snapshot) -> int:
    """Return the revision of the site's store at which upstream last changed what is planned."""
    record = await snapshot.record(FEED, CHANGED)
    return int(record["local"]) if record else 0


async def held_in(snapshot: Snapshot) -> list[Mapping[str, Any]]:
    """Return what is enforced although upstream has it no longer: key, cause, since when."""
    return [record for _, record in sorted((await snapshot.records(HELD)).items())]


async def seen_of(
    held: Iterable[Mapping[str, Any]], snapshot: Snapshot, sees: Sees
) -> list[Mapping[str, Any]]:
    """Return what somebody sees of what is held, by the labels that it had upstream."""
    shown = []
    for each in held:
        key = Key(each["kind"], each["tenant"], each["scope"], each["name"])
        # Most people's rights don't hang on labels, and these cost a look each.
        if sees(key, None) or ((stored := await snapshot.get(key)) and sees(key, stored.labels)):
            shown.append(each)
    return shown


async def refused_in(snapshot: Snapshot) -> list[Mapping[str, Any]]:
    """Return what could not be taken over: key, code and the FSM's revision of it."""
    return [record for _, record in sorted((await snapshot.records(REFUSED)).items())]


async def claim(store: Store, site: str) -> None:
    """Make a store this site's; Conflict (`other_site`) if it is another's already."""

    async def work(transaction: Transaction) -> None:
        owner = await transaction.record(OWNER, OWNER)
        if owner is None:
            await transaction.put_record(OWNER, OWNER, {"site": site})
        elif owner["site"] != site:
            raise Conflict(
                f"this database holds site {owner['site']}; give site {site} one of its own",
                code="other_site",
            )

    await store.transact(work)


def not_held(key: Key) -> NotFound:
    return NotFound(f"{key} is not held; `hanse held` lists what is")


class Inbound:
    """The site's copy of what it inherits: a shared.feed.follow.Copy."""

    def __init__(
        self,
        store: Store,
        *,
        site: str,
        clock: Clock,
        executor: Executor,
        on_revoked: Callable[[Mapping[str, Revoked]], None] = lambda _: None,
    ) -> None:
        """`executor` is where documents are checked and rules counted; `on_revoked` is told of
        revocations before they are written.
        """
        self._on_revoked = on_revoked
        self.on_logged_out: Callable[[Sequence[str]], None] = lambda _: None
        """Told of the logins that a step has ended, by the names that Callers.end() takes."""
        self.on_trust: Callable[[], None] = lambda: None
        """Called when a step has changed what is said of roots."""
        self.on_answer: Callable[[], None] = lambda: None
        """Called when a step has brought a change request of the site's, perhaps its answer."""
        self._store = store
        self._site = site
        self._clock = clock
        self._executor = executor

    async def position(self) -> Position | None:
        """Return where the copy stands; None before the first snapshot."""
        async with self._store.snapshot() as snapshot:
            return await position_in(snapshot)

    async def replace(self, snapshot: Listing) -> list[Refusal]:
        """Take over a complete snapshot; return what was refused.

        What it neither contains nor buries is held, except trust anchors and keys: these go.
        """
        listed = {each.key for each in snapshot.objects}
        # Tombstones go back far; what is listed lives.
        buried = {each.key: each.reason for each in snapshot.tombstones if each.key not in listed}
        judged = await self._judge(snapshot.objects, buried)
        self._revoke_first(judged)

        async def work(transaction: Transaction) -> _Step:
            step = _Step()
            inherited = [
                stored.key
                for stored in await transaction.list(EVERYTHING)
                if is_inherited_scope(stored.key.scope)
            ]
            # All that can't be taken over is refused anew by this very snapshot.
            for name in await transaction.records(REFUSED):
                await transaction.delete_record(REFUSED, name)
            await self._put(transaction, judged, step)
            await self._remove(transaction, judged, step)
            missing = missing_in(inherited, listed, buried)
            for key in missing:
                if key.kind in _VOUCHED:
                    await self._delete(transaction, key)
                    step.removed.append(str(key))
                    step.plans |= key.kind in PLANNED_KINDS
            held = [Held(key, "missing") for key in missing if key.kind not in _VOUCHED]
            await self._hold(transaction, held, step)
            await self._finish(transaction, snapshot.position, step, action="feed.snapshot")
            return step

        await pause("sdsp.replace.before")
        step = (await self._store.transact(work)).result
        self.on_logged_out(step.ended)
        self.on_trust()
        self.on_answer()
        await pause("sdsp.replace.after")
        return step.refused

    async def apply(self, changes: Changes) -> list[Refusal]:
        """Take over one line of changes; return what was refused."""
        puts = [each.object for each in changes.changes if isinstance(each, Put)]
        gone = {each.key: each.reason for each in changes.changes if isinstance(each, Remove)}
        judged = await self._judge(puts, gone)
        self._revoke_first(judged)

        async def work(transaction: Transaction) -> _Step:
            step = _Step()
            await self._put(transaction, judged, step)
            await self._remove(transaction, judged, step)
            await self._finish(transaction, changes.position, step, action="feed.changes")
            return step

        await pause("sdsp.apply.before")
        step = (await self._store.transact(work)).result
        self.on_logged_out(step.ended)
        if any(each.key.kind == ANCHOR for each in changes.changes):
            self.on_trust()
        if any(each.key.kind == REQUEST for each in changes.changes):
            self.on_answer()
        await pause("sdsp.apply.after")
        return step.refused

    async def advance(self, position: Position) -> None:
        """Record that nothing changed up to a position."""

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(FEED, POSITION, position.to_json())

        await pause("sdsp.advance.before")
        await self._store.transact(work)
        await pause("sdsp.advance.after")

    async def held(self, sees: Sees = lambda _key, _labels: True) -> Sequence[Mapping[str, Any]]:
        """Return what is held and may be seen; see held_in() and seen_of()."""
        async with self._store.snapshot() as snapshot:
            return await seen_of(await held_in(snapshot), snapshot, sees)

    async def drop_held(
        self,
        keys: Iterable[Key],
        *,
        audit: AuditRecord,
        sees: Sees = lambda _key, _labels: True,
    ) -> int:
        """Let go of held objects, as a person decided; NotFound if one isn't held, or may not be
        seen by him.
        """
        wanted = list(keys)

        async def work(transaction: Transaction) -> int:
            for key in wanted:
                stored = await transaction.get(key)
                is_held = await transaction.record(HELD, record_name(key)) is not None
                if not is_held or not sees(key, stored.labels if stored else None):
                    raise not_held(key)
                await self._delete(transaction, key)
            await transaction.audit(audit)
            return len(wanted)

        return (await self._store.transact(work)).result

    async def _judge(self, puts: Sequence[FeedObject], gone: Mapping[Key, Removal]) -> _Judged:
        """Decide what is refused, and whether the removals wait for a person.

        Only this copy's one follower changes what is inherited, so that it still holds when the
        transaction begins; what people write at the site meanwhile may move the count by a few.
        """
        loop = asyncio.get_running_loop()
        codes = await loop.run_in_executor(self._executor, refusals_of, puts)
        # The site's own objects are none of upstream's business.
        ours = {key: reason for key, reason in gone.items() if is_inherited_scope(key.scope)}
        large = False
        if any(key.kind in RULE_BEARING for key in ours):
            async with self._store.snapshot() as snapshot:
                stored = await snapshot.list(PLANNED)
            good = [each for each in puts if each.key not in codes]
            large = await loop.run_in_executor(
                self._executor, is_large_removal, self._site, stored, good, ours, self._clock.now()
            )
        return _Judged(puts, codes, ours, large)

    def _revoke_first(self, judged: _Judged) -> None:
        good = (each for each in judged.puts if each.key not in judged.codes)
        if revoked := revocations_of((each.key.kind, each.key.name, each.spec) for each in good):
            self._on_revoked(revoked)

    async def _put(self, transaction: Transaction, judged: _Judged, step: _Step) -> None:
        good = [each for each in judged.puts if each.key not in judged.codes]
        await note(transaction, good, await _recorded(transaction, good))
        for each in judged.puts:
            name = record_name(each.key)
            code = judged.codes.get(each.key)
            if code is not None:
                step.refused.append(Refusal(each.key, code))
                # Not every database takes every character.
                if name.isprintable():
                    said = {**each.key._asdict(), "code": code, "revision": each.revision}
                    await transaction.put_record(REFUSED, name, said)
                continue
            metadata = each.document["metadata"]
            stored = await transaction.put(
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
                {
                    "revision": each.revision,
                    "generation": metadata.get("generation"),
                    "uid": metadata.get("uid"),
                    "local": stored.revision,
                },
            )
            await transaction.delete_record(HELD, name)
            await transaction.delete_record(REFUSED, name)
            if stored.revision > transaction.base.revision:
                step.put.append(str(each.key))
                step.plans |= each.key.kind in PLANNED_KINDS
                if each.key.kind == LOGIN_REVOCATION:
                    step.departed.append(each.spec["identity"])

    async def _remove(self, transaction: Transaction, judged: _Judged, step: _Step) -> None:
        present = []
        for key in judged.gone:
            if await transaction.get(key) is not None:
                present.append(key)
            else:
                # Refused when it came, and now it is gone.
                await transaction.delete_record(REFUSED, record_name(key))
        if judged.is_large:
            held = [Held(key, "large_removal", judged.gone[key].value) for key in present]
            await self._hold(transaction, held, step)
            return
        for key in present:
            await self._delete(transaction, key)
            step.removed.append(str(key))
            step.plans |= key.kind in PLANNED_KINDS

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
        await forget(transaction, key)

    async def _finish(
        self, transaction: Transaction, position: Position, step: _Step, *, action: str
    ) -> None:
        await transaction.put_record(FEED, POSITION, position.to_json())
        if step.plans:
            taken = transaction.base.revision + 1
            await transaction.put_record(FEED, CHANGED, {"local": taken})
        step.ended = await end_logins_of(transaction, step.departed, at=self._clock.now())
        if step.put or step.removed or step.held or step.refused:
            await transaction.audit(_record(step, position, at=self._clock.now(), action=action))


async def _recorded(
    transaction: Transaction, objects: Sequence[FeedObject]
) -> Mapping[str, Mapping[str, Any]]:
    """Return what is recorded of these objects, and perhaps of others."""
    if len(objects) > _FEW:
        return await transaction.records(INHERITED)
    names = [record_name(each.key) for each in objects]
    records = [(name, await transaction.record(INHERITED, name)) for name in names]
    return {name: record for name, record in records if record is not None}


def refusals_of(objects: Iterable[FeedObject]) -> dict[Key, str]:
    """Return the objects that can't be taken over, with the code that says why."""
    found = ((each.key, _refusal_of(each)) for each in objects)
    return {key: code for key, code in found if code is not None}


def _refusal_of(each: FeedObject) -> str | None:
    key = each.key
    kind = KINDS.get(key.kind)
    if kind is None or "fsm" not in kind.scopes or kind.secret:
        return "unsupported_kind"
    if not is_inherited_scope(key.scope) or level_of(key.scope) not in kind.scopes["fsm"]:
        return "invalid_scope"
    try:
        kind.spec.model_validate(each.spec)
        given = each.document["metadata"]
        Metadata.model_validate({name: given[name] for name in _DESCRIBED if name in given})
    except ValidationError as exc:
        types = {error["type"] for error in exc.errors(include_url=False, include_input=False)}
        return "unsupported_field" if types == {"extra_forbidden"} else "invalid"
    return None


def is_large_removal(
    site: str,
    stored: Sequence[Stored],
    puts: Iterable[FeedObject],
    gone: Mapping[Key, Removal],
    now: datetime,
) -> bool:
    """Return whether what goes with one step is so much that it waits for a person."""
    documents = {each.key: document_of(each) for each in stored}
    for each in puts:
        if each.key.kind in PLANNED_KINDS:
            spec = KINDS[each.key.kind].spec.model_validate(each.spec)
            labels = each.document["metadata"].get("labels", {})
            documents[each.key] = Document(each.key, spec, labels)
    return takes_much(site, documents.values(), gone.keys(), now=now)


def _printable(key: Key) -> str:
    return str(key).encode("unicode_escape").decode("ascii")


def _named(keys: Sequence[str]) -> list[str]:
    more = len(keys) - _NAMED
    return [*keys[:_NAMED], f"and {more} more"] if more > 0 else list(keys)


def _record(step: _Step, position: Position, *, at: datetime, action: str) -> AuditRecord:
    return AuditRecord(
        at=at,
        request_id=f"feed-{position.incarnation}-{position.revision}",
        identity="upstream",
        action=action,
        outcome="partly refused" if step.refused else "applied",
        diff={
            "put": _named(step.put),
            "removed": _named(step.removed),
            "held": _named(step.held),
            "refused": _named([f"{_printable(each.key)}: {each.code}" for each in step.refused]),
        },
    )
