"""Durable writes, one after another: a kept-alive client sends the next PUT after the reply.

Everything that a PUT is takes part: TLS, the token, validation, admission, the transaction with its
audit record and the digest chain, and SQLite's commit with synchronous=FULL.  The peer is etcd,
whose puts have nothing of this but the log and the fsync; both write to the same disk.  They take
turns, so that a disk that slows down does so for both.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.harness import (
    PEER_PYTHON,
    Goal,
    Measurement,
    PeerPackage,
    Program,
    Results,
    Run,
    benchmark,
    running,
)
from tests.bench.processes import FSM, cpu_seconds, fsm_process
from tests.bench.raw_client import RawClient, encode_request

DRIVER: Final = Path(__file__).parent / "peers/drive_etcd_puts.py"
NAMES: Final = 100
"""Objects that are written in turn; the first time they are created."""
GOAL: Final = Goal(0.25, "at least")


@benchmark(
    "durable_writes",
    title="P5 durable writes, one after another",
    needs=(Program("etcd", apt="etcd-server"), PeerPackage("grpcio"), PeerPackage("grpcio-tools")),
)
def durable_writes(run: Run) -> Results:
    seconds, rounds = run.pick(3.0, 0.3), run.pick(5, 1)
    with (
        fsm_process(run.folder) as fsm,
        etcd_puts(run.folder, seconds=seconds) as peer,
        RawClient(fsm.port, fsm.client.context(with_certificate=False)) as client,
    ):
        write = _writer(fsm, client)
        _rate(write, seconds / 3)
        ours: list[float] = []
        theirs: list[float] = []
        spent, written = 0.0, 0.0
        for number in range(rounds):
            run.say(f"round {number + 1} of {rounds}")
            before = cpu_seconds(fsm.pid)
            ours.append(_rate(write, seconds))
            spent += cpu_seconds(fsm.pid) - before
            written += ours[-1] * seconds
            theirs.append(peer())
    return Results(
        [
            Measurement(
                "PUTs of one client",
                median(ours),
                "PUT/s",
                peer=median(theirs),
                peer_name="etcd",
                goal=GOAL,
                extra={
                    "rounds": ours,
                    "peer_rounds": theirs,
                    "server_cpu_ms_per_put": 1e3 * spent / written,
                },
            )
        ]
    )


def _writer(fsm: FSM, client: RawClient) -> Callable[[], None]:
    """Return what writes one object and is sure that it did."""
    headers = {"Authorization": f"Bearer {fsm.client.token('writer', 'admin')}"}
    numbers = count()

    def write() -> None:
        number = next(numbers)
        name = f"bench-{number % NAMES}"
        document = {
            "apiVersion": "hanse/v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": {"app": "bench"}},
            "spec": {"entries": [{"protocol": "tcp", "ports": [str(1 + number // NAMES % 65535)]}]},
        }
        answer = client.ask(encode_request("PUT", f"/api/v1/services/{name}", headers, document))
        if answer.status != (201 if number < NAMES else 200):
            raise RuntimeError(f"PUT {name}: {answer.status} {answer.body[:500]!r}")

    return write


def _rate(write: Callable[[], None], seconds: float) -> float:
    start = time.perf_counter()
    end, done = start + seconds, 0
    while time.perf_counter() < end:
        write()
        done += 1
    return done / (time.perf_counter() - start)


@contextmanager
def etcd_puts(folder: Path, *, seconds: float) -> Iterator[Callable[[], float]]:
    """Run an etcd; what is given measures its puts a second, one after another, for a while."""
    own = folder / "etcd"
    own.mkdir()
    command = [PEER_PYTHON, DRIVER, own, "--seconds", str(seconds)]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:

        def answer() -> dict[str, Any]:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("etcd's driver ended; it says why above")
            found: dict[str, Any] = json.loads(line)
            return found

        def measure() -> float:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            return float(answer()["puts_per_s"])

        answer()
        yield measure
        assert process.stdin is not None
        # It stops its etcd when there is nothing more to do.
        process.stdin.close()
        process.wait(30)
