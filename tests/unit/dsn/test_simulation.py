"""The simulation answers lines, the wrong ones too."""

import json
from pathlib import Path
from typing import Any

import pytest

from dsn.dataplane.memory import MemoryDataPlane
from dsn.simulation import Simulation
from tests.unit.dsn.configurations import make_configuration, make_rule


@pytest.fixture
async def simulation(tmp_path: Path) -> Simulation:
    plane = MemoryDataPlane()
    await plane.apply(make_configuration(make_rule(1)))
    return Simulation(plane=plane, port=0, file=tmp_path / "simulation.json")


def ask(simulation: Simulation, **packet: Any) -> dict[str, Any]:
    return simulation.answer(json.dumps(packet).encode())


async def test_a_packet_gets_its_verdict_and_rule(simulation: Simulation) -> None:
    allowed = ask(simulation, **{"from": "10.9.0.1"}, to="10.1.0.1", protocol="tcp", port=80)
    denied = ask(simulation, **{"from": "10.9.0.1"}, to="10.1.0.1", protocol=17, port=53)
    echo = ask(simulation, **{"from": "10.9.0.1"}, to="10.9.0.2", protocol="icmp")

    assert allowed == {"verdict": "allow", "reason": "rule", "rule": make_rule(1).id}
    assert denied == {"verdict": "deny", "reason": "default", "rule": None}
    assert echo == {"verdict": "allow", "reason": "untouched", "rule": None}


async def test_an_answer_belongs_to_its_connection(simulation: Simulation) -> None:
    ask(simulation, **{"from": "10.9.0.1"}, to="10.1.0.1", protocol="tcp", port=80, sourcePort=4000)

    reply = ask(
        simulation, **{"from": "10.1.0.1"}, to="10.9.0.1", protocol="tcp", port=4000, sourcePort=80
    )

    assert reply["reason"] == "established"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"{}",
        b'{"from": "10.9.0.1", "to": "fd00::1", "protocol": 6, "port": 1}',
        b'{"from": "10.9.0.1", "to": "10.1.0.1", "protocol": 256}',
        b'{"from": "10.9.0.1", "to": "10.1.0.1", "protocol": "tcp"}',
        b'{"from": "10.9.0.1", "to": "10.1.0.1", "protocol": "tcp", "port": 65536}',
        b'{"from": "nowhere", "to": "10.1.0.1", "protocol": "tcp", "port": 1}',
        b"\xff",
        b"[" * 4000,
    ],
)
async def test_what_is_no_packet_is_answered_in_words(simulation: Simulation, line: bytes) -> None:
    assert "this is no packet" in simulation.answer(line)["error"]
