"""A site as a node sees it: lines that a test puts on the stream, reports that it reads."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shared.errors import HanseError


class FakeSite:
    """Implements the follower's and the reporter's transport.

    Each session yields the lines of the next script; an error in it is raised there.  After its
    last line the stream stays open until `hang_up`.
    """

    def __init__(self, *scripts: list[Any]) -> None:
        self.scripts = list(scripts)
        self.asked: list[dict[str, str]] = []
        self.reports: list[dict[str, Any]] = []
        self.refuse_reports: HanseError | None = None
        self.reported = asyncio.Event()
        self.idle = asyncio.Event()
        self.hang_up = asyncio.Event()

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        assert (method, path) == ("GET", "/node/v1/configuration")
        self.asked.append(dict(params or {}))
        script = self.scripts.pop(0) if self.scripts else []
        if script and isinstance(script[0], HanseError):
            raise script[0]
        yield self._lines(script)

    async def _lines(self, script: list[Any]) -> AsyncIterator[Any]:
        for line in script:
            if isinstance(line, HanseError):
                raise line
            yield line
        if not self.scripts:
            self.idle.set()
            await self.hang_up.wait()

    async def post(self, path: str, body: Any) -> None:
        assert path == "/node/v1/reports"
        if self.refuse_reports:
            error, self.refuse_reports = self.refuse_reports, None
            raise error
        self.reports.append(body)
        self.reported.set()
