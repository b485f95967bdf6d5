"""The seam through which reads and refusals reach the audit trail.

Writes carry their record in their own transaction (shared.objects.service).  Reads have none, so
they come here, every one of them; which are kept is decided in one place.
"""

from typing import Final

from shared.auth.identity import Caller
from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import Key
from shared.objects.call import Call
from shared.store.contract import AuditRecord, Store

SENSITIVE: Final = frozenset(
    {"Credential", "JoinToken", "Role", "RoleBinding", "ServiceAccount", "User", "AuditRecord"}
)
"""Kinds whose reading is always recorded."""


class Trail:
    def __init__(
        self, *, store: Store, clock: Clock, kept: frozenset[str] | None = SENSITIVE
    ) -> None:
        """`kept` are the kinds whose reads are recorded; None: every read."""
        self._store = store
        self._clock = clock
        self._kept = kept

    async def read(
        self,
        call: Call,
        action: str,
        kind: str,
        *,
        tenant: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Record that a caller was shown objects of a kind; `action` is get, list and so on."""
        if self._kept is not None and kind not in self._kept:
            return
        record = self.record(call, action, key=key, tenant=tenant, reason=f"{action} {kind}")
        await self._store.audit([record])

    async def refused(
        self, call: Call, action: str, error: HanseError, *, key: Key | None = None
    ) -> None:
        """Record that a known caller was refused."""
        reason = error.recorded[:500]
        record = self.record(call, action, key=key, outcome=error.code, reason=reason)
        await self._store.audit([record])

    async def login(
        self, request_id: str, identity: str, address: str | None, *, outcome: str
    ) -> None:
        await self._store.audit(
            [
                AuditRecord(
                    at=self._clock.now(),
                    request_id=request_id,
                    identity=identity[:200],
                    action="login",
                    outcome=outcome,
                    source_address=address,
                )
            ]
        )

    def record(
        self,
        call: Call,
        action: str,
        *,
        key: Key | None = None,
        tenant: str | None = None,
        outcome: str = "ok",
        reason: str | None = None,
        diff: dict[str, object] | None = None,
    ) -> AuditRecord:
        """Return a record of what the call does, for a transaction to append."""
        caller: Caller = call.caller
        return AuditRecord(
            at=self._clock.now(),
            request_id=call.request_id,
            identity=caller.identity,
            action=action,
            outcome=outcome,
            tenant=key.tenant if key else tenant,
            key=key,
            source_address=caller.address,
            diff=diff or {},
            reason=reason,
            trace_id=call.trace_id,
        )
