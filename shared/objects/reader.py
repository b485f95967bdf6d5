"""Reading objects: one, many, how they came to be, and what happens to them.

Every answer is filtered by what the caller may see, and every read passes the audit trail's seam.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.access.authorize import allows_of, authorize, holding
from shared.access.permissions import Permission, reading
from shared.audit.export import exported
from shared.auth.identity import Caller, union_of
from shared.clock import Clock
from shared.errors import Forbidden
from shared.http.ndjson import line
from shared.http.response import envelope_of, key_document
from shared.ids import Key, Revision
from shared.model.kinds import KINDS, Home
from shared.objects.broadcast import Broadcast, View
from shared.objects.call import Call
from shared.objects.paging import Continue
from shared.objects.rights import absent, check_read, kind_at, may_read, readable_tenants
from shared.objects.selection import Document, Labels
from shared.objects.trail import Trail
from shared.store.contract import (
    AuditRecord,
    Change,
    Position,
    Selection,
    Store,
    Stored,
)
from shared.tasks.streams import Place, closing, with_beats

LIMIT: Final = 500
MOST: Final = 1000

RENEWALS: Final = frozenset({"renew session", "site.renew", "node.renew"})
"""What goes on by itself, by day and by night, and changes nothing that anybody decided."""

BEAT: Final = 5.0
"""Seconds; the store's own watch of commits gives its bookmarks as often."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which objects of a kind; None means any."""

    kind: str
    tenant: str | None = None
    scope: str | None = None
    labels: Labels | None = None
    fields: Document | None = None
    limit: int = LIMIT
    goes_on: Continue | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in key order, and where the rest begins, if there is more."""

    items: tuple[Stored, ...]
    position: Position
    goes_on: Continue | None


@dataclass(frozen=True, slots=True)
class Watching:
    """What a watcher wants to hear of; `kinds` None means all that the caller may read.

    `labels` is what `selector`, its text, means; watchers with equal texts share lines.
    """

    kinds: frozenset[str] | None = None
    tenant: str | None = None
    selector: str | None = None
    labels: Labels | None = None
    after: Revision | None = None


class ObjectReader:
    def __init__(self, *, store: Store, home: Home, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._home = home
        self._trail = trail
        self._clock = clock
        self.broadcast = Broadcast(store, clock=clock)
        """Somebody must run it, so that many watchers share its work."""

    async def get(self, call: Call, key: Key) -> Stored:
        """Return one object; NotFound, or Forbidden if the caller may read none of its kind."""
        check_read(call.caller, key)
        stored = await self._store.latest(key)
        if stored is None or not may_read(call.caller, key, stored.labels):
            selection = Selection(
                kinds=frozenset({key.kind}),
                tenants=frozenset({key.tenant}),
                names=frozenset({key.name}),
            )
            async with self._store.snapshot() as snapshot:
                others = await snapshot.list(selection)
            seen = (each for each in others if may_read(call.caller, each.key, each.labels))
            scopes = sorted(each.key.scope for each in seen)
            hint = f"; there is one with scope {' and '.join(scopes)}" if scopes else ""
            raise absent(key, hint=hint)
        await self._trail.read(call, "get", key.kind, key=key)
        return stored

    async def list(self, call: Call, query: Query) -> Page:
        """Return a page of objects; Forbidden, RevisionCompacted, Gone, Malformed."""
        may_see, selection = self._visible(call.caller, query)
        at = query.goes_on.revision if query.goes_on else None
        if query.goes_on:
            query.goes_on.check((await self._store.position()).incarnation)
        items: list[Stored] = []
        after = query.goes_on.after if query.goes_on else None
        more = True
        async with self._store.snapshot(at) as snapshot:
            while more and len(items) <= query.limit:
                found = await snapshot.list(selection, after=after, limit=query.limit + 1)
                more = len(found) > query.limit
                after = found[-1].key if found else None
                items += [each for each in found if may_see(each)]
            position = snapshot.position
        await self._trail.read(call, "list", query.kind, tenant=query.tenant)
        kept = tuple(items[: query.limit])
        goes_on = None
        if len(items) > query.limit:
            goes_on = Continue(position.incarnation, position.revision, kept[-1].key)
        return Page(kept, position, goes_on)

    async def history(
        self, call: Call, key: Key, *, before: Revision | None, limit: int
    ) -> Sequence[Change]:
        """Return an object's changes, latest first, also of one that was deleted; NotFound."""
        check_read(call.caller, key)
        allows = allows_of(call.caller, reading(key.kind))

        def may_see(change: Change) -> bool:
            version = change.after or change.before
            return version is not None and allows(key.tenant, key.scope, version.labels)

        changes: list[Change] = []
        at, more = before, True
        while more and len(changes) < limit:
            found = await self._store.history(key, before=at, limit=limit)
            more = len(found) == limit
            at = found[-1].revision if found else at
            changes += [each for each in found if may_see(each)]
        del changes[limit:]
        if not changes and before is None:
            raise absent(key)
        await self._trail.read(call, "history", key.kind, key=key)
        return changes

    async def audit(
        self,
        call: Call,
        *,
        tenant: str | None,
        key: Key | None,
        text: str | None,
        changes: bool,
        before: int | None,
        limit: int,
    ) -> Sequence[tuple[int, AuditRecord]]:
        """Return audit records with their numbers, latest first, of the caller's tenants only.

        With `changes` neither reads nor refusals, nor what else changed nothing, nor RENEWALS.
        """
        tenants = _audited(call.caller)
        if tenant is not None:
            tenants = frozenset({tenant}) if tenants is None or tenant in tenants else frozenset()
        await self._trail.read(call, "list", "AuditRecord", tenant=tenant)
        # What this process has gathered shall be found by whoever asks at once.
        await self._trail.flush()
        return await self._store.audit_records(
            tenants=tenants,
            key=key,
            text=text,
            committed=changes,
            without=RENEWALS if changes else (),
            before=before,
            limit=limit,
        )

    async def export(self, call: Call, after: int) -> AsyncIterator[bytes]:
        """Return lines of the audit trail behind a record's number; see shared.audit.export."""
        tenants = _audited(call.caller)
        await self._trail.read(call, "export", "AuditRecord")
        await self._trail.flush()
        return exported(self._store.ledger, after=after, tenants=tenants)

    async def watch(self, call: Call, watching: Watching) -> AsyncIterator[bytes | Place]:
        """Return the lines of a watch, from `after` or from now; RevisionCompacted, Invalid.

        A line is a whole commit, of what the caller may see in it, or a bookmark; between them
        may be places to sit down at (shared.tasks.streams).
        """
        kinds = self._kinds(call.caller, watching.kinds)
        after = watching.after
        if after is None:
            after = (await self._store.position()).revision
        else:
            # An answer, not a stream, if it can't be resumed from there.
            async with self._store.snapshot(after):
                pass
        await self._trail.read(call, "watch", ", ".join(sorted(kinds)), tenant=watching.tenant)
        view = View(call.caller.grants, kinds, watching.tenant, watching.selector, watching.labels)
        return self.broadcast.watch(view, after)

    async def watch_status(self, call: Call, watching: Watching) -> AsyncIterator[bytes]:
        """Return the lines of a watch of status; `after` is a sequence number of it."""
        kinds = self._kinds(call.caller, watching.kinds)
        lines = self._status_lines(call.caller, kinds, watching)
        return with_beats(lines, line({"type": "bookmark"}), period=BEAT, clock=self._clock)

    async def _status_lines(
        self, caller: Caller, kinds: frozenset[str], watching: Watching
    ) -> AsyncIterator[bytes]:
        async with closing(self._store.watch_status(watching.after or 0)) as changes:
            async for change in changes:
                key = change.key
                if key.kind not in kinds or watching.tenant not in (None, key.tenant):
                    continue
                if await self._may_see_status(caller, key):
                    document = key_document(key) | {"status": dict(change.status)}
                    yield line({"type": "status", "sequence": change.sequence, "object": document})

    async def _may_see_status(self, caller: Caller, key: Key) -> bool:
        grants = holding(tuple(caller.grants), reading(key.kind))
        if all(each.labels is None for each in grants):
            return may_read(caller, key, {})
        stored = await self._store.latest(key)
        return stored is not None and may_read(caller, key, stored.labels)

    def _visible(self, caller: Caller, query: Query) -> tuple[Callable[[Stored], bool], Selection]:
        kind_at(self._home, query.kind)
        decision = authorize(caller, reading(query.kind))
        if not decision.allowed:
            raise Forbidden(decision.reason)
        kinds = frozenset({query.kind})
        tenants = readable_tenants(caller, kinds)
        if query.tenant is not None:
            tenants = frozenset({query.tenant}) & (tenants or frozenset({query.tenant}))
        selection = Selection(
            kinds=kinds,
            tenants=tenants,
            scopes=frozenset({query.scope}) if query.scope else None,
            labels=query.labels,
        )
        fields, allows = query.fields, allows_of(caller, reading(query.kind))

        def may_see(stored: Stored) -> bool:
            key = stored.key
            return allows(key.tenant, key.scope, stored.labels) and (
                fields is None or fields(envelope_of(stored))
            )

        return may_see, selection

    def _kinds(self, caller: Caller, wanted: frozenset[str] | None) -> frozenset[str]:
        for kind in wanted or ():
            kind_at(self._home, kind)
            decision = authorize(caller, reading(kind))
            if not decision.allowed:
                raise Forbidden(decision.reason)
        if wanted:
            return wanted
        return frozenset(
            name
            for name, kind in KINDS.items()
            if self._home in kind.lives_on and authorize(caller, reading(name)).allowed
        )


def _audited(caller: Caller) -> frozenset[str] | None:
    """Return the tenants whose audit records somebody may read; None: all.

    Records have neither scope nor labels, so that a grant within some can't mean them.
    """
    grants = holding(tuple(caller.grants), Permission.READ_AUDIT)
    return union_of(each.tenants for each in grants if each.scopes is None)
