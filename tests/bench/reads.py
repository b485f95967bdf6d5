"""Reads: one pinned server process, 64 connections with client certificates, 8 people's tokens.

Ten thousand objects are read one after another by `GET /api/v1/services/NAME`, each answer with
the object as it is now; and in pages by `GET /api/v1/services?limit=100`.  The peer is a bare aiohttp
server that says hello: the same interpreter, loop and TLS, pinned to the same core, loaded by
the same generator from the other core; they take turns.

Besides answers a second this gives answers a second of the server's CPU time, which other work on
the machine disturbs less.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from shared.audit.walk import links_of, verify
from shared.clock import SystemClock
from shared.pki.certificates import certificates_to_pem
from shared.pki.credentials import CredentialsDirectory
from shared.pki.keys import key_to_pem
from shared.store.chain import row_of
from shared.store.sql import open_store
from tests.bench.harness import ROOT, Goal, Measurement, Results, Run, benchmark, running
from tests.bench.load import Done, Load
from tests.bench.processes import FSM, await_port, cpu_seconds, fsm_process, pinned
from tests.bench.raw_client import RawClient, encode_request
from tests.servers import free_port

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
CONNECTIONS: Final = 64
PEOPLE: Final = 8
BATCH: Final = 1000
"""Objects written in one transaction."""
GOAL: Final = Goal(0.5, "at least")


@dataclass(frozen=True, slots=True)
class Target:
    """One server to load: where it is, which process it is, what it is asked."""

    name: str
    port: int
    pid: int
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Loaded:
    done: Done
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.done.answers / self.done.seconds

    @property
    def rate_of_cpu(self) -> float:
        return self.done.total / self.cpu_s


@benchmark("reads", title="P6 reads")
def reads(run: Run) -> Results:
    count, rounds = run.pick(10_000, 200), run.pick(5, 1)
    seconds = run.pick(3.0, 1.5)
    with (
        fsm_process(run.folder, core=SERVER_CORE) as fsm,
        bare_aiohttp(fsm) as (port, pid),
    ):
        names = [f"bench-{number:05}" for number in range(count)]
        _write(fsm, names)
        one = Target("one object", fsm.port, fsm.pid, _gets(fsm, names))
        page = Target("page of 100", fsm.port, fsm.pid, _lists(fsm))
        hello = Target("hello", port, pid, [encode_request("GET", "/hello", {})])
        found: dict[str, list[Loaded]] = {each.name: [] for each in (one, page, hello)}
        for number in range(rounds):
            run.say(f"round {number + 1} of {rounds}")
            for target in (one, hello, page):
                loaded = load(target, fsm, run.folder, seconds=seconds)
                found[target.name].append(loaded)
        ours = (*found["one object"], *found["page of 100"])
        sent = sum(each.done.total for each in ours)
        records = audited(fsm)
    if records != sent:
        raise RuntimeError(f"{sent} requests were sent, and {records} audit records are found")
    return Results(
        [
            _measurement("GET of one object", found["one object"], found["hello"], goal=GOAL),
            _measurement(
                "GET of one object, of CPU", found["one object"], found["hello"], cpu=True
            ),
            _measurement("GET of 100 objects", found["page of 100"], found["hello"]),
        ],
        notes=[
            "GET /api/v1/services/NAME, in turn over all objects, and GET /api/v1/services?limit=100",
            f"audit records found afterwards: {records:,}, requests sent: {sent:,}",
        ],
    )


def load(target: Target, fsm: FSM, folder: Path, *, seconds: float) -> Loaded:
    """Load a server from the other core; RuntimeError if any answer isn't 200."""
    what = Load(
        port=target.port,
        requests=[each.decode() for each in target.requests],
        connections=CONNECTIONS,
        seconds=seconds,
        warm_up=seconds / 3,
        roots=str(fsm.client.roots),
        certificate=str(fsm.client.certificate),
    )
    file = folder / "load.json"
    file.write_text(json.dumps(asdict(what)))
    before = cpu_seconds(target.pid)
    command = pinned(LOAD_CORE, [sys.executable, "-m", "tests.bench.load", file])
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    spent = cpu_seconds(target.pid) - before
    done = Done(**json.loads(ended.stdout))
    if done.wrong:
        raise RuntimeError(f"{target.name}: {done.wrong} of {done.total} answers were not 200")
    return Loaded(done, spent)


def audited(fsm: FSM) -> int:
    """Return how many records there are of the people's reads; RuntimeError if any is unsound."""
    headers = {"Authorization": f"Bearer {fsm.client.token('auditor', 'admin')}"}
    with RawClient(fsm.port, fsm.client.context(with_certificate=False)) as client:
        # It writes out what waits, before anything is counted.
        answer = client.ask(encode_request("GET", "/api/v1/audit?limit=1", headers))
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {answer.body[:500]!r}")
    return asyncio.run(_count(f"sqlite:///{fsm.data / 'fsm.sqlite'}"))


async def _count(url: str) -> int:
    store = await open_store(url, clock=SystemClock())
    try:
        async with store.ledger.view() as view:
            records = [row_of(link.line or b"") async for links in links_of(view) for link in links]
        report = await verify(store.ledger)
    finally:
        await store.close()
    if not report.sound:
        raise RuntimeError(f"the audit trail is unsound: {report.findings[0].message}")
    return sum(
        each["identity"].startswith("user:person-") and each["action"] in ("get", "list")
        for each in records
    )


@contextmanager
def bare_aiohttp(fsm: FSM) -> Iterator[tuple[int, int]]:
    """Run the peer with the FSM's own certificate; give its port and process."""
    server = CredentialsDirectory(fsm.data / "pki/server").load()
    certificate = fsm.data.parent / "server.pem"
    certificate.touch(0o600)
    certificate.write_text(certificates_to_pem(server.chain) + key_to_pem(server.key), "ascii")
    port = free_port()
    module = "tests.bench.peers.bare_aiohttp"
    command = [sys.executable, "-m", module, port, certificate, fsm.client.roots]
    with running(pinned(SERVER_CORE, command), cwd=ROOT) as process:
        await_port(port, process)
        yield port, process.pid


def _gets(fsm: FSM, names: Sequence[str]) -> list[bytes]:
    tokens = [fsm.client.token(f"person-{number}", "viewer") for number in range(PEOPLE)]
    return [
        encode_request(
            "GET",
            f"/api/v1/services/{name}",
            {"Authorization": f"Bearer {tokens[number % PEOPLE]}"},
        )
        for number, name in enumerate(names)
    ]


def _lists(fsm: FSM) -> list[bytes]:
    tokens = [fsm.client.token(f"person-{number}", "viewer") for number in range(PEOPLE)]
    return [
        encode_request("GET", "/api/v1/services?limit=100", {"Authorization": f"Bearer {token}"})
        for token in tokens
    ]


def _write(fsm: FSM, names: Sequence[str]) -> None:
    """Create the objects, a transaction for each thousand."""
    headers = {"Authorization": f"Bearer {fsm.client.token('writer', 'admin')}"}
    with RawClient(fsm.port, fsm.client.context(with_certificate=False)) as client:
        for start in range(0, len(names), BATCH):
            operations = [
                {"operation": "put", "object": _service(name)}
                for name in names[start : start + BATCH]
            ]
            request = encode_request(
                "POST", "/api/v1/transactions", headers, {"operations": operations}
            )
            answer = client.ask(request)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {answer.body[:500]!r}")


def _service(name: str) -> dict[str, object]:
    return {
        "apiVersion": "hanse/v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {"entries": [{"protocol": "tcp", "ports": ["5432", "6432-6439"]}]},
    }


def _measurement(
    figure: str,
    ours: Sequence[Loaded],
    peers: Sequence[Loaded],
    *,
    goal: Goal | None = None,
    cpu: bool = False,
) -> Measurement:
    def rate(each: Loaded) -> float:
        return each.rate_of_cpu if cpu else each.rate

    return Measurement(
        figure,
        median(map(rate, ours)),
        "GET/s of CPU" if cpu else "GET/s",
        peer=median(map(rate, peers)),
        peer_name="bare aiohttp",
        goal=goal,
        extra={
            "rounds": [rate(each) for each in ours],
            "peer_rounds": [rate(each) for each in peers],
            "p50_ms": median(each.done.p50_ms for each in ours),
            "p99_ms": median(each.done.p99_ms for each in ours),
            "server_cpu": [each.cpu_s / each.done.seconds for each in ours],
        },
    )
