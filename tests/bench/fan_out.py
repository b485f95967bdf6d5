"""P4: one change to a thousand watchers, beside etcd's HTTP gateway.

The time from just before the put is sent to the last complete event.  Both sides are plain text
and have the same receiver in another process than the server; our figure with mutual TLS stands
beside it.  A watcher that got an event twice, or not, is an error.
"""

import asyncio
import http.client
import json
import random
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fsm.trust import FSMCredentials
from shared.clock import SystemClock
from shared.pki.authority import Authority
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import Expectation, Role
from shared.pki.keys import generate_key
from shared.pki.tls import ServerCheck, client_context
from tests.bench.harness import (
    PEER_PYTHON,
    ROOT,
    Goal,
    Measurement,
    PeerPackage,
    Program,
    Results,
    Run,
    benchmark,
    running,
)
from tests.bench.peers.etcd_fan_out import WARM_UP
from tests.bench.receivers import Receivers, cpu_of, percentile
from tests.integration.fsm.harness import FSM, TRUST_DOMAIN, prepare, sdsp_credentials

GOAL = Goal(0.6, "at most")
VALUE = 1024


@dataclass(frozen=True, slots=True)
class Latencies:
    """Milliseconds of each put to the last and the middle watcher; CPU milliseconds per put."""

    last: list[float]
    middle: list[float]
    server_cpu: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.last)

    @property
    def p99(self) -> float:
        return percentile(self.last, 0.99)


@benchmark(
    "fan_out",
    title="P4 one change to 1,000 watchers",
    needs=(Program("etcd", apt="etcd-server"), PeerPackage("grpcio-tools")),
)
def fan_out(run: Run) -> Results:
    watchers, puts, rounds = run.pick((1000, 200, 3), (100, 20, 1))
    ours: list[Latencies] = []
    peers: list[Latencies] = []
    for number in range(rounds):
        run.say(f"round {number + 1} of {rounds}: {watchers} watchers, {puts} puts")
        ours.append(_measured(run.folder / f"ours{number}", watchers, puts, plain=True))
        peers.append(_etcd(run.folder / f"etcd{number}", watchers, puts))
    run.say("the same over mutual TLS")
    secure = _measured(run.folder / "secure", watchers, puts, plain=False)
    beside = {
        "watchers": watchers,
        "puts": puts,
        "middle_watcher_ms": _middle([statistics.median(each.middle) for each in ours]),
        "server_cpu_ms": _middle([each.server_cpu for each in ours]),
        "etcd_cpu_ms": _middle([each.server_cpu for each in peers]),
        "mtls_median_ms": round(secure.median, 2),
        "mtls_p99_ms": round(secure.p99, 2),
    }
    median, p99 = (
        Measurement(
            figure=f"{name} to the last of {watchers:,} watchers",
            ours=statistics.median(getattr(each, part) for each in ours),
            unit="ms",
            peer=statistics.median(getattr(each, part) for each in peers),
            peer_name="etcd HTTP gateway",
            goal=GOAL,
            extra=beside,
        )
        for name, part in (("median", "median"), ("p99", "p99"))
    )
    note = f"over mutual TLS: median {secure.median:.1f} ms, p99 {secure.p99:.1f} ms"
    return Results((median, p99), notes=(note,))


def _middle(values: list[float]) -> float:
    return round(statistics.median(values), 2)


@contextmanager
def fsm_process(
    fsm: FSM, *, plain: bool, port: int = 0
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run an FSM of its own process; yield it and its port."""
    flags = ["--plain"] if plain else []
    command = [sys.executable, "-m", "tests.bench.fsm_server", fsm.data, *flags]
    command += ["--port", str(port)]
    with running(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


def site_credentials(fsm: FSM) -> Credentials:
    """Return what a site would show that had joined: a certificate of the FSM's authorities."""
    issuing = Authority(FSMCredentials.beneath(fsm.data).issuing.load(), clock=SystemClock())
    key = generate_key()
    chain = issuing.issue_site_intermediate(
        create_csr(key), "bench", dns_names=["localhost"], ip_addresses=["127.0.0.1"]
    )
    return sdsp_credentials(
        Authority(Credentials(key, chain, issuing.credentials.roots), clock=SystemClock())
    )


def _measured(folder: Path, watchers: int, puts: int, *, plain: bool) -> Latencies:
    folder.mkdir()
    fsm = asyncio.run(prepare(folder))
    tls: ssl.SSLContext | None = None
    if not plain:
        check = ServerCheck(TRUST_DOMAIN, (Expectation(Role.FSM),), revoked=lambda _: False)
        tls = client_context(site_credentials(fsm), check=check).current
    with fsm_process(fsm, plain=plain) as (process, port):
        # Only a server that has started has keys that sign tokens.
        token = fsm.admin_token()
        head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
        request = f"GET /api/v1/watch?kinds=networks HTTP/1.1\r\n{head}".encode()
        receivers = Receivers(
            port,
            request,
            count=watchers,
            ready=b'"type":"bookmark"',
            event=b'"type":"commit"',
            tls=tls,
        )
        try:
            return _puts(receivers, _Writer(port, token, tls), process.pid, puts)
        finally:
            receivers.close()


class _Writer:
    """One kept-alive connection that puts a Network, other each time."""

    def __init__(self, port: int, token: str, tls: ssl.SSLContext | None) -> None:
        host = "127.0.0.1"
        self._connection = (
            http.client.HTTPSConnection(host, port, context=tls)
            if tls
            else http.client.HTTPConnection(host, port)
        )
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._filler = random.Random(1)

    def body(self) -> bytes:
        document: dict[str, Any] = {
            "apiVersion": "hanse/v1",
            "kind": "Network",
            "metadata": {
                "name": "fan-out",
                "annotations": {"value": self._filler.randbytes(VALUE // 2).hex()},
            },
            "spec": {},
        }
        return orjson.dumps(document)

    def put(self, body: bytes) -> None:
        self._connection.request("PUT", "/api/v1/networks/fan-out", body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"put: {answer.status} {text[:300]!r}")


def _puts(receivers: Receivers, writer: _Writer, pid: int, puts: int) -> Latencies:
    last, middle = [], []
    spent = 0.0
    for number in range(puts + WARM_UP):
        if number == WARM_UP:
            spent = cpu_of(pid)
        body = writer.body()
        receivers.expect()
        begun = time.perf_counter()
        writer.put(body)
        times = receivers.wait()
        last.append((max(times) - begun) * 1e3)
        middle.append((statistics.median(times) - begun) * 1e3)
    spent = (cpu_of(pid) - spent) / puts * 1e3
    return Latencies(last[WARM_UP:], middle[WARM_UP:], spent)


def _etcd(folder: Path, watchers: int, puts: int) -> Latencies:
    folder.mkdir()
    flags = ["--watchers", str(watchers), "--puts", str(puts)]
    done = subprocess.run(
        [PEER_PYTHON, "-m", "tests.bench.peers.etcd_fan_out", folder, *flags],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    answer = json.loads(done.stdout)
    return Latencies(answer["last_ms"], answer["middle_ms"], answer["etcd_cpu_ms"])
