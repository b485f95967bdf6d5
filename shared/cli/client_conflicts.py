"""What a client asks of conflicts, at an SDSP or of all sites at the FSM: a part of Client."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from shared.cli.answers import Object
from shared.cli.connection import API, Connection, params_of, segment_of
from shared.ids import COMMON


class _Lists(Protocol):
    def list(
        self, kind: str, *, tenant: str | None = None, fields: str | None = None
    ) -> AsyncGenerator[Object, None]: ...


class ConflictCalls:
    """Its methods raise what Client's do."""

    _connection: Connection

    def conflicts(
        self: _Lists, *, tenant: str | None = None, fields: str | None = None
    ) -> AsyncGenerator[Object, None]:
        """Yield conflicts, settled ones too, as list() does."""
        return self.list("Conflict", tenant=tenant, fields=fields)

    async def sites_conflicts(
        self, *, site: str | None = None, tenant: str | None = None, settled: bool = False
    ) -> Mapping[str, Any]:
        """Return all sites' conflicts as they reported them: `items`, and `sites`.  Asks the FSM.

        Names, codes and times, the most pressing first; `sites` says of which revision they are.
        """
        params = params_of(site=site, tenant=tenant, all="true" if settled else None)
        return await self._connection.mapping("GET", f"{API}/conflicts", params=params)

    async def sites_exceptions(
        self,
        *,
        site: str | None = None,
        kind: str | None = None,
        name: str | None = None,
        tenant: str | None = None,
    ) -> Sequence[Mapping[str, Any]]:
        """Return which sites make an exception to what, why and until when.  Asks the FSM.

        `kind`, `name` and `tenant` are those of what the exceptions are made to.
        """
        params = params_of(site=site, kind=kind, name=name, tenant=tenant)
        answer = await self._connection.mapping("GET", f"{API}/exceptions", params=params)
        return [*answer["items"]]

    async def decide_conflict(
        self,
        name: str,
        proposal: str,
        *,
        reason: str,
        tenant: str = COMMON,
        expires_at: datetime | None = None,
        if_match: int | None = None,
        digest: str | None = None,
    ) -> Object:
        """Settle a conflict by a proposal that it offers; return it as it is then.

        `expires_at` is when the exception that is left ends by itself; `if_match` is the conflict's
        revision that was looked at (RevisionConflict if it has changed since), `digest` that of the
        proposal as impact_of_conflict() told it.  Invalid (`proposal_not_offered`); Conflict
        (`conflict_resolved`, and `conflict_outdated` if what it is about, or what the proposal
        writes, has changed since).
        """
        body = {
            "proposal": proposal,
            "reason": reason,
            "expiresAt": None if expires_at is None else expires_at.isoformat(),
            **({} if digest is None else {"digest": digest}),
        }
        return await self._settle(name, "decision", tenant, body, if_match)

    async def decide_change_request(
        self,
        name: str,
        decision: str,
        *,
        reason: str,
        tenant: str = COMMON,
        target_revision: int | None = None,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Accept or refuse (`accept`, `refuse`) a site's change request; return it.  Asks the FSM.

        `target_revision` is the target's as it was looked at, which is needed where it has changed
        since the site asked: Conflict (`base_moved`) without, RevisionConflict if it isn't that.
        Conflict (`request_decided`, `target_gone`); and what the write of the target is refused
        for.
        """
        body: dict[str, Any] = {"decision": decision, "reason": reason}
        if target_revision is not None:
            body["targetRevision"] = target_revision
        params = params_of(
            tenant=None if tenant == COMMON else tenant, dryRun="true" if dry_run else None
        )
        answer = await self._connection.write(
            "POST",
            f"{API}/changerequests/{segment_of(name)}/decision",
            body=body,
            params=params,
            headers={} if if_match is None else {"If-Match": f'"{if_match}"'},
        )
        return Object.of(answer.json())

    async def defer_conflict(
        self,
        name: str,
        *,
        until: datetime,
        reason: str,
        tenant: str = COMMON,
        if_match: int | None = None,
    ) -> Object:
        """Put a conflict off, and return it; at `until` it is open again.

        `if_match` as for a decision.  Conflict (`conflict_resolved`).
        """
        body = {"until": until.isoformat(), "reason": reason}
        return await self._settle(name, "deferral", tenant, body, if_match)

    async def undo_conflict(
        self,
        name: str,
        *,
        reason: str,
        tenant: str = COMMON,
        if_match: int | None = None,
    ) -> Object:
        """Take the decision on a conflict back, and return the conflict, open again.

        `if_match` as for a decision.  Conflict (`not_decided`; `decision_superseded`, which says
        what has been written since).
        """
        return await self._settle(name, "undo", tenant, {"reason": reason}, if_match)

    async def impact_of_conflict(
        self, name: str, *, tenant: str = COMMON
    ) -> Sequence[Mapping[str, Any]]:
        """Return what each proposal of an open conflict writes and would change at the site now.

        Items are `{"name", "spec", "writes", "impact"}`, an impact being what `hanse compare`
        tells, with `changes`; or `{"name", "notOffered"}`, which says why.
        Forbidden to who may not decide for all tenants; TooLarge (`packets_too_intricate`).
        """
        path = f"{API}/conflicts/{segment_of(name)}/impact"
        params = params_of(tenant=None if tenant == COMMON else tenant)
        return [*(await self._connection.mapping("GET", path, params=params))["proposals"]]

    async def _settle(
        self, name: str, how: str, tenant: str, body: dict[str, Any], if_match: int | None
    ) -> Object:
        answer = await self._connection.write(
            "POST",
            f"{API}/conflicts/{segment_of(name)}/{how}",
            body=body,
            params=params_of(tenant=None if tenant == COMMON else tenant),
            headers={} if if_match is None else {"If-Match": f'"{if_match}"'},
        )
        return Object.of(answer.json())
