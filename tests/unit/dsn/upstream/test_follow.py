"""A node follows its site: whole, by differences, through refusals and losses."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.apply import Enforcer
from dsn.enforce.assignment import Assignment
from dsn.enforce.last_good import LastGood
from dsn.upstream.follow import ConfigurationFollower
from dsn.upstream.report import Reporter
from shared.backoff import Backoff
from shared.errors import Forbidden, Unreachable
from shared.feed.connect import Connector
from shared.policy.nodeconfig import to_json
from shared.policy.nodedelta import compute_delta
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.unit.dsn.configurations import NODE, make_assignment, make_rule
from tests.unit.dsn.upstream.site import FakeSite

HELLO = {"protocol": 1, "incarnation": "first"}
ONE = make_assignment(1, make_rule(1))
TWO = make_assignment(2, make_rule(1), make_rule(2))
THREE = make_assignment(3, make_rule(3))


class Followed:
    """A follower whose clock stands still; what it wants is enforced at once, in memory."""

    def __init__(self, site: FakeSite, folder: Path) -> None:
        self.site = site
        self.clock = VirtualClock()
        self.plane = MemoryDataPlane()
        self.enforcer = Enforcer(plane=self.plane, last_good=LastGood(folder / "last-good.json"))
        reporter = Reporter(
            transport=site, plane=self.plane, agent="1", period=15.0, clock=self.clock
        )
        self.enforcer.watchers.append(reporter.note)
        self.connector = Connector(
            peer="SDSP",
            clock=self.clock,
            backoff=Backoff(first=1.0, longest=4.0, source=random.Random(1)),
        )
        self.follower = ConfigurationFollower(
            node=NODE,
            transport=site,
            enforcer=self.enforcer,
            reporter=reporter,
            connector=self.connector,
        )

    async def run(self, until: Callable[[], Awaitable[Any]]) -> None:
        async with Group() as group:
            group.start(self.follower.run(), name="follow")
            group.start(self._pass_time(), name="time")
            async with asyncio.timeout(10):
                await until()

    async def _pass_time(self) -> None:
        """Let retries happen; nothing else takes time."""
        while True:
            await self.clock.pass_time(5.0)


def snapshot(assignment: Assignment) -> dict[str, Any]:
    version = assignment.version
    return {
        "snapshot": to_json(assignment.configuration),
        "generation": version.generation,
        "hash": version.hash,
    }


def delta(base: Assignment, assignment: Assignment) -> dict[str, Any]:
    version = assignment.version
    return {
        "delta": compute_delta(base.configuration, assignment.configuration),
        "generation": version.generation,
        "hash": version.hash,
    }


def bookmark(assignment: Assignment) -> dict[str, Any]:
    version = assignment.version
    return {"bookmark": True, "generation": version.generation, "hash": version.hash}


async def test_a_snapshot_and_its_differences_are_followed(tmp_path: Path) -> None:
    site = FakeSite([HELLO, snapshot(ONE), delta(ONE, TWO), bookmark(TWO), delta(TWO, THREE)])
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == THREE
    assert site.asked == [{}]


async def test_what_the_node_has_is_said_at_the_start(tmp_path: Path) -> None:
    site = FakeSite([HELLO, delta(ONE, TWO)])
    followed = Followed(site, tmp_path)
    followed.enforcer.want(ONE)
    await followed.enforcer.enforce()

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == TWO
    assert site.asked == [{"incarnation": "first", "generation": "1", "hash": ONE.version.hash}]


async def test_another_generation_of_what_stands_is_taken(tmp_path: Path) -> None:
    site = FakeSite([HELLO, {"generation": 9, "hash": ONE.version.hash}])
    followed = Followed(site, tmp_path)
    followed.enforcer.want(ONE)
    await followed.enforcer.enforce()

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == replace(ONE, version=replace(ONE.version, generation=9))


async def test_a_restored_site_is_not_refused_as_older(tmp_path: Path) -> None:
    site = FakeSite([{"protocol": 1, "incarnation": "restored"}, snapshot(ONE)])
    followed = Followed(site, tmp_path)
    followed.enforcer.want(THREE)
    await followed.enforcer.enforce()

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted is not None
    assert followed.enforcer.wanted.version == replace(ONE.version, incarnation="restored")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param(
            {**snapshot(TWO), "snapshot": {**to_json(TWO.configuration), "colour": "red"}},
            "unsupported_field",
            id="a field of a later version",
        ),
        pytest.param(
            {**snapshot(TWO), "snapshot": {"node": 3}}, "malformed", id="no configuration"
        ),
        pytest.param({**snapshot(TWO), "hash": "f" * 64}, "hash_mismatch", id="another hash"),
        pytest.param(snapshot(make_assignment(2, node="node-2")), "wrong_node", id="another node"),
        pytest.param(
            {**snapshot(TWO), "generation": 0}, "older_generation", id="an older generation"
        ),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_its_code_and_the_stream_goes_on(
    tmp_path: Path, line: Any, code: str
) -> None:
    site = FakeSite([HELLO, snapshot(ONE), line, snapshot(THREE)])
    followed = Followed(site, tmp_path)
    refusals = []
    followed.enforcer.watchers.append(lambda standing: refusals.append(standing.refused))

    await followed.run(site.idle.wait)

    assert [each.code for each in refusals if each] == [code]
    assert followed.enforcer.wanted == THREE
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(delta(TWO, THREE), id="a difference to something else"),
        pytest.param({**delta(ONE, TWO), "delta": {"base": 3}}, id="no difference"),
        pytest.param({**delta(ONE, TWO), "delta": []}, id="no object"),
        pytest.param(bookmark(TWO), id="a bookmark of something else"),
    ],
)
async def test_a_node_that_lost_track_asks_for_the_whole(tmp_path: Path, line: Any) -> None:
    site = FakeSite([HELLO, snapshot(ONE), line], [HELLO, snapshot(TWO)])
    followed = Followed(site, tmp_path)
    followed.enforcer.want(ONE)
    await followed.enforcer.enforce()

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == TWO
    assert site.asked[1] == {}
    assert followed.enforcer.standing.refused is None


async def test_a_first_line_that_was_lost_is_noticed_at_the_next_bookmark(tmp_path: Path) -> None:
    site = FakeSite([HELLO, bookmark(TWO)], [HELLO, snapshot(TWO)])
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == TWO


async def test_a_line_that_comes_twice_changes_nothing(tmp_path: Path) -> None:
    twice = [each for each in (snapshot(ONE), delta(ONE, TWO), delta(TWO, THREE)) for _ in "12"]
    site = FakeSite([HELLO, *twice, delta(ONE, TWO), bookmark(THREE)])
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == THREE
    assert followed.enforcer.standing.refused is None
    assert len(site.asked) == 1


async def test_a_difference_that_leads_elsewhere_has_the_node_ask_for_the_whole(
    tmp_path: Path,
) -> None:
    site = FakeSite(
        [HELLO, snapshot(ONE), {**delta(ONE, TWO), "hash": THREE.version.hash}],
        [HELLO, snapshot(THREE)],
    )
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == THREE
    assert followed.enforcer.standing.refused is None


async def test_after_a_refusal_a_difference_means_to_ask_for_the_whole(tmp_path: Path) -> None:
    site = FakeSite(
        [HELLO, snapshot(ONE), {**snapshot(TWO), "snapshot": {}}, delta(TWO, THREE)],
        [HELLO, snapshot(THREE)],
    )
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == THREE


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([Unreachable("the site is away")], id="away"),
        pytest.param([Forbidden("not admitted", code="admission_pending")], id="not admitted"),
        pytest.param([HELLO, {"end": "admission_pending"}], id="no longer admitted"),
        pytest.param([HELLO, snapshot(ONE), Unreachable("cut off")], id="cut off"),
        pytest.param([snapshot(ONE)], id="no greeting"),
        pytest.param([HELLO], id="ended by the site"),
        pytest.param(["?"], id="no frame"),
    ],
)
async def test_a_session_that_ends_is_followed_by_another(tmp_path: Path, script: Any) -> None:
    site = FakeSite(script, [HELLO, snapshot(TWO)])
    followed = Followed(site, tmp_path)

    await followed.run(site.idle.wait)

    assert followed.enforcer.wanted == TWO


async def test_a_silent_site_is_left_and_asked_again(tmp_path: Path) -> None:
    site = FakeSite([HELLO, snapshot(ONE)])
    followed = Followed(site, tmp_path)

    async def asked_again() -> None:
        while len(site.asked) < 2:  # noqa: ASYNC110 - turns of the loop, no time
            await asyncio.sleep(0)

    await followed.run(asked_again)

    assert followed.enforcer.wanted == ONE
