"""The FSM while its sites come and go, watchers come, dawdle and stop reading, and policy changes.

Everything is real: processes, TLS, the store on disk.  What is sampled is the FSM's process.
"""

import asyncio
import random
import ssl
from pathlib import Path
from typing import Any, Final

from shared.errors import HanseError
from shared.http.peer import PeerClient
from shared.pki.tls import visitor_context
from shared.tasks.group import Group
from tests.bench.fan_out import fsm_process
from tests.bench.receivers import cpu_of
from tests.bench.site_clients import site_name
from tests.bench.thousand_sites import Sites, memory
from tests.integration.fsm.harness import FSM, prepare
from tests.soak.harness import Flat, Run, soak

SITES: Final = 100
WATCHERS: Final = 50
DEAF: Final = 10
"""Watchers that never read: the server must cut them off, and keep nothing of them."""
POLICIES: Final = 50
PERIOD: Final = 2.0
"""Seconds between two samples."""
PAUSE: Final = 0.2
"""Seconds between two changes."""
STAY: Final = 20.0
"""Seconds that a site or a watcher stays on average before it leaves and comes again."""


@soak(
    "feed",
    title="The FSM among sites and watchers that come and go",
    limits={
        "memory": Flat("MiB", share=0.05, amount=12),
        "descriptors": Flat("", share=0.1, amount=20),
        "threads": Flat("", share=0.0, amount=2),
    },
)
def feed(run: Run) -> None:
    folder = run.folder / "fsm"
    folder.mkdir()
    fsm = asyncio.run(prepare(folder))
    with fsm_process(fsm, plain=False) as (server, port), Sites(fsm.data, port, SITES, stay=STAY):
        asyncio.run(_work(run, fsm, server.pid, port))
        run.carried(**{"s of the FSM's CPU": cpu_of(server.pid)})


async def _work(run: Run, fsm: FSM, pid: int, port: int) -> None:
    token = fsm.admin_token()
    tls = visitor_context(fsm.roots)
    clients = [
        PeerClient([f"https://127.0.0.1:{port}"], tls=tls, token=lambda: token)
        for _ in range(WATCHERS + 1)
    ]
    writer, *watchers = clients
    for number in range(SITES):
        await _put(writer, "sites", "Site", site_name(number), {})
    try:
        async with Group() as group:
            for number, client in enumerate(watchers):
                group.start(_watch(run, client, random.Random(number)), name="watcher")
            for number in range(DEAF):
                group.start(_ignore(run, port, token, tls, random.Random(number)), name="deaf")
            group.start(_change(run, writer), name="changes")
            while run.goes_on():
                now = memory(pid)
                run.sample(
                    memory=now["rss"],
                    descriptors=now["descriptors"],
                    threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
                )
                await asyncio.sleep(PERIOD)
    finally:
        for client in clients:
            await client.close()


async def _change(run: Run, client: PeerClient) -> None:
    source = random.Random(1)
    while True:
        number = source.randrange(POLICIES)
        size = 60_000 if source.random() < 0.1 else 1_000
        note = source.randbytes(size // 2).hex()
        try:
            await _put(client, "networks", "Network", f"net-{number}", {}, note=note)
            run.carried(changes=1)
        except HanseError as exc:
            run.carried(**{f"changes refused: {exc.code}": 1})
        await asyncio.sleep(PAUSE)


async def _put(
    client: PeerClient, plural: str, kind: str, name: str, spec: dict[str, Any], **notes: str
) -> None:
    document = {
        "apiVersion": "hanse/v1",
        "kind": kind,
        "metadata": {"name": name, "annotations": notes},
        "spec": spec,
    }
    await client.put(f"/api/v1/{plural}/{name}", document)


async def _watch(run: Run, client: PeerClient, source: random.Random) -> None:
    """Watch, leave, and resume; what comes twice or out of order ends the soak."""
    after: int | None = None
    while True:
        params = {} if after is None else {"after": str(after)}
        try:
            async with (
                asyncio.timeout(source.expovariate(1 / STAY)),
                client.stream("GET", "/api/v1/watch", params=params) as lines,
            ):
                async for line in lines:
                    commit = line["type"] == "commit"
                    if after is not None and line["revision"] < after + commit:
                        raise AssertionError(f"after {after} came {line['revision']}")
                    after = line["revision"]
                    run.carried(events=commit)
        except TimeoutError:
            run.carried(reconnects=1)
        except HanseError as exc:
            run.carried(**{exc.code: 1})
            await asyncio.sleep(1.0)


async def _ignore(
    run: Run, port: int, token: str, tls: ssl.SSLContext, source: random.Random
) -> None:
    head = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    while True:
        try:
            _, writer = await asyncio.open_connection("localhost", port, ssl=tls, limit=1024)
        except OSError:
            run.carried(**{"refused connections": 1})
            await asyncio.sleep(1.0)
            continue
        writer.write(f"GET /api/v1/watch?after=0 HTTP/1.1\r\n{head}".encode())
        await asyncio.sleep(source.expovariate(1 / STAY))
        writer.transport.abort()
        run.carried(**{"deaf watchers": 1})
