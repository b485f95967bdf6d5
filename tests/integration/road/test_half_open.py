"""A connection whose other end is gone, though both sockets look open, is shown as no connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from dsn.settings import Identity, load_identity, save_identity
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import HurriedClock, RoadSite, Wire, joined


async def test_a_silent_link_to_the_fsm_is_not_shown_as_connected_at_either_end(
    fsm: FSM, tmp_path: Path
) -> None:
    async with joined(tmp_path, fsm, clock=HurriedClock()) as site, site.serving():
        admin = fsm.admin()
        await site.until(lambda status: status["upstream"]["connected"])
        while not (await admin.status())["sites"][0]["connected"]:
            pass

        site.wire.silence()
        status = await site.until(lambda found: not found["upstream"]["connected"])
        assert status["upstream"]["error"] in ("silent", "unreachable")
        fsm.clock.ahead += timedelta(seconds=21)
        assert not (await admin.status())["sites"][0]["connected"]

        site.wire.mend()
        await site.until(lambda found: found["upstream"]["connected"])


async def test_a_silent_node_is_not_shown_as_connected(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await site.populate()
    await site.join_node("node-1", tmp_path / "n1")
    async with _wired(tmp_path / "n1", site) as wire, site.agent(tmp_path / "n1"):
        await site.until_node("node-1", state="realised", connected=True)
        wire.silence()
        site.clock.ahead += timedelta(seconds=61)
        found = await site.node("node-1")
        assert (found["connected"], found["state"]) == (False, "realised")
        wire.mend()
        # Its next report brings it back: none is due by the shifted clock, so ask for news.
        await site.put("Network", "A", {"subnets": ["10.0.0.0/25"]})
        await site.until_node("node-1", connected=True)


@asynccontextmanager
async def _wired(data: Path, site: RoadSite) -> AsyncIterator[Wire]:
    """Let a joined node reach its site by a wire."""
    wire = Wire(site.settings.listen.port)
    await wire.start()
    identity = load_identity(data)
    server = f"https://127.0.0.1:{wire.port}"
    save_identity(data, Identity((server,), identity.trust_domain, identity.site, identity.node))
    try:
        yield wire
    finally:
        await wire.close()
