"""The README's "By hand", run as it is written.

The commands are taken from README.md itself.  What is replaced, and nothing else:

* on loopback: the two hosts' names and ports by `localhost` and free ports, `/var/lib/hanse` and
  `examples/two-sites` by folders of the test (the example's copy names the same `localhost`);
* in namespaces, which are hosts of their own with names of their own: `/var/lib/hanse` only;
* on both, as a person would: TOKEN and FINGERPRINT by what the commands before have printed, and
  the prompt for a password by HANSE_PASSWORD.
"""

import asyncio
import json
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.cli.demo.namespaces import Namespaces
from tests.e2e.by_hand import ROOT, Line, read_lines
from tests.e2e.hosts import Done, Host, loopback_hosts, namespace_hosts
from tests.servers import free_port, require

HOSTS = ("FSM", "site", "node")
ADDRESSES = {
    "FSM": ("10.99.0.1", "fsm.hanse.example"),
    "site": ("10.99.0.2", "sfo.hanse.example"),
    "node": ("10.99.0.3", "node-1"),
}


class Reader:
    """Somebody who follows the README, and waits where a person would."""

    def __init__(self, hosts: Mapping[str, Host], replaced: Mapping[str, str]) -> None:
        self._hosts = hosts
        self._replaced = dict(replaced)
        self._passwords: dict[str, str] = {}
        self.answers: dict[tuple[str, str], str] = {}

    def follow(self, lines: list[Line]) -> None:
        for line in lines:
            arguments = line.arguments(self._replaced)
            host = self._hosts[line.host]
            verb = arguments[1] if len(arguments) > 1 else ""
            if verb in ("serve", "run"):
                started = host.start(*arguments)
                if verb == "serve":
                    started.until("serving at")
                continue
            if (line.host, arguments[0]) == ("site", "apply"):
                # The federation's names arrive a moment after the site serves.
                self.until(host, "status", lambda found: found["revision"] is not None)
            if (line.host, arguments) == ("site", ["nodes"]):
                self.until(host, "nodes", _is_realised)
            password = self._passwords.get(line.host, "")
            done = host.run(*arguments, HANSE_PASSWORD=password)
            assert done.status == 0, f"{line.text}\n{done.out}{done.err}"
            self._learn(line.host, arguments, done)

    def until(self, host: Host, command: str, holds: Any) -> Any:
        """Ask again and again; pytest-timeout ends a wait for ever."""
        while True:
            done = host.run(command, "-o", "json")
            assert done.status == 0, done.err
            if holds(found := json.loads(done.out)):
                return found

    def _learn(self, host: str, arguments: list[str], done: Done) -> None:
        self.answers[host, arguments[0]] = done.out
        if shown := re.search(r"Password \(shown once\): (\S+)", done.out):
            self._passwords[host] = shown[1]
        if shown := re.search(r"Its SHA-256: (\S+)", done.out):
            self._replaced["FINGERPRINT"] = shown[1]
        if "token" in arguments:
            self._replaced["TOKEN"] = done.out.strip()


def _is_realised(found: Any) -> bool:
    return any((each["name"], each["state"]) == ("node-1", "realised") for each in found["items"])


def _follow_and_check(reader: Reader, hosts: Mapping[str, Host], *, plane: str) -> None:
    reader.follow(read_lines())
    found = reader.until(hosts["site"], "nodes", _is_realised)
    (node,) = [each for each in found["items"] if each["name"] == "node-1"]
    assert (node["admission"], node["connected"], node["dataPlane"]) == ("admitted", True, plane)
    assert node["readBack"] == node["wanted"]["hash"]
    assert "three-tier" in reader.answers["site", "status"]
    assert "app-to-db" in reader.answers["site", "trace"]

    def sfo_runs_all(found: Any) -> bool:
        standing = [
            (each["state"], each["nodes"]["realised"])
            for policy in found["policies"]
            for each in policy["sites"]
            if each["site"] == "sfo"
        ]
        # node-7 of the example was given no token: its rules are pending, node-1's realised.
        return bool(standing) and all(realised == 1 for _, realised in standing)

    reader.until(hosts["FSM"], "status", sfo_runs_all)


def test_the_section_says_what_to_type_on_every_host() -> None:
    lines = read_lines()
    assert {each.host for each in lines} == set(HOSTS)
    typed = [" ".join(each.arguments({})[:2]) for each in lines]
    for wanted in ("fsm init", "fsm serve", "sites token", "sdsp init", "sdsp join", "sdsp serve"):
        assert wanted in typed
    for wanted in ("nodes token", "dsn join", "dsn run"):
        assert wanted in typed


def test_by_hand_works_as_written_with_real_processes(tmp_path: Path) -> None:
    fsm, sfo = free_port(), free_port()
    shutil.copytree(ROOT / "examples/two-sites", tmp_path / "example")
    places = tmp_path / "example/federation/places.yaml"
    places.write_text(places.read_text().replace("sfo.hanse.example", "localhost"))
    replaced = {
        "0.0.0.0:8443": f"127.0.0.1:{fsm}",
        "0.0.0.0:8444": f"127.0.0.1:{sfo}",
        "fsm.hanse.example:8443": f"localhost:{fsm}",
        "sfo.hanse.example:8444": f"localhost:{sfo}",
        "fsm.hanse.example": "localhost",
        "/var/lib/hanse": str(tmp_path / "lib"),
        "examples/two-sites": str(tmp_path / "example"),
    }
    with loopback_hosts(tmp_path, HOSTS) as hosts:
        _follow_and_check(Reader(hosts, replaced), hosts, plane="memory")
        ended = [status for host in reversed(hosts.values()) for status in host.end()]
        assert ended == [0, 0, 0]


@pytest.mark.kernel
def test_by_hand_works_as_written_on_separate_hosts(tmp_path: Path) -> None:
    require("ip", "nft", "sysctl", root=True)
    networks = Namespaces(f"hanse-{random.SystemRandom().randrange(16**4):04x}")
    try:
        asyncio.run(_join_hosts(networks))
        with namespace_hosts(tmp_path, networks, ADDRESSES) as hosts:
            reader = Reader(hosts, {"/var/lib/hanse": str(tmp_path / "lib")})
            _follow_and_check(reader, hosts, plane="nftables")
            # The node's own kernel has the rules, and keeps them without its agent.
            hosts["node"].running[-1].end(signal.SIGKILL)
            listed = ["ip", "netns", "exec", networks.name("node"), "nft", "list", "tables"]
            tables = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
            assert "inet hanse" in tables
    finally:
        asyncio.run(networks.remove())


async def _join_hosts(networks: Namespaces) -> None:
    await networks.add("router", forwards=True)
    for name, (address, _) in ADDRESSES.items():
        await networks.add(name)
        await networks.attach(name, "router", [address], own=True)
