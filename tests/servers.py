"""Real servers for tests: found, or named as missing, and started on loopback.

Where a program is missing its tests are skipped with the reason; with CI=true they fail.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

# Debian keeps PostgreSQL's and slapd's programs outside of an ordinary PATH.
EXTRA_FOLDERS = ("/usr/sbin", "/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin")))
START_SECONDS = 30.0


def require(*programs: str, root: bool = False) -> dict[str, str]:
    """Return where each program is; skip the test if one is missing, or fail if CI=true.

    With `root` the test also needs to run as root.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *EXTRA_FOLDERS))
    found = {program: shutil.which(program, path=path) for program in programs}
    missing = [program for program, place in found.items() if place is None]
    if root and os.geteuid() != 0:
        missing.append("root's rights")
    if missing:
        reason = f"needs {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return {program: place for program, place in found.items() if place is not None}


def free_port() -> int:
    """Return a loopback TCP port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_udp_port() -> int:
    """Return a loopback UDP port that was free just now in both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        return int(probe.getsockname()[1])


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when something listens; RuntimeError if `process` ends before, or after 30 s."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


class PostgresServer:
    """A PostgreSQL of our own in a temp folder; `restart` and `stop` break its connections."""

    def __init__(self, folder: Path, programs: dict[str, str], *, durable: bool) -> None:
        self.port = free_port()
        self._folder = folder
        self._programs = programs
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        self._databases = 0
        if self._user:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._run(
            "initdb",
            *("--pgdata", str(folder / "data"), "--username", "hanse", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on" if self._durable else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        data = str(self._folder / "data")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs["postgres"], "-D", data, "-p", str(self.port), *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._folder,
            )
        await_port(self.port, self._process)
        # It listens before it accepts.
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL on port {self.port} does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        """Shut down fast: connections are cut, nothing committed is lost."""
        if self._process is not None:
            self._process.send_signal(2)
            self._process.wait(timeout=START_SECONDS)
            self._process = None

    def create_database(self) -> str:
        """Return the URL of a new, empty database."""
        self._databases += 1
        name = f"store{self._databases}"
        self._psql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql://hanse@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        name = url.rpartition("/")[2]
        self._psql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, url: str, statement: str) -> str:
        """Run SQL in a database of this server and return what psql prints."""
        return self._psql(url.rpartition("/")[2], statement)

    def _psql(self, database: str, statement: str) -> str:
        return subprocess.run(
            [
                *(self._programs["psql"], "-h", "127.0.0.1", "-p", str(self.port), "-U", "hanse"),
                *("-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def _answers(self) -> bool:
        try:
            self._psql("postgres", "SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs[program], *arguments],
            user=self._user,
            cwd=self._folder,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a PostgreSQL for the length of a with-block; `durable` turns its fsync on."""
    programs = require("postgres", "initdb", "psql")
    with tempfile.TemporaryDirectory(prefix="hanse-postgres-") as name:
        server = PostgresServer(Path(name), programs, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
