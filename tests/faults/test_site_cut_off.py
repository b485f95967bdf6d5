"""Site cut off: both ways, one way, half-open.

The site is autonomous; bounded queues; nobody shows it as connected; on rejoin it converges and
lists conflicts.  Here: a wire that carries one way only, each way, as both ends see it.  Also:
tests/integration/road/test_fsm_away.py (autonomy), test_half_open.py, test_rejoin.py;
tests/unit/dsn/upstream/test_report.py (bounded); `make chaos` cuts wires between namespaces for
real.  Conflicts come with their kind, later.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.http.peer import PeerLimits
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import HurriedClock, Wire, _Held, joined


class OneWayWire(Wire):
    """A wire of which one direction can fall silent."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._directions = itertools.cycle(("up", "down"))
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        for each in self._open.values():
            each.set()

    def silence_only(self, direction: str) -> None:
        self._open[direction].clear()

    def mend(self) -> None:
        super().mend()
        for each in self._open.values():
            each.set()

    # Called for each connection's two directions in turn, before either runs.
    def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        return super()._pass(_Held(reader, self._open[next(self._directions)]), writer)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_site_heard_one_way_only_is_shown_as_connected_by_nobody(
    fsm: FSM, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth, as the site's clock has it.
    limits = PeerLimits(connect=1.0, total=3.0, silence=3.0)
    monkeypatch.setattr("shared.http.peer.PeerLimits", lambda: limits)
    wire = OneWayWire(fsm.settings.listen.port)
    await wire.start()
    try:
        async with joined(tmp_path, fsm, clock=HurriedClock()) as site:
            site.settings = site.settings.model_copy(
                update={"upstream": (f"https://127.0.0.1:{wire.port}",)}
            )
            admin = fsm.admin()
            async with site.serving():
                await site.until(lambda status: status["upstream"]["connected"])
                while not (await admin.status())["sites"][0]["connected"]:
                    pass

                wire.silence_only(direction)
                status = await site.until(lambda found: not found["upstream"]["connected"])
                assert status["upstream"]["error"] in ("silent", "unreachable")
                fsm.clock.ahead += timedelta(seconds=21)
                assert not (await admin.status())["sites"][0]["connected"]
                # The site goes on by itself, and the FSM without it.
                await site.put("Network", "local", {"vlan": 5})
                await admin.put("networks", "global", {"vlan": 6})

                wire.mend()
                await site.until(lambda found: found["upstream"]["connected"])
                await site.heard(fsm)
                while not (await admin.status())["sites"][0]["connected"]:
                    pass
    finally:
        await wire.close()
