"""kill -9 of either side at each step of a change request: it is neither lost nor doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fsm.settings import FILE as FSM_FILE
from sdsp.settings import FILE as SDSP_FILE
from shared.cli.setup import store_settings
from shared.failpoints import EXIT_STATUS
from tests.e2e.hosts import Host
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_asked import (
    MINE,
    THEIRS,
    ask,
    asked,
    conflict_when,
    records,
    request,
    requests,
    rule_on,
)
from tests.integration.road.test_conflicts import parted
from tests.integration.road.world import RoadSite, declare, joined

SITE_PLACES = (
    "sdsp.request.before",
    "sdsp.request.after",
    "sdsp.answer.before",
    "sdsp.answer.after",
)
FSM_PLACES = ("fsm.request.before", "fsm.request.after")


@asynccontextmanager
async def killed(folder: Path, program: str, data: Path, place: str) -> AsyncIterator[None]:
    """Run a server as a process until it dies at a place; the block makes it come there."""
    folder.mkdir()
    host = Host(folder, environ={"HANSE_FAILPOINTS": f"{place}=exit"})
    try:
        running = host.start(program, "serve", "--data", str(data))
        await asyncio.to_thread(running.until, "serving at")
        yield
        assert await asyncio.to_thread(running.process.wait) == EXIT_STATUS
    finally:
        host.end()


async def asked_while_cut_off(fsm: FSM, site: RoadSite) -> str:
    """Let both sides change p, and ask the federation while it is away; return the conflict."""
    found = await parted(fsm, site, theirs=THEIRS, mine=MINE)
    site.wire.cut()
    await site.until(lambda status: not status["upstream"]["connected"])
    await ask(site, found["name"])
    return str(found["name"])


async def answered_once(fsm: FSM, site: RoadSite, conflict: str) -> None:
    """Refuse the one request that there is, if nobody has yet; the site hears of it once."""
    admin = fsm.admin()
    while not (found := await requests(admin)):
        pass
    assert len(found) == 1
    if found[0]["spec"].get("state", "open") == "open":
        await rule_on(admin, found[0]["metadata"]["name"], "refuse")
    back = await conflict_when(site, conflict, asked("refused"))
    assert back.get("state", "open") == "open"
    while await records(site):
        pass
    assert len(await requests(admin)) == 1
    told = [each async for each in site.api.audit(text="conflict.refused", changes=True)]
    assert len(told) == 1


def values_of(settings: Any) -> dict[str, Any]:
    return dict(settings.model_dump(mode="json", by_alias=True, exclude_defaults=True))


@pytest.mark.parametrize("place", SITE_PLACES)
async def test_a_site_that_is_killed_while_it_asks_asks_once(
    fsm: FSM, tmp_path: Path, place: str
) -> None:
    async with joined(tmp_path, fsm) as site:
        async with site.serving():
            await site.until(lambda status: bool(status["policies"]))
            conflict = await asked_while_cut_off(fsm, site)
        store_settings(site.data / SDSP_FILE, values_of(site.settings))
        async with killed(tmp_path / "home", "sdsp", site.data, place):
            site.wire.mend()
            if place.startswith("sdsp.answer"):
                admin = fsm.admin()
                await rule_on(admin, (await request(admin))["metadata"]["name"], "refuse")
        async with site.serving():
            await answered_once(fsm, site, conflict)


@pytest.mark.parametrize("place", FSM_PLACES)
async def test_an_fsm_that_is_killed_while_it_takes_a_request_takes_it_once(
    stopped: FSM, tmp_path: Path, place: str
) -> None:
    async with AsyncExitStack() as stack, AsyncExitStack() as up:
        await up.enter_async_context(stopped.serving())
        await declare(stopped.admin())
        site = await stack.enter_async_context(joined(tmp_path, stopped))
        await stack.enter_async_context(site.serving())
        await site.until(lambda status: bool(status["policies"]))
        conflict = await asked_while_cut_off(stopped, site)
        await up.aclose()
        store_settings(stopped.data / FSM_FILE, values_of(stopped.settings))
        async with killed(tmp_path / "home", "fsm", stopped.data, place):
            site.wire.mend()
        await up.enter_async_context(stopped.serving())
        await answered_once(stopped, site, conflict)
