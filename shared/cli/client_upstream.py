"""What a client asks of a site's way to its FSM: a part of Client."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.cli.connection import API, Connection


class UpstreamCalls:
    """Its methods raise what Client's do."""

    _connection: Connection

    async def detach(self, *, until: datetime, reason: str) -> Mapping[str, Any]:
        """Cut the site off from its FSM until a time; return since when, until when, by whom.

        A second call changes the time and the reason.  Invalid (`invalid_value`) if it is past.
        """
        body = {"until": until.isoformat(), "reason": reason}
        answer = await self._connection.write("POST", f"{API}/upstream/detachment", body=body)
        found: Mapping[str, Any] = answer.json()
        return found

    async def attach(self, *, reason: str) -> None:
        """Let a detached site connect again; Conflict (`not_detached`)."""
        body = {"reason": reason}
        await self._connection.write("POST", f"{API}/upstream/attachment", body=body)
