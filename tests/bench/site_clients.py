"""Sites as the FSM sees them, without what they do with what they get; a process of their own.

`python -m tests.bench.site_clients FSM-FOLDER PORT COUNT`.  Each has a certificate of its own CA,
its own connections, the product's follower with its back-off, and a copy that keeps no more than
its position.  Says on standard output, a JSON line each time, when all have first got somewhere:
`{"revision", "received", "acknowledged"}`, in seconds of the machine's monotonic clock.
"""

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NoReturn

import orjson

from fsm.trust import FSMCredentials
from sdsp.settings import Wishes
from sdsp.upstream.subscription import subscription_of
from shared.backoff import Backoff
from shared.clock import SystemClock
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.feed.wire import Changes, Position, Refusal, Snapshot
from shared.http.peer import Answer, PeerClient, PeerLimits
from shared.pki.authority import Authority
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role
from shared.pki.keys import generate_key
from shared.pki.tls import ServerCheck, client_context, limit_tls_buffers
from shared.tasks.group import Group
from shared.tasks.program import run_program
from tests.integration.fsm.harness import TRUST_DOMAIN, sdsp_credentials

FIRST_RETRY, LONGEST_RETRY = 0.5, 20.0


def site_name(number: int) -> str:
    return f"site-{number:04d}"


def site_credentials(issuing: Authority, name: str) -> Credentials:
    """Return what a site shows that has joined: a certificate of its own CA beneath the FSM's."""
    key = generate_key()
    chain = issuing.issue_site_intermediate(
        create_csr(key), name, dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )
    site = Credentials(key, chain, issuing.credentials.roots)
    return sdsp_credentials(Authority(site, clock=SystemClock()))


class Progress:
    """How far all sites are; `lowest` of one kind goes up when the last one has got there."""

    def __init__(self, count: int) -> None:
        self._received = dict.fromkeys(range(count), 0)
        self._acknowledged = dict.fromkeys(range(count), 0)
        self._all_received: dict[int, float] = {}
        self._told = 0

    def received(self, number: int, revision: int) -> None:
        self._received[number] = revision
        lowest = min(self._received.values())
        self._all_received.setdefault(lowest, time.perf_counter())

    def acknowledged(self, number: int, revision: int) -> None:
        self._acknowledged[number] = max(revision, self._acknowledged[number])
        if self._acknowledged[number] <= self._told:
            return
        lowest = min(self._acknowledged.values())
        if lowest > self._told:
            self._told = lowest
            received = min(at for rev, at in self._all_received.items() if rev >= lowest)
            _say(revision=lowest, received=received, acknowledged=time.perf_counter())


class MarkingClient:
    """A PeerClient that notes which acknowledgements were taken."""

    def __init__(self, client: PeerClient, *, number: int, progress: Progress) -> None:
        self._client = client
        self._number = number
        self._progress = progress

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Answer:
        return await self._client.get(path, params=params)

    async def put(self, path: str, body: Any) -> Answer:
        return await self._client.put(path, body)

    async def post(self, path: str, body: Any) -> Answer:
        answer = await self._client.post(path, body)
        self._progress.acknowledged(self._number, body["position"]["revision"])
        return answer

    def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Any]:
        return self._client.stream(method, path, params=params)


class PositionOnly:
    """A copy that keeps no more than where it stands."""

    def __init__(self, *, number: int, progress: Progress) -> None:
        self._number = number
        self._progress = progress
        self._at: Position | None = None

    async def position(self) -> Position | None:
        return self._at

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        self._reached(snapshot.position)
        return ()

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        self._reached(changes.position)
        return ()

    async def advance(self, position: Position) -> None:
        self._reached(position)

    def _reached(self, position: Position) -> None:
        self._at = position
        self._progress.received(self._number, position.revision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--stay", type=float, help="seconds until a site breaks off, on average")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    limit_tls_buffers()
    issuing = Authority(FSMCredentials.beneath(given.folder).issuing.load(), clock=SystemClock())
    progress = Progress(given.count)

    async def connect(stop: asyncio.Event) -> None:
        clients = [_client(number, issuing, given.port) for number in range(given.count)]
        async with Group() as group:
            for number, client in enumerate(clients):
                follower = _follower(number, client, progress)
                group.start(follower.run(), name=site_name(number))
            if given.stay is not None:
                group.start(_break_off(clients, given.stay), name="break off")
            await stop.wait()
        for client in clients:
            await client.close()

    run_program(connect)


def _client(number: int, issuing: Authority, port: int) -> PeerClient:
    check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.FSM),), revoked=lambda _: False)
    credentials = site_credentials(issuing, site_name(number))
    return PeerClient(
        [f"https://127.0.0.1:{port}"],
        tls=client_context(credentials, check=check),
        # All sites share this process: a handshake here waits for those of the others.
        limits=PeerLimits(connect=60.0, total=90.0),
    )


def _follower(number: int, client: PeerClient, progress: Progress) -> Follower:
    source = random.Random(number)
    backoff = Backoff(first=FIRST_RETRY, longest=LONGEST_RETRY, source=source)
    return Follower(
        transport=MarkingClient(client, number=number, progress=progress),
        copy=PositionOnly(number=number, progress=progress),
        connector=Connector(peer="the FSM", clock=SystemClock(), backoff=backoff),
        subscription=subscription_of(Wishes()),
    )


async def _break_off(clients: Sequence[PeerClient], stay: float) -> NoReturn:
    """Cut one site's connections after another; its follower finds out, and comes back."""
    source = random.Random(1)
    while True:
        await asyncio.sleep(source.expovariate(len(clients) / stay))
        await source.choice(clients).close()


def _say(**what: float) -> None:
    sys.stdout.write(orjson.dumps(what).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
