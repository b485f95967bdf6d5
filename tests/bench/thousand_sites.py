"""The feed to a thousand sites: what they cost the FSM, and how fast a change is with all of them.

Each site has two TLS connections with a certificate of its own: the stream, and one for what it
says.  They come all at once, list a snapshot, and stream; then one policy changes again and again;
then the FSM is restarted, and all come back.
"""

import asyncio
import json
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from shared.http.peer import PeerClient
from shared.pki.tls import visitor_context
from tests.bench.fan_out import fsm_process
from tests.bench.harness import ROOT, Goal, Measurement, Results, Run, benchmark, running
from tests.bench.receivers import cpu_of, percentile
from tests.bench.site_clients import site_name
from tests.integration.fsm.harness import FSM, prepare

MEMORY: Final = Goal(500, "at most", of="figure")
PATIENCE: Final = 300.0
BATCH: Final = 250


@benchmark("thousand_sites", title="The feed to 1,000 sites over mutual TLS")
def thousand_sites(run: Run) -> Results:
    sites, policies, changes = run.pick((1000, 200, 30), (50, 20, 5))
    fsm = asyncio.run(prepare(run.folder))
    with fsm_process(fsm, plain=False) as (server, port):
        revision = _fill(fsm, port, sites, policies)
        bare = memory(server.pid)["rss"]
        with Sites(fsm.data, port, sites) as clients:
            run.say(f"{sites} sites join at once")
            begun = time.perf_counter()
            clients.until(revision)
            joined = time.perf_counter() - begun
            first = memory(server.pid)
            run.say(f"{changes} changes to all of them")
            spent = cpu_of(server.pid)
            changed = [_change(fsm, port, clients, number) for number in range(changes)]
            spent = (cpu_of(server.pid) - spent) / changes
            steady = memory(server.pid)
            server.terminate()
            server.wait(30)
            run.say("the FSM is restarted, and all come back")
            with fsm_process(fsm, plain=False, port=port) as (again, _):
                begun = time.perf_counter()
                _change(fsm, port, clients, changes)
                rejoined = time.perf_counter() - begun
                after = memory(again.pid)
    received = [each[0] for each in changed]
    acknowledged = [each[1] for each in changed]
    beside = {
        "sites": sites,
        "rss_before_mib": bare,
        "peak_while_joining_mib": first["peak"],
        "descriptors": steady["descriptors"],
        "received_median_ms": _ms(statistics.median(received)),
        "acknowledged_median_ms": _ms(statistics.median(acknowledged)),
        "acknowledged_p99_ms": _ms(percentile(acknowledged, 0.99)),
        "server_cpu_per_change_ms": _ms(spent),
        "join_all_s": round(joined, 1),
        "rejoin_all_s": round(rejoined, 1),
        "peak_while_rejoining_mib": after["peak"],
    }
    figures = (
        ("FSM memory, changes to all", steady["rss"], "MiB", MEMORY),
        ("FSM memory at most, all listing at once", first["peak"], "MiB", MEMORY),
        ("FSM memory at most, all coming back at once", after["peak"], "MiB", MEMORY),
        ("descriptors", steady["descriptors"], "", None),
        ("a change with all sites, median", _ms(statistics.median(received)), "ms", None),
        ("and acknowledged by all, median", _ms(statistics.median(acknowledged)), "ms", None),
        ("until all have joined and listed", joined, "s", None),
        ("until all are back and have a change", rejoined, "s", None),
    )
    return Results(
        [
            Measurement(figure=name, ours=value, unit=unit, goal=goal, extra=beside)
            for name, value, unit, goal in figures
        ]
    )


class Sites:
    """The process of all sites, and what it says."""

    def __init__(self, folder: Path, port: int, count: int, *, stay: float | None = None) -> None:
        """`stay`: seconds after which a site breaks its connections off, on average; None: never."""
        self._command = [
            *(sys.executable, "-m", "tests.bench.site_clients"),
            *(str(folder), str(port), str(count)),
            *(() if stay is None else ("--stay", str(stay))),
        ]
        self._said: dict[str, Any] = {"revision": 0}

    def __enter__(self) -> Self:
        self._running = running(self._command, stdout=subprocess.PIPE, cwd=ROOT)
        self.process = self._running.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._running.__exit__(None, None, None)

    def until(self, revision: int, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return what was said when all sites had got as far as that; RuntimeError if never."""
        deadline = time.monotonic() + seconds
        stream = self.process.stdout
        assert stream is not None
        while self._said["revision"] < revision:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise RuntimeError(f"not all sites have reached {revision}: {self._said}")
            line = stream.readline()
            if not line:
                raise RuntimeError("the sites' process has ended")
            self._said = json.loads(line)
        return self._said


def memory(pid: int) -> dict[str, int]:
    """Return MiB resident and at most so far, and open descriptors, of a process."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "rss": int(fields["VmRSS"].split()[0]) // 1024,
        "peak": int(fields["VmHWM"].split()[0]) // 1024,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def _fill(fsm: FSM, port: int, sites: int, policies: int) -> int:
    """Create the sites and what they are to have; return the revision of the last."""
    documents = [_document("Site", site_name(number), {}) for number in range(sites)]
    for number in range(policies):
        documents.append(_document("Network", f"net-{number}", {}))
        documents.append(_document("SecurityPolicy", f"policy-{number}", _rules(number)))

    async def write(client: PeerClient) -> int:
        revision = 0
        for start in range(0, len(documents), BATCH):
            operations = [
                {"operation": "put", "object": each} for each in documents[start : start + BATCH]
            ]
            answer = await client.post("/api/v1/transactions", {"operations": operations})
            revision = answer.json()["revision"]
        return revision

    revision: int = _as_admin(fsm, port, write)
    return revision


def _change(fsm: FSM, port: int, clients: Sites, number: int) -> tuple[float, float]:
    """Change a policy that all have; return the seconds until all have it, and have said so."""

    async def write(client: PeerClient) -> tuple[int, float]:
        # The connection is made before the clock runs.
        await client.get("/livez")
        begun = time.perf_counter()
        document = _document("SecurityPolicy", "policy-0", _rules(number + 1))
        answer = await client.put("/api/v1/securitypolicies/policy-0", document)
        return answer.json()["metadata"]["revision"], begun

    revision, begun = _as_admin(fsm, port, write)
    said = clients.until(revision)
    return said["received"] - begun, said["acknowledged"] - begun


def _as_admin(fsm: FSM, port: int, work: Callable[[PeerClient], Any]) -> Any:
    token = fsm.admin_token()

    async def run() -> Any:
        client = PeerClient(
            [f"https://127.0.0.1:{port}"], tls=visitor_context(fsm.roots), token=lambda: token
        )
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def _document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _rules(number: int) -> dict[str, Any]:
    """Return a policy of ten rules, about 1 KiB."""
    rules = [
        {
            "name": f"rule-{rule}",
            "from": [{"network": "net-0"}],
            "to": [{"network": "net-1"}],
            "services": [{"protocol": "tcp", "ports": [str(1000 + number + rule)]}],
            "action": "allow",
        }
        for rule in range(10)
    ]
    return {"rules": rules}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 1)
