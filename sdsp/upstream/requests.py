"""What a site asks its federation for goes up, and the answers come home: a reconciler.

A request is on record from the decision on until it is answered.  It is sent again until the feed
has brought the FSM's own copy of it, which bears the answer in the end; the FSM takes a name once.
So a kill at any step neither loses a request nor doubles it, and neither does an FSM that was
restored to before it came.  One whose conflict is settled otherwise meanwhile is withdrawn.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sdsp.conflicts.asking import REQUESTS
from sdsp.conflicts.standing import rewritten, why_gone
from shared.clock import Clock
from shared.errors import (
    Conflict,
    HanseError,
    Invalid,
    Malformed,
    NotFound,
    TooLarge,
)
from shared.failpoints import pause
from shared.feed.follow import FEED
from shared.http.peer import PeerClient
from shared.ids import FEDERATION, Key
from shared.store.contract import AuditRecord, Store, Stored, Transaction
from shared.tasks.loop import Outcome

log = logging.getLogger(__name__)

JSON = Mapping[str, Any]

KIND: Final = "ChangeRequest"

_FINAL: Final = (Invalid, Conflict, NotFound, Malformed, TooLarge)
"""Refusals that asking again doesn't change."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A request that isn't answered, as its records and objects stand."""

    name: str
    record: JSON
    copy: Stored | None
    """The FSM's own, as the feed brought it."""
    conflict: Stored | None

    @property
    def asked(self) -> dict[str, Any]:
        """What the conflict says of it; empty if that says nothing of this one."""
        asked = (self.conflict.spec.get("asked") if self.conflict else None) or {}
        return dict(asked) if asked.get("request") == self.name else {}

    @property
    def is_moot(self) -> bool:
        """Whether the site needs no answer any more."""
        state = self.conflict.spec.get("state", "open") if self.conflict else "resolved"
        return state == "resolved" or not self.asked


class AskUpstream:
    name = "ask upstream"

    def __init__(
        self,
        store: Store,
        *,
        upstream: PeerClient,
        connected_since: Callable[[], datetime | None],
        clock: Clock,
    ) -> None:
        """`connected_since` returns when the connection of now was made; None without one."""
        self._store = store
        self._upstream = upstream
        self._connected_since = connected_since
        self._since: datetime | None = None
        self._clock = clock
        self._sent: set[str] = set()
        """What the FSM has taken since the connection was made, and the feed not yet brought."""
        self.on_answer: Callable[[], None] = lambda: None
        """Called when a conflict has got its answer."""

    async def reconcile(self) -> Outcome:
        since = self._connected_since()
        if since is None or since != self._since:
            # Perhaps another FSM, or one that was restored, answers now.
            self._sent.clear()
        self._since = since
        changed = 0
        for each in await self._open():
            changed += await self._carry(each)
        return Outcome(changed=changed)

    async def _open(self) -> list[_Open]:
        async with self._store.snapshot() as snapshot:
            records = await snapshot.records(REQUESTS)
            return [
                _Open(
                    name,
                    record,
                    await snapshot.get(_copy_key(name, record)),
                    await snapshot.get(Key(*record["conflict"])),
                )
                for name, record in sorted(records.items())
            ]

    async def _carry(self, each: _Open) -> int:
        """Take one request a step further; return how much that changed."""
        if each.copy is not None and each.copy.spec.get("state", "open") != "open":
            await self._settle(each, _answer_of(each.copy))
            return 1
        if self._since is None:
            return 0
        if each.copy is not None:
            self._sent.discard(each.name)
        if each.is_moot:
            why = "the site has settled its conflict otherwise"
            said = await self._send(each, {"withdrawn": why})
            if said is not None and said.get("state") == "withdrawn":
                await self._settle(each, {"state": "withdrawn"})
            return 1
        if each.copy is None and each.name not in self._sent:
            if await self._send(each, {}) is not None:
                self._sent.add(each.name)
            return 1
        return 0

    async def _send(self, each: _Open, more: JSON) -> JSON | None:
        """Send a request; return what the FSM says of it, None if it doesn't take it at all."""
        await pause("sdsp.request.before")
        try:
            answer = await self._upstream.post(
                f"{FEED}/changerequests", {**each.record["body"], **more}
            )
        except _FINAL as exc:
            log.warning("a change request was refused", extra={"code": exc.code})
            await self._settle(each, _refusal_of(exc))
            return None
        await pause("sdsp.request.after")
        said: JSON = answer.json()
        return said

    async def _settle(self, each: _Open, answer: JSON) -> None:
        """Write the answer into the conflict, which is open again, and let go of the request."""
        at = self._clock.now()

        async def work(transaction: Transaction) -> None:
            if await transaction.record(REQUESTS, each.name) is None:
                return
            await transaction.delete_record(REQUESTS, each.name)
            now = await _current(transaction, each)
            if now.conflict is not None and now.asked:
                await transaction.put(rewritten(now.conflict, **_answered(now, answer)))
            key = Key(*each.record["conflict"])
            await transaction.audit(
                AuditRecord(
                    at=at,
                    request_id=f"request-{each.name}"[:128],
                    identity=answer.get("decidedBy") or "upstream",
                    action=f"conflict.{answer['state']}",
                    outcome=answer.get("code") or "ok",
                    tenant=key.tenant,
                    key=key,
                    reason=answer.get("answer"),
                    diff={"request": each.name},
                )
            )

        await pause("sdsp.answer.before")
        await self._store.transact(work)
        await pause("sdsp.answer.after")
        self._sent.discard(each.name)
        self.on_answer()


def _copy_key(name: str, record: JSON) -> Key:
    return Key(KIND, record["body"]["tenant"], FEDERATION, name)


async def _current(transaction: Transaction, each: _Open) -> _Open:
    conflict = await transaction.get(Key(*each.record["conflict"]))
    return _Open(each.name, each.record, each.copy, conflict)


def _answered(now: _Open, answer: JSON) -> dict[str, Any]:
    """Return the fields of a conflict that has got its answer."""
    assert now.conflict is not None
    spec = now.conflict.spec
    fields: dict[str, Any] = {"asked": {**now.asked, **answer}}
    if spec.get("state") == "deferred" and "deferred" not in spec:
        fields["state"] = "open"
    if "closed" in spec:
        # It went because of this, though that wasn't known then.
        fields["closed"] = {**spec["closed"], "why": why_gone({**spec, **fields})}
    return fields


def _answer_of(copy: Stored) -> dict[str, Any]:
    spec = copy.spec
    found = {name: spec.get(name) for name in ("answer", "decidedBy", "decidedAt", "revision")}
    present = {name: value for name, value in found.items() if value is not None}
    return {"state": spec["state"], **present}


def _refusal_of(exc: HanseError) -> dict[str, Any]:
    return {"state": "refused", "code": exc.code, "answer": exc.message[:500]}
