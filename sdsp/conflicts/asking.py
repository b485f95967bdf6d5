"""A person asks the federation to take over what the site says, instead of deciding alone.

What is asked is kept with the conflict in one transaction, and goes up when there is a connection
(sdsp.upstream.requests).  Nothing changes in what is enforced, and until the answer has come the
conflict is deferred: it says `asked`, and nobody is reminded of it.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sdsp.conflicts.cases import Case, Cases, Sees, check_open, outdated, visible
from sdsp.conflicts.decide import Verdict, revision_of
from sdsp.conflicts.standing import is_unanswered, rewritten
from sdsp.upstream.apply import INHERITED
from sdsp.upstream.removals import record_name
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.errors import Conflict
from shared.ids import Key, Revision
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.policy.ways.contract import Terms
from shared.store.contract import Store, Stored, Transaction

REQUESTS: Final = "requests"
"""The space of records that hold what is asked of the federation and not answered yet."""

_LONGEST: Final = 120
"""Characters of a target's name in a request's."""


class Asking:
    def __init__(
        self, store: Store, *, site: str, trail: Trail, clock: Clock, cases: Cases
    ) -> None:
        self._store = store
        self._site = site
        self._trail = trail
        self._clock = clock
        self._cases = cases
        self.on_change: Callable[[], None] = lambda: None
        """Called when there is something to send."""

    async def ask(
        self,
        call: Call,
        key: Key,
        verdict: Verdict,
        *,
        sees: Sees,
        expected: Revision | None = None,
    ) -> Stored:
        """Ask for what the site says in a conflict; return the conflict as it is then.

        A call that comes twice asks once.  NotFound; RevisionConflict; Invalid
        (`proposal_not_offered`, `invalid_value`); Conflict (`already_asked`, `conflict_resolved`,
        `conflict_outdated`).
        """
        async with self._store.snapshot() as snapshot:
            found = await visible(snapshot, key, sees)
            asked = found.spec.get("asked") or {}
            if (asked.get("by"), asked.get("requestId")) == (
                call.caller.identity,
                call.request_id,
            ):
                return found  # the answer of this very call was lost on the way
            check_open(found, expected)
            # Of what says something else by now another question may be put: it takes the first's
            # place, which is withdrawn.
            if is_unanswered(asked) and found.spec.get("state") == "deferred":
                raise Conflict(
                    f"the federation is asked already ({asked['request']}), and has not answered; "
                    "choose another proposal if you can't wait",
                    code="already_asked",
                )
            terms = Terms(verdict.reason, verdict.expires_at)
            case = await self._cases.read(
                snapshot, found, verdict.proposal, terms, digest=verdict.digest
            )
        at = self._clock.now()

        async def work(transaction: Transaction) -> Stored:
            return await self._ask(transaction, call, case, verdict, at)

        asking = (await self._store.transact(work)).result
        self.on_change()
        return asking

    async def _ask(
        self, transaction: Transaction, call: Call, case: Case, verdict: Verdict, at: datetime
    ) -> Stored:
        key = case.conflict.key
        now = await transaction.get(key)
        if now is None or now.revision != case.conflict.revision:
            raise outdated(key)
        for inherited, revision in case.rests_on.items():
            if await revision_of(transaction, inherited) != revision:
                raise outdated(key)
        name = self._name(case, call)
        said = {
            "request": name,
            "by": call.caller.identity,
            "at": at.isoformat(),
            "reason": verdict.reason,
            "requestId": call.request_id,
        }
        body = {
            **await _request(transaction, case),
            "name": name,
            "reason": verdict.reason,
            "requestedBy": call.caller.identity,
            "at": at.isoformat(),
        }
        await transaction.put_record(REQUESTS, name, {"conflict": list(key), "body": body})
        stored = await transaction.put(
            rewritten(now, state="deferred", deferred=None, undone=None, asked=said)
        )
        record = self._trail.record(
            call,
            "conflict.ask",
            key=key,
            reason=verdict.reason,
            diff={"request": name, "type": now.spec["type"]},
            permission=Permission.DECIDE,
        )
        await transaction.audit(record)
        return stored

    def _name(self, case: Case, call: Call) -> str:
        """Return the request's name: no other one's, and the same however often this is run."""
        conflict = case.conflict
        identity = (self._site, *conflict.key, conflict.uid, str(conflict.revision))
        said = "\0".join((*identity, call.caller.identity, call.request_id))
        digest = hashlib.sha256(said.encode()).hexdigest()[:12]
        return f"{self._site}-{conflict.spec['target']['name'][:_LONGEST]}-{digest}"


async def _request(transaction: Transaction, case: Case) -> dict[str, Any]:
    """Return what is asked for, and of which version of the federation's own."""
    asked, key = case.way.asks, case.conflict.key
    known = await transaction.record(INHERITED, record_name(asked.key)) if asked else None
    if asked is None or known is None:
        raise outdated(key)
    target = asked.key
    return {
        "tenant": key.tenant,
        "conflict": key.name,
        "target": {"kind": target.kind, "tenant": target.tenant, "name": target.name},
        "scope": target.scope,
        "baseRevision": known["revision"],
        "spec": dict(case.way.spec),
    }
