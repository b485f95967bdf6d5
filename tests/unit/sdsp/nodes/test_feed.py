"""The stream of one node's configuration."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from sdsp.nodes.feed import BOOKMARK_PERIOD, admitted_or_refuse, configuration_lines
from sdsp.nodes.publication import KEPT_FOR_DELTAS
from shared.errors import Forbidden
from shared.policy.nodeconfig import NodeConfiguration, NodeRule, from_json, rule_id
from shared.policy.nodedelta import apply_delta
from tests.fakes.clock import VirtualClock
from tests.fakes.publishing import Publisher


def configuration(*addresses: str) -> NodeConfiguration:
    rule = NodeRule(
        id=rule_id("default", "common", "web", "in", "federation"),
        tier="default",
        tenant="common",
        policy="web",
        rule="in",
        origin="federation",
        action="allow",
        destination="s0000000000000001",
    )
    return NodeConfiguration(
        "node-1", "deny", ("10.0.0.1/32",), {"s0000000000000001": addresses}, (rule,)
    )


def publisher(*addresses: str) -> Publisher:
    return Publisher(configuration(*addresses))


async def read(lines: AsyncIterator[bytes]) -> Any:
    return orjson.loads(await anext(lines))


async def test_a_node_that_has_nothing_gets_the_whole_configuration() -> None:
    published = publisher("10.1.0.0/24")
    lines = configuration_lines(published.publications, "node-1", have=None, clock=VirtualClock())

    assert await read(lines) == {"protocol": 1, "incarnation": "i1"}
    frame = await read(lines)

    assert from_json(frame["snapshot"]) == configuration("10.1.0.0/24")
    assert frame["generation"] == 1
    assert frame["hash"] == configuration("10.1.0.0/24").hash()


async def test_a_node_that_has_the_newest_is_told_so_and_sent_nothing() -> None:
    published = publisher("10.1.0.0/24")
    have = configuration("10.1.0.0/24").hash()
    lines = configuration_lines(published.publications, "node-1", have=have, clock=VirtualClock())
    await read(lines)

    assert await read(lines) == {"generation": 1, "hash": have}


async def test_a_changed_member_is_sent_as_a_delta_without_rules() -> None:
    published = publisher("10.1.0.0/24")
    have = configuration("10.1.0.0/24")
    lines = configuration_lines(
        published.publications, "node-1", have=have.hash(), clock=VirtualClock()
    )
    await read(lines)
    await read(lines)

    changed = published.publish(2, configuration("10.1.0.0/24", "10.9.0.0/24"))
    frame = await read(lines)

    assert changed == {"node-1"}
    assert frame["delta"]["sets"] == {"s0000000000000001": {"add": ["10.9.0.0/24"], "remove": []}}
    assert "rules" not in frame["delta"]
    assert apply_delta(have, frame["delta"]) == configuration("10.1.0.0/24", "10.9.0.0/24")


async def test_changes_that_came_meanwhile_come_in_one_go() -> None:
    published = publisher("10.1.0.0/24")
    lines = configuration_lines(
        published.publications,
        "node-1",
        have=configuration("10.1.0.0/24").hash(),
        clock=VirtualClock(),
    )
    await read(lines)
    await read(lines)
    for third in range(2, 5):
        published.publish(third, configuration(f"10.{third}.0.0/24"))

    have = configuration("10.1.0.0/24")
    steps = [orjson.loads(line) for line in (await anext(lines)).splitlines()]
    for step in steps:
        have = apply_delta(have, step["delta"])
    assert [step["generation"] for step in steps] == [2, 3, 4]
    assert have == configuration("10.4.0.0/24")


async def test_back_at_an_earlier_configuration_nothing_leads_in_a_circle() -> None:
    published = publisher("10.1.0.0/24")
    published.publish(2, configuration("10.2.0.0/24"))
    published.publish(3, configuration("10.1.0.0/24"))
    published.publish(4, configuration("10.3.0.0/24"))
    have = configuration("10.1.0.0/24")
    line = published.publications.step("node-1", have.hash())
    assert line is not None
    assert apply_delta(have, orjson.loads(line)["delta"]) == configuration("10.3.0.0/24")


async def test_a_node_that_was_away_for_long_takes_a_snapshot() -> None:
    published = publisher("10.1.0.0/24")
    for third in range(2, 4 + KEPT_FOR_DELTAS):
        published.publish(third, configuration(f"10.{third}.0.0/24"))
    lines = configuration_lines(
        published.publications,
        "node-1",
        have=configuration("10.1.0.0/24").hash(),
        clock=VirtualClock(),
    )
    await read(lines)

    assert "snapshot" in await read(lines)


async def test_a_quiet_stream_says_every_few_seconds_that_it_lives() -> None:
    clock = VirtualClock()
    published = publisher("10.1.0.0/24")
    have = configuration("10.1.0.0/24").hash()
    lines = configuration_lines(published.publications, "node-1", have=have, clock=clock)
    await read(lines)
    await read(lines)

    async with asyncio.TaskGroup() as group:
        bookmark = group.create_task(read(lines))
        await clock.sleepers()
        clock.advance(BOOKMARK_PERIOD)

    assert bookmark.result() == {"bookmark": True, "generation": 1, "hash": have}
    assert BOOKMARK_PERIOD <= 10


async def test_the_stream_of_a_node_that_is_put_out_ends() -> None:
    published = publisher("10.1.0.0/24")
    lines = configuration_lines(published.publications, "node-1", have=None, clock=VirtualClock())
    await read(lines)
    await read(lines)

    published.publish(2)

    assert await read(lines) == {"end": "admission_pending"}
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
    with pytest.raises(Forbidden, match="hanse nodes admit node-1"):
        admitted_or_refuse(published.publications, "node-1")


def test_what_is_published_again_unchanged_keeps_its_generation() -> None:
    published = publisher("10.1.0.0/24")

    changed = published.publish(7, configuration("10.1.0.0/24"))

    newest = published.publications.newest("node-1")
    assert newest is not None
    assert (changed, newest.generation) == (frozenset(), 1)


def test_a_change_of_another_node_wakes_nobody_else() -> None:
    published = publisher("10.1.0.0/24")
    other = replace(configuration("10.1.0.0/24"), node="node-2")
    with published.publications.waiting("node-1") as event:
        published.publish(2, configuration("10.1.0.0/24"), other)
        assert not event.is_set()
