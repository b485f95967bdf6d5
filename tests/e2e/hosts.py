"""Hosts on which a person types commands: this machine's loopback, or namespaces of their own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

from shared.cli.demo.namespaces import Namespaces

HANSE = (sys.executable, "-m", "shared.cli")
_NETNS = Path("/etc/netns")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class Running:
    """A program that stays up; what it says on standard output is read line by line."""

    def __init__(self, command: Sequence[str], *, environ: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environ},
                text=True,
                start_new_session=True,
            )
        self._log = log
        self._lines: Queue[str | None] = Queue()
        self._said: list[str] = []
        # Read for as long as it lives, so that it never blocks on a full pipe.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, text: str) -> str:
        """Return the first line that has `text`; fail with the log if it ends before."""
        while (line := self._lines.get()) is not None:
            self._said.append(line)
            if text in line:
                return line
        said = "".join(self._said) + self._log.read_text()
        raise AssertionError(f"it ended without saying {text!r}:\n{said}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@dataclass
class Host:
    """One host: a home of its own, and where its programs run."""

    home: Path
    inside: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    def run(self, *arguments: str, **environ: str) -> Done:
        """Run `hanse ARGUMENTS` to its end."""
        done = subprocess.run(
            [*self.inside, *HANSE, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, **self._own(), **environ},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> Running:
        """Start `hanse ARGUMENTS`; it is ended with the host."""
        log = self.home / f"{arguments[0]}-{len(self.running)}.log"
        started = Running([*self.inside, *HANSE, *arguments], environ=self._own(), log=log)
        self.running.append(started)
        return started

    def end(self) -> list[int]:
        """End what runs, the last started first; return how each ended."""
        return [self.running.pop().end() for _ in range(len(self.running))]

    def _own(self) -> dict[str, str]:
        contexts = str(self.home / "contexts.yaml")
        return {"HANSE_CONFIG": contexts, "COLUMNS": "200", **self.environ}


@contextmanager
def loopback_hosts(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Hosts that are all this machine; an agent's packets are simulated, nothing is filtered."""
    hosts: dict[str, Host] = {}
    for name in names:
        (home := folder / name).mkdir()
        hosts[name] = Host(home, environ={"HANSE_DSN_DATA_PLANE": "memory"})
    try:
        yield hosts
    finally:
        for host in reversed(hosts.values()):
            host.end()


@contextmanager
def namespace_hosts(
    folder: Path, networks: Namespaces, addresses: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Host]]:
    """Namespaces that have been made, as hosts; `addresses` gives each one's known names."""
    known = "".join(
        f"{address} {' '.join(names)}\n"
        for names, address in ((each[1:], each[0]) for each in addresses.values())
    )
    hosts: dict[str, Host] = {}
    made: list[Path] = []
    try:
        for name in addresses:
            (home := folder / name).mkdir()
            namespace = networks.name(name)
            # `ip netns exec` lays these files over /etc.
            etc = _NETNS / namespace
            etc.mkdir(parents=True)
            made.append(etc)
            (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{known}")
            hosts[name] = Host(home, inside=("ip", "netns", "exec", namespace))
        yield hosts
    finally:
        for host in reversed(hosts.values()):
            host.end()
        for etc in made:
            shutil.rmtree(etc)
