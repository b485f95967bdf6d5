"""What goes upwards: names, codes and counts; when it is sent; and that it fits."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from fsm.feed.handlers import REPORT_LIMIT
from fsm.feed.reports import Report
from sdsp.upstream.report import MOST, exceptions, fitted
from shared.errors import Unreachable
from tests.unit.sdsp.compiled import AT, P, World, compiled
from tests.unit.sdsp.world import global_, key, policy, rule, write


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with compiled() as found:
        yield found


async def test_a_report_says_what_became_of_inherited_policies_in_the_fsms_own_terms(
    world: World,
) -> None:
    waiting = await world.told()
    Report.model_validate(waiting)
    (said,) = waiting["policies"]
    assert (said["name"], said["generation"], said["revision"]) == ("p", 4, 70)
    assert (said["state"], said["nodes"]["pending"]) == ("pending", 1)

    world.acknowledge()
    (said,) = (await world.told())["policies"]
    assert (said["state"], said["nodes"]["realised"]) == ("realised", 1)


async def test_a_report_has_no_specs_addresses_or_words_of_an_error(world: World) -> None:
    newest = world.publications.newest("n1")
    assert newest is not None
    world.states.report(
        "n1",
        {"outcome": "nack", "code": "too_many_rules", "message": "secret words", "hash": None},
        at=world.clock.now(),
    )
    spec = {"subnets": ["10.77.0.0/24"]}
    override = {"target": {"kind": "Network", "name": "A"}, "reason": "because", "spec": spec}
    await write(world.store, {key("Override", "o"): override})
    await world.compile()
    report = await world.told()
    text = orjson.dumps(report).decode()
    assert "10.66" not in text
    assert "10.77" not in text
    assert "secret words" not in text
    assert report["policies"][0]["failing"] == [{"node": "n1", "code": "too_many_rules"}]
    Report.model_validate(report)


async def test_what_is_taken_over_but_not_compiled_is_realised_nowhere(world: World) -> None:
    world.acknowledge()
    await world.inherit(5, action="allow")
    (said,) = (await world.told())["policies"]
    assert (said["generation"], said["state"]) == (5, "pending")

    await world.compile()
    world.acknowledge()
    (said,) = (await world.told())["policies"]
    assert (said["generation"], said["state"]) == (5, "realised")


async def test_the_same_is_said_once_and_again_after_a_new_connection(world: World) -> None:
    for _ in range(3):
        await world.task.reconcile()
    assert len(world.upstream.sent) == 1

    world.is_connected = False
    await world.task.reconcile()
    world.is_connected = True
    await world.task.reconcile()
    assert len(world.upstream.sent) == 2


async def test_what_did_not_arrive_is_said_again(world: World) -> None:
    world.upstream.is_away = True
    with pytest.raises(Unreachable):
        await world.task.reconcile()
    world.upstream.is_away = False
    await world.task.reconcile()
    assert len(world.upstream.sent) == 1


async def test_a_site_that_has_not_heard_the_fsm_has_nothing_to_say(world: World) -> None:
    world.newest = None
    await world.task.reconcile()
    assert world.upstream.sent == []


async def test_an_exception_is_reported_with_its_reason_and_without_its_content(
    world: World,
) -> None:
    spec = {"subnets": ["10.77.0.0/24"]}
    target = {"kind": "Network", "name": "B"}
    ends = "2027-01-01T00:00:00+00:00"
    await write(
        world.store,
        {
            global_("Network", "B"): spec,
            P: policy(rule(to=[{"network": "B"}, {"network": "A"}]), enforcement="mandatory"),
            global_("Network", "C"): {"subnets": ["10.78.0.0/24"]},
            key("Override", "o"): {
                "target": target,
                "reason": "because",
                "spec": spec,
                "expiresAt": ends,
            },
        },
    )
    await world.compile()
    assert exceptions(world.newest.planner) == [
        {
            "type": "override",
            "target": {**target, "tenant": "common"},
            "name": "o",
            "tenant": "common",
            "scope": "site",
            "reason": "because",
            "expiresAt": ends,
        }
    ]


def _report(policies: int, failing: int) -> dict[str, Any]:
    code = "x" * 64
    return {
        "position": AT.to_json(),
        "policies": [
            {
                "tenant": "common",
                "name": f"policy-{number}",
                "scope": "federation",
                "state": "failed",
                "nodes": {"total": failing, "realised": 0, "pending": 0, "failed": failing},
                "failing": [{"node": f"n{each}", "code": code} for each in range(failing)],
                "unresolved": [],
                "revision": number,
                "generation": 1,
            }
            for number in range(policies)
        ],
        "exceptions": [],
        "held": [],
        "counts": {"nodes": failing},
    }


@pytest.mark.parametrize(
    ("policies", "failing"),
    [
        pytest.param(5000, 0, id="5,000 policies"),
        pytest.param(5000, 100, id="all of them fail at 100 nodes"),
        pytest.param(20_000, 1, id="more than the FSM takes"),
    ],
)
def test_a_report_of_a_large_site_is_one_that_the_fsm_takes(policies: int, failing: int) -> None:
    report = fitted(_report(policies, failing))
    data = orjson.dumps(report)
    assert len(data) < REPORT_LIMIT
    said = Report.model_validate(orjson.loads(data))
    assert len(said.policies) == min(policies, MOST)
    assert {each.nodes.failed for each in said.policies} == {failing}
    if policies > MOST:
        assert said.counts["allPolicies"] == policies


def test_a_report_that_fits_is_left_alone() -> None:
    report = _report(3, 100)
    assert fitted(report) == report
