"""The enforcer takes what it can, keeps what was good, and tells each turn of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from dsn.dataplane.contract import NoDataPlane, Refused
from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.apply import Enforcer
from dsn.enforce.assignment import Standing
from dsn.enforce.last_good import LastGood
from dsn.tasks.enforce import EnforceWanted
from dsn.tasks.read_back import RepairDrift
from shared.errors import Invalid
from shared.policy.nodeconfig import NodeConfiguration
from tests.unit.dsn.configurations import NODE, make_assignment, make_rule


class Node:
    """An enforcer on a simulated data plane, and all that it said."""

    def __init__(self, folder: Path) -> None:
        self.plane = MemoryDataPlane()
        self.file = LastGood(folder / "last-good.json")
        self.enforcer = Enforcer(plane=self.plane, last_good=self.file)
        self.said: list[Standing] = []
        self.enforcer.watchers.append(self.said.append)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_what_is_wanted_is_enforced_saved_and_told(node: Node) -> None:
    wanted = make_assignment(1, make_rule(1))
    node.enforcer.want(wanted)

    assert (await EnforceWanted(node.enforcer).reconcile()).changed == 4

    assert (await node.plane.read_back()).hash == wanted.version.hash
    assert node.file.load() == wanted
    assert node.said == [Standing(enforced=wanted, read_back=wanted.version.hash)]
    assert (await EnforceWanted(node.enforcer).reconcile()).changed == 0


async def test_without_a_wish_nothing_is_done(node: Node) -> None:
    assert await node.enforcer.enforce() == 0
    assert not await node.enforcer.verify()
    assert node.said == []


async def test_a_refused_configuration_leaves_the_last_good_one(node: Node) -> None:
    good, bad = make_assignment(1, make_rule(1)), make_assignment(2, make_rule(2))
    node.enforcer.want(good)
    await node.enforcer.enforce()

    node.plane.refuse_next("no room")
    node.enforcer.want(bad)
    with pytest.raises(Refused):
        await node.enforcer.enforce()

    assert (await node.plane.read_back()).hash == good.version.hash
    assert node.file.load() == good
    standing = node.enforcer.standing
    assert standing.enforced == good
    assert standing.refused is not None
    assert (standing.refused.version, standing.refused.code) == (bad.version, "data_plane_refused")
    assert standing.spoken_of == bad.version


async def test_a_refusal_that_passes_is_made_good(node: Node) -> None:
    wanted = make_assignment(1)
    node.plane.refuse_next()
    node.enforcer.want(wanted)
    with pytest.raises(Refused):
        await node.enforcer.enforce()

    await node.enforcer.enforce()

    assert node.enforcer.standing == Standing(enforced=wanted, read_back=wanted.version.hash)


async def test_the_same_refusal_is_told_once(node: Node) -> None:
    wrong = make_assignment(1, make_rule(1, action="maybe"))
    node.enforcer.want(wrong)
    for _ in range(3):
        with pytest.raises(Invalid):
            await node.enforcer.enforce()

    assert len(node.said) == 1


async def test_drift_is_told_and_then_its_repair(node: Node) -> None:
    wanted = make_assignment(1, make_rule(1))
    node.enforcer.want(wanted)
    await node.enforcer.enforce()
    node.said.clear()

    node.plane.lose_rule(make_rule(1).id)
    assert (await RepairDrift(node.enforcer).reconcile()).changed == 1

    drifted, repaired = (each.read_back for each in node.said)
    assert drifted != wanted.version.hash
    assert repaired == wanted.version.hash
    assert (await RepairDrift(node.enforcer).reconcile()).changed == 0


async def test_drift_under_a_refusal_is_repaired_to_the_last_good_one(node: Node) -> None:
    good = make_assignment(1, make_rule(1))
    node.enforcer.want(good)
    await node.enforcer.enforce()
    node.plane.refuse_next()
    node.enforcer.want(make_assignment(2, make_rule(2)))
    with pytest.raises(Refused):
        await node.enforcer.enforce()

    node.plane.lose_rule(make_rule(1).id)
    assert await node.enforcer.verify()

    assert (await node.plane.read_back()).hash == good.version.hash


async def test_a_restart_enforces_the_last_good_one_first(node: Node, tmp_path: Path) -> None:
    wanted = make_assignment(3, make_rule(1))
    node.enforcer.want(wanted)
    await node.enforcer.enforce()

    restarted = Node(tmp_path)
    assert await restarted.enforcer.restore(NODE)

    assert (await restarted.plane.read_back()).hash == wanted.version.hash
    assert restarted.enforcer.standing.enforced == wanted


async def test_what_was_refused_is_not_what_a_restart_begins_with(
    node: Node, tmp_path: Path
) -> None:
    good = make_assignment(1)
    node.enforcer.want(good)
    await node.enforcer.enforce()
    node.plane.refuse_next()
    node.enforcer.want(make_assignment(2, make_rule(2)))
    with pytest.raises(Refused):
        await node.enforcer.enforce()

    restarted = Node(tmp_path)
    await restarted.enforcer.restore(NODE)

    assert restarted.enforcer.standing.enforced == good


async def test_a_damaged_file_does_not_stop_the_start(node: Node, tmp_path: Path) -> None:
    (tmp_path / "last-good.json").write_bytes(b"{")

    assert not await node.enforcer.restore(NODE)
    node.enforcer.want(make_assignment(1))
    await node.enforcer.enforce()
    assert node.file.load() == make_assignment(1)


async def test_another_nodes_file_is_not_enforced(node: Node) -> None:
    node.file.save(make_assignment(1, node="node-2"))

    assert not await node.enforcer.restore(NODE)
    assert (await node.plane.read_back()).hash is None


async def test_a_last_good_one_that_is_refused_is_tried_again(node: Node) -> None:
    node.file.save(make_assignment(1))
    node.plane.refuse_next()

    assert not await node.enforcer.restore(NODE)
    await node.enforcer.enforce()

    assert node.enforcer.standing.enforced == make_assignment(1)


async def test_connections_that_could_not_be_ended_are_ended_later(tmp_path: Path) -> None:
    plane = ForgetfulPlane()
    enforcer = Enforcer(plane=plane, last_good=LastGood(tmp_path / "last-good.json"))
    wanted = make_assignment(1)
    enforcer.want(wanted)

    with pytest.raises(NoDataPlane):
        await enforcer.enforce()
    assert enforcer.standing.enforced is None, "acknowledged is what holds for open connections too"
    # Meanwhile the rules that stand are no drift.
    assert not await enforcer.verify()
    await enforcer.enforce()

    assert enforcer.standing.enforced == wanted


async def test_a_new_generation_of_the_same_content_is_told(node: Node) -> None:
    first = make_assignment(1)
    second = replace(first, version=replace(first.version, generation=2))
    node.enforcer.want(first)
    await node.enforcer.enforce()
    node.enforcer.want(second)
    await node.enforcer.enforce()

    assert [each.spoken_of for each in node.said] == [first.version, second.version]
    assert node.file.load() == second


class ForgetfulPlane(MemoryDataPlane):
    """Can't end connections the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._failures = 1

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        if self._failures:
            self._failures -= 1
            raise NoDataPlane("connection tracking is away")
        return await super().end_denied_connections(configuration)
