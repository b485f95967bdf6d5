"""What a client asks the FSM to ask its sites: a part of Client."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from shared.cli.answers import Base, Delete, Put
from shared.cli.connection import API, Connection, params_of
from shared.cli.kinds import find_kind


class QueryCalls:
    """Its methods raise what Client's do."""

    _connection: Connection

    async def base(self, kind: str) -> Base:
        """Return where the server's store stands; `kind` is one that the caller may read."""
        path = f"{API}/{find_kind(kind).plural}"
        found = await self._connection.mapping("GET", path, params=params_of(limit=1))
        return Base.of(found["metadata"])

    async def impact(
        self,
        operations: Sequence[Put | Delete],
        *,
        sites: str | None = None,
        deadline: float = 10.0,
        require_all: bool = False,
        max_boxes: int | None = None,
        force: bool = False,
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield what writing these would do at each site that they concern; nothing is written.

        The lines are those of POST /impact: `begun`, one of type `site` as each answers, `end`.
        `sites` is a label selector; `deadline` is in seconds.  Unavailable (`sites_missing`) with
        `require_all` if any site is missing.  Asks the FSM.
        """
        body: dict[str, Any] = {
            "operations": [each.to_json() for each in operations],
            "sites": sites,
            "deadline": deadline,
            "requireAllSites": require_all,
            "force": force,
        }
        if max_boxes is not None:
            body["maxBoxes"] = max_boxes
        async for line in self._connection.lines(f"{API}/impact", {}, body=body):
            yield line
