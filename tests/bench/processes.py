"""Servers as processes of their own: an FSM as an operator starts it, a pinned core, CPU time."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fsm.setup import initialise
from fsm.trust import FSMCredentials
from shared.clock import SystemClock
from shared.pki.authority import Authority
from shared.pki.certificates import certificates_to_pem
from shared.pki.credentials import Credentials
from shared.pki.csr import create_csr
from shared.pki.identity import SpiffeId, parse_trust_domain
from shared.pki.keys import generate_key, key_to_pem
from tests.bench.harness import ROOT, running
from tests.fakes.tokens import stored_token
from tests.servers import free_port

DOMAIN: Final = "bench.example"
DOMAIN_NAME: Final = parse_trust_domain(DOMAIN)
PASSWORD: Final = "only for measuring"
SITE: Final = "paris"
START_SECONDS: Final = 60.0


def pinned(core: int | None, command: Sequence[object]) -> list[str]:
    """Return the command that runs on one core only; None leaves it to the system."""
    pin = ["taskset", "-c", str(core)] if core is not None else []
    return [*pin, *map(str, command)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_mib(pid: int) -> float:
    """Return the peak resident memory of a running process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has ended")


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something listens; RuntimeError if the process ends before, or in a minute."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


@dataclass(frozen=True, slots=True)
class Client:
    """What a client of the FSM holds: PEM files, and tokens of as many people as it likes."""

    roots: Path
    certificate: Path
    """A site's certificate, chain and key in one file."""
    data: Path

    def token(self, person: str, *roles: str) -> str:
        """Return a token of a person, as if he had logged in, for a server that has started."""
        work = stored_token(self.data, person, roles, server=str(SpiffeId.fsm(DOMAIN_NAME)))
        with ThreadPoolExecutor(1) as thread:
            # Perhaps a loop runs in this one.
            return thread.submit(asyncio.run, work).result()

    def context(self, *, with_certificate: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.roots))
        if with_certificate:
            context.load_cert_chain(self.certificate)
        return context


@dataclass(frozen=True, slots=True)
class FSM:
    """A running FSM."""

    data: Path
    port: int
    pid: int
    client: Client


@contextmanager
def fsm_process(folder: Path, *, core: int | None = None) -> Iterator[FSM]:
    """Prepare an FSM with SQLite in `folder` and serve it by `hanse fsm serve`."""
    data = folder / "fsm"
    port = free_port()
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    initialise(
        data,
        trust_domain=DOMAIN,
        listen=f"127.0.0.1:{port}",
        names=(),
        admin="admin",
        password_file=password,
        url=None,
    )
    client = _client(data, folder)
    command = [sys.executable, "-m", "shared.cli", "fsm", "serve", "--data", data]
    with (
        (folder / "fsm.log").open("wb") as log,
        running(pinned(core, command), stdout=log, stderr=log, cwd=ROOT) as process,
    ):
        await_port(port, process)
        yield FSM(data, port, process.pid, client)


def _client(data: Path, folder: Path) -> Client:
    clock = SystemClock()
    credentials = FSMCredentials.beneath(data)
    issuing = Authority(credentials.issuing.load(), clock=clock)
    domain = parse_trust_domain(DOMAIN)
    site_key, key = generate_key(), generate_key()
    site_chain = issuing.issue_site_intermediate(create_csr(site_key), SITE)
    site = Authority(Credentials(site_key, site_chain, issuing.credentials.roots), clock=clock)
    chain = site.issue_leaf(create_csr(key), SpiffeId.sdsp(domain, SITE))
    certificate = folder / "client.pem"
    certificate.write_text(certificates_to_pem(chain) + key_to_pem(key), "ascii")
    certificate.chmod(0o600)
    roots = folder / "roots.pem"
    roots.write_text(certificates_to_pem(issuing.credentials.roots), "ascii")
    return Client(roots, certificate, data)
