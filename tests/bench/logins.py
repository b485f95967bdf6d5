"""How much two hundred people who log in at once hold up everybody else.

A real directory (slapd, by LDAPS with a service account), an FSM of its own process, and one
client that reads an object again and again over a connection that it has; what it waits longer
than in quiet is what the logins cost it.  Each person comes from an address of his own, as people
do, with a TLS handshake of his own, and his token is tried afterwards.  They log in from a process
of their own, so that the reader waits for the server only.
"""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp

from tests.bench.harness import Goal, Measurement, Program, Results, Run, benchmark
from tests.bench.processes import FSM, PASSWORD, cpu_seconds, fsm_process
from tests.bench.raw_client import RawClient, encode_request
from tests.bench.receivers import percentile
from tests.directory import SERVICE_PASSWORD, Directory, directory_server, person

GOAL: Final = Goal(50.0, "at most", of="figure")
QUIET_SECONDS: Final = 3.0
SECRET: Final = "the password of person {}"
READ: Final = "/api/v1/networks/quiet"


@benchmark(
    "logins",
    title="logins at once, and what others wait for them",
    needs=(Program("slapd", apt="slapd"), Program("ldapmodify", apt="ldap-utils")),
)
def logins(run: Run) -> Results:
    people, rounds = run.pick((200, 3), (20, 1))
    worst, late, taken, spent = [], [], [], []
    with (
        directory_server() as directory,
        fsm_process(run.folder) as fsm,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere,
    ):
        elsewhere.submit(_log_in, fsm.client.roots, fsm.port, [], 0).result()
        names = [f"person-{number}" for number in range(people)]
        directory.add(*(person(name, SECRET.format(name)) for name in names))
        token = asyncio.run(_prepare(fsm, directory))
        for number in range(rounds):
            run.say(f"round {number + 1} of {rounds}: {people} logins at once")
            with reading(fsm, token) as quiet:
                time.sleep(QUIET_SECONDS)
            usual = median(quiet)
            cpu = cpu_seconds(fsm.pid)
            began = time.perf_counter()
            with reading(fsm, token) as busy:
                elsewhere.submit(_log_in, fsm.client.roots, fsm.port, names, number).result()
            taken.append(time.perf_counter() - began)
            spent.append(cpu_seconds(fsm.pid) - cpu)
            worst.append(1000 * (max(busy) - usual))
            late.append(1000 * (percentile(busy, 0.99) - usual))
    extra = {"people": people, "seconds": median(taken), "cpuSeconds": median(spent)}
    return Results(
        [
            Measurement(
                f"longest delay of a read during {people} logins",
                median(worst),
                "ms",
                goal=GOAL,
                extra=extra,
            ),
            Measurement("p99 of such delays", median(late), "ms", extra=extra),
            Measurement(f"{people} logins, all of them", median(taken), "s", extra=extra),
        ],
        notes=[f"the FSM's CPU for all logins: {median(spent):.2f} s, TLS handshakes included"],
    )


@contextmanager
def reading(fsm: FSM, token: str) -> Iterator[list[float]]:
    """Read one object again and again while the block runs; yields the seconds of each."""
    seconds: list[float] = []
    over = threading.Event()

    def work() -> None:
        request = encode_request("GET", READ, {"Authorization": f"Bearer {token}"})
        with RawClient(fsm.port, fsm.client.context(with_certificate=False)) as client:
            while not over.is_set():
                began = time.perf_counter()
                answer = client.ask(request)
                seconds.append(time.perf_counter() - began)
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {answer.body!r}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seconds
    finally:
        over.set()
        thread.join()
    if not seconds:
        raise RuntimeError("nothing was read")


async def _prepare(fsm: FSM, directory: Directory) -> str:
    """Have the FSM ask the directory; return the administrator's token."""
    async with _session(fsm.client.roots) as session:
        token = await _token(session, fsm.port, "admin", PASSWORD)
        headers = {"Authorization": f"Bearer {token}"}
        for plural, kind, name, spec in (
            ("networks", "Network", "quiet", {}),
            ("credentials", "Credential", "directory", {"secret": SERVICE_PASSWORD}),
            (
                "authenticationpolicies",
                "AuthenticationPolicy",
                "people",
                {"providers": ["ldap", "local"], "ldap": directory.settings()},
            ),
        ):
            document = {
                "apiVersion": "hanse/v1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": spec,
            }
            url = f"https://127.0.0.1:{fsm.port}/api/v1/{plural}/{name}"
            async with session.put(url, json=document, headers=headers) as response:
                if response.status not in (200, 201):
                    raise RuntimeError(await response.text())
        return token


def _log_in(roots: Path, port: int, names: list[str], number: int) -> None:
    """Have all of them log in at once, from addresses of the round of this number."""
    asyncio.run(_log_all_in(roots, port, names, number))


async def _log_all_in(roots: Path, port: int, names: list[str], number: int) -> None:
    async def one(place: int, name: str) -> None:
        address = f"127.{number + 1}.{place // 200}.{place % 200 + 1}"
        async with _session(roots, address) as session:
            token = await _token(session, port, name, SECRET.format(name))
            headers = {"Authorization": f"Bearer {token}"}
            url = f"https://127.0.0.1:{port}/api/v1/whoami"
            async with session.get(url, headers=headers) as response:
                found = await response.json()
                if found["identity"] != f"user:{name}":
                    raise RuntimeError(f"{name} is {found}")

    async with asyncio.TaskGroup() as group:
        for place, name in enumerate(names):
            group.create_task(one(place, name))


def _session(roots: Path, address: str | None = None) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cafile=str(roots))
    local = (address, 0) if address else None
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, local_addr=local))


async def _token(session: aiohttp.ClientSession, port: int, user: str, password: str) -> str:
    url = f"https://127.0.0.1:{port}/api/v1/login"
    body: dict[str, Any] = {"username": user, "password": password}
    async with session.post(url, json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{user}: {await response.text()}")
        return str((await response.json())["accessToken"])
