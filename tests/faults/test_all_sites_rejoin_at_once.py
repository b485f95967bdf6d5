"""All sites rejoin at once.

Full jitter; streamed snapshots; memory per watcher bounded.  Here: an FSM that its sites lose and
find again, and what it holds for those who ask and don't read.  Also: tests/unit/shared/test_backoff.py,
tests/unit/shared/feed/test_serve.py, tests/unit/fsm/feed/test_hub.py; `python -m tests.bench
thousand_sites` says what a thousand cost.
"""

import asyncio
import random
import socket
from collections import Counter

from shared.backoff import Backoff
from shared.http.accepting import AT_ONCE
from shared.ids import Key
from shared.pki.identity import Expectation, Role
from shared.pki.tls import ServerCheck, client_context
from shared.store.contract import Draft, Transaction
from shared.tasks.group import Group
from shared.tasks.streams import LONG
from tests.faults.buffers import Buffers
from tests.integration.fsm.harness import (
    FSM,
    TRUST_DOMAIN,
    JoinedSite,
    MemoryCopy,
    follow,
    join_site,
)

SITES = 8


def test_a_thousand_sites_do_not_come_back_in_the_same_second() -> None:
    back: Counter[int] = Counter()
    for number in range(1000):
        # Away for a minute, a site tries again and again; the first try after that finds the FSM.
        backoff = Backoff(first=0.2, longest=20.0, source=random.Random(number))
        at = 0.0
        while at < 60.0:
            at += backoff.next()
        back[int(at - 60.0)] += 1
    assert max(back.values()) < 150
    assert max(back) < 20


async def join_all(fsm: FSM) -> list[JoinedSite]:
    admin = fsm.admin()
    joined = []
    for number in range(SITES):
        await admin.put("sites", f"site-{number}", {})
        joined.append(await join_site(fsm, await admin.token(f"site-{number}")))
    return joined


async def test_sites_that_lost_the_fsm_together_resume_and_list_nothing(stopped: FSM) -> None:
    copies = [MemoryCopy() for _ in range(SITES)]
    async with stopped.serving():
        sites = await join_all(stopped)
        for site in sites:
            stopped.clients.remove(site.client)
        followers = [follow(site.client, copy) for site, copy in zip(sites, copies, strict=True)]
    async with Group() as group:
        try:
            for follower in followers:
                group.start(follower.run(), name="follow")
            async with stopped.serving():
                await stopped.admin().put("networks", "Before", {})
                for copy in copies:
                    await copy.until(lambda copy=copy: "Before" in copy.names("Network"))
            async with stopped.serving():
                await stopped.admin().put("networks", "After", {})
                for copy in copies:
                    await copy.until(lambda copy=copy: "After" in copy.names("Network"))
        finally:
            for site in sites:
                await site.client.close()
    assert [copy.listed for copy in copies] == [1] * SITES


async def open_raw(fsm: FSM, site: JoinedSite) -> asyncio.StreamWriter:
    """Connect as a site that takes as little as it can."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    port = fsm.settings.listen.port
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.FSM),), revoked=lambda _: False)
    context = client_context(site.credentials, check=check)
    _, writer = await asyncio.open_connection(
        sock=sock, ssl=context, server_hostname="localhost", limit=1024
    )
    return writer


async def test_a_snapshot_that_nobody_reads_costs_a_piece_of_it(stopped: FSM) -> None:
    async with stopped.serving() as federation:

        async def work(transaction: Transaction) -> None:
            for number in range(60):
                key = Key("Network", "common", "federation", f"n{number}")
                await transaction.put(Draft(key, {}, annotations={"note": "x" * 60_000}))

        done = await federation.store.transact(work)
        sites = await join_all(stopped)
        await federation.hub.reach(done.position.revision)
        writers = [await open_raw(stopped, site) for site in sites]
        buffers = Buffers()
        for writer in writers:
            writer.write(b"GET /feed/v1/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            # No event says so.
            while sum(size > 0 for size in buffers.sizes()) < SITES:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert max(buffers.sizes()) < 3 * LONG, "the whole page has 3.6 MB"
        for writer in writers:
            writer.transport.abort()


async def test_those_who_dawdle_at_the_door_keep_nobody_out(stopped: FSM) -> None:
    async with stopped.serving():
        port = stopped.settings.listen.port
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * AT_ONCE)]
        async with asyncio.timeout(10):
            await stopped.admin().put("networks", "AppX", {})
        for _, writer in silent:
            writer.transport.abort()
