"""What is imported decides as Aerleon's filter does, flow by flow."""

import json
import random
from ipaddress import ip_address
from pathlib import Path

import pytest

from shared.cli.asking import moment
from shared.cli.main import run
from shared.cli.repository import read_repository
from shared.policy.compile import SitePlanner
from shared.policy.verdict import FlowJudge
from shared.policy.written_flows import parse_flow
from tests.property.aerleon_worlds import (
    Packet,
    World,
    decided,
    random_packet,
    random_world,
    write_classic,
    write_yaml,
)
from tests.property.profile import rolls

FLOWS = 150
HARMLESS = {
    "it expired on 2001-12-31",
    "it isn't for juniper",
    "it decides nothing: what comes next does",
    "nothing is left of its addresses",
    "its ends have no family in common",
    "no term could be said",
}


def test_an_imported_filter_decides_every_flow_as_aerleon_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = dict.fromkeys(("allow", "deny", "reject"), 0)
    for seed in rolls(40):
        source = random.Random(seed)
        world = random_world(source)
        folder = tmp_path / str(seed)
        folder.mkdir()
        write = write_classic if source.random() < 0.5 else write_yaml
        into = imported(write(world, folder), folder, capsys)
        repository = read_repository(into)
        judge = FlowJudge(SitePlanner(repository.inputs("s1", now=moment(None))).plan(None))
        for _ in range(FLOWS):
            packet = random_packet(source)
            verdict = judge.judge(parse_flow(flow_of(packet)).packet).verdict
            expected = decided(world, packet)
            assert verdict == expected, story(seed, packet, world)
            verdicts[verdict] += 1
    assert min(verdicts.values()) > 50, verdicts


def imported(policy: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    into = folder / "out"
    arguments = ["--site", "s1", "--definitions", str(folder / "def"), "--into", str(into)]
    more = ["--name", "filter", "--accept-gaps", "-o", "json"]
    assert run(["import", "aerleon", str(policy), *arguments, *more]) == 0, capsys.readouterr().err
    report = json.loads(capsys.readouterr().out)
    reasons = {each["reason"] for each in report["gaps"]}
    # All else that these worlds have can be said.
    left = {each for each in reasons - HARMLESS if not each.endswith("matches nothing")}
    assert not {each for each in left if not each.startswith("it has no address of")}, left
    return into


def flow_of(packet: Packet) -> dict[str, object]:
    flow: dict[str, object] = {
        "from": packet.source,
        "to": packet.destination,
        "protocol": packet.protocol,
    }
    if packet.protocol in (6, 17, 132):
        flow |= {"port": packet.port, "sourcePort": packet.source_port}
    return flow


def story(seed: int, packet: Packet, world: World) -> str:
    assert ip_address(packet.source)
    return f"seed {seed}: {packet}\n{json.dumps(world.__dict__, indent=1)}"
