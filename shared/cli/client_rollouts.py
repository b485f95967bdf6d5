"""What a client asks of rollouts, and of pausing sites, at the FSM: a part of Client."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from shared.cli.answers import Object
from shared.cli.connection import API, Connection, params_of, segment_of
from shared.ids import COMMON


class _Lists(Protocol):
    def list(self, kind: str, *, tenant: str | None = None) -> AsyncGenerator[Object, None]: ...


class RolloutCalls:
    """Its methods raise what Client's do."""

    _connection: Connection

    def rollouts(self: _Lists, *, tenant: str | None = None) -> AsyncGenerator[Object, None]:
        """Yield rollouts, those that have ended too, as list() does."""
        return self.list("Rollout", tenant=tenant)

    async def start_rollout(
        self,
        document: Mapping[str, Any],
        *,
        order: Sequence[Mapping[str, Any]] = (),
        max_failures: int = 0,
        patience: str | None = None,
        name: str | None = None,
        reason: str | None = None,
        if_match: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Write a policy that goes site by site; return its Rollout.

        `order` are selectors of sites, a wave each; sites that none selects come last.
        `if_match` is the policy's revision that must still stand, 0 if there must be none.
        Invalid (`rollout_running`, and what the policy itself is refused for).
        """
        body: dict[str, Any] = {
            "object": document,
            "order": [*order],
            "maxFailures": max_failures,
            "patience": patience,
            "name": name,
            "reason": reason,
        }
        answer = await self._connection.write(
            "POST",
            f"{API}/rollouts/start",
            body={key: value for key, value in body.items() if value is not None},
            params=params_of(dryRun="true" if dry_run else None),
            headers={} if if_match is None else {"If-Match": f'"{if_match}"'},
        )
        return Object.of(answer.json())

    async def pause_rollout(self, name: str, *, reason: str, tenant: str = COMMON) -> Object:
        """Halt a rollout: no further site gets the change.  Conflict (`rollout_ended`)."""
        return await self._steer(name, "pause", tenant, {"reason": reason})

    async def resume_rollout(
        self, name: str, *, reason: str, max_failures: int | None = None, tenant: str = COMMON
    ) -> Object:
        """Let a paused or stopped rollout go on; `max_failures` is how many may fail from now on.

        Conflict (`rollout_ended`; `rollout_failing` if it would stop again at once).
        """
        more = {} if max_failures is None else {"maxFailures": max_failures}
        return await self._steer(name, "resume", tenant, {"reason": reason, **more})

    async def abort_rollout(self, name: str, *, reason: str, tenant: str = COMMON) -> Object:
        """End a rollout and write the version before again.  Conflict (`rollout_ended`)."""
        return await self._steer(name, "abort", tenant, {"reason": reason})

    async def rollout_progress(self, name: str, *, tenant: str = COMMON) -> dict[str, Any]:
        """Return `{"rollout", "waves", "failed", "waitsFor"}`: how each site stands in it."""
        path = f"{API}/rollouts/{segment_of(name)}/progress"
        params = params_of(tenant=None if tenant == COMMON else tenant)
        return await self._connection.mapping("GET", path, params=params)

    async def pause_site(self, site: str, *, reason: str, until: datetime | None = None) -> Object:
        """Let a site keep the policy that it has; return its Site.  Conflict (`site_paused`)."""
        more = {} if until is None else {"until": until.isoformat()}
        return await self._tell_site(site, "pause", {"reason": reason, **more})

    async def resume_site(self, site: str, *, reason: str) -> Object:
        """Let a paused site take changes again; return its Site.  Conflict (`not_paused`)."""
        return await self._tell_site(site, "resume", {"reason": reason})

    async def _tell_site(self, site: str, how: str, body: Mapping[str, Any]) -> Object:
        path = f"{API}/sites/{segment_of(site)}/{how}"
        return Object.of((await self._connection.write("POST", path, body=body)).json())

    async def _steer(self, name: str, how: str, tenant: str, body: Mapping[str, Any]) -> Object:
        answer = await self._connection.write(
            "POST",
            f"{API}/rollouts/{segment_of(name)}/{how}",
            body=body,
            params=params_of(tenant=None if tenant == COMMON else tenant),
        )
        return Object.of(answer.json())
