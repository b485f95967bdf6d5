"""What every data plane promises, asked of the simulated one and of the kernel."""

from collections.abc import AsyncIterator

import pytest

from dsn.dataplane.contract import DEFAULT, ENDED
from shared.errors import Invalid
from shared.policy.nodeconfig import NodeConfiguration, NodeService
from tests.contract.dataplanes import (
    OTHER_WORKLOAD,
    PEER,
    PEER6,
    WORKLOAD,
    WORKLOAD6,
    Bench,
    MemoryBench,
    configuration,
    kernel_bench,
    make_rule,
    make_service,
    set_id,
)
from tests.contract.everything import everything
from tests.contract.frames import TCP, UDP, make_packet

OWN = ("10.1.0.0/24", "fd01::/64")


@pytest.fixture(params=["memory", pytest.param("nftables", marks=pytest.mark.kernel)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield MemoryBench()
    else:
        async with kernel_bench() as made:
            yield made


def allow_http() -> NodeConfiguration:
    rule = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
    return configuration(rule, _1=OWN)


async def test_nothing_is_enforced_before_the_first_configuration(bench: Bench) -> None:
    packet = make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)

    assert (await bench.plane.read_back()).hash is None
    assert await bench.verdicts([packet]) == ["allow"]


async def test_what_is_read_back_is_what_was_applied(bench: Bench) -> None:
    for each in (allow_http(), configuration(default="allow"), everything(), allow_http()):
        await bench.plane.apply(each)
        found = await bench.plane.read_back()
        assert (found.hash, found.faults) == (each.hash(), ())


async def test_only_traffic_with_an_own_end_is_judged(bench: Bench) -> None:
    await bench.plane.apply(configuration())

    assert await bench.verdicts(
        [
            make_packet("10.70.0.1", "10.70.0.2", TCP, 80, 1024),
            make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024),
            make_packet("10.1.0.77", "10.70.0.1", TCP, 80, 1024),
            make_packet("2001:db8::1", "2001:db8::2", UDP, 80, 1024),
            make_packet("2001:db8::1", "fd01::77", UDP, 80, 1024),
        ]
    ) == ["allow", "deny", "deny", "allow", "deny"]


async def test_a_tier_that_is_passed_leaves_it_to_the_next(bench: Bench) -> None:
    await bench.plane.apply(
        configuration(
            make_rule("first", "pass", "mandatory", destination=set_id(1)),
            make_rule("never", "deny", "mandatory", destination=set_id(1)),
            make_rule("second", "reject", "local", services=make_service(TCP, 22)),
            make_rule("third", "allow", "default", destination=set_id(1)),
            _1=OWN,
        )
    )

    assert await bench.verdicts(
        [
            make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024),
            make_packet("10.70.0.1", "10.1.0.77", TCP, 22, 1024),
            make_packet("10.1.0.77", "10.70.0.1", TCP, 81, 1024),
        ]
    ) == ["allow", "reject", "deny"]


async def test_a_rule_counts_the_connections_that_it_decides(bench: Bench) -> None:
    wanted = allow_http()
    await bench.plane.apply(wanted)
    await bench.verdicts(
        [make_packet("10.70.0.1", "10.1.0.77", TCP, port, 1024) for port in (80, 81, 82)]
    )

    counts = await bench.plane.counters()

    assert counts[wanted.rules[0].id].packets == 1
    assert counts[DEFAULT].packets == 2


async def test_a_rule_that_stays_goes_on_counting(bench: Bench) -> None:
    before = allow_http()
    await bench.plane.apply(before)
    await bench.verdicts([make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)])

    after = configuration(make_rule("new", "deny", "mandatory"), *before.rules, _1=OWN[:1])
    await bench.plane.apply(after)

    counts = await bench.plane.counters()
    assert counts[before.rules[0].id].packets == 1
    assert counts[after.rules[0].id].packets == 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(configuration(make_rule("r", "allow", source=set_id(9))), id="no such set"),
        pytest.param(configuration(_1=("10.0.0.0/25", "10.0.0.128/25")), id="not minimal"),
        pytest.param(configuration(_1=("10.0.0.1/24",)), id="host bits"),
        pytest.param(configuration(make_rule("r", "allow"), make_rule("r", "deny")), id="twice"),
        pytest.param(configuration(make_rule("r", "allow", services=())), id="no services"),
        pytest.param(
            configuration(make_rule("r", "allow", services=make_service(1, 80))), id="icmp port"
        ),
        pytest.param(
            configuration(make_rule("r", "allow", services=make_service(256))), id="protocol"
        ),
        pytest.param(
            configuration(
                make_rule("r", "allow", services=(NodeService(TCP, ((80, 80), (81, 81))),))
            ),
            id="touching ports",
        ),
        pytest.param(
            configuration(make_rule("d", "allow", "default"), make_rule("m", "deny", "mandatory")),
            id="tiers out of order",
        ),
        pytest.param(configuration(make_rule("r", "allow", id='x"; flush ruleset; #')), id="no id"),
        pytest.param(configuration(make_rule("r", "flush ruleset")), id="no action"),
    ],
)
async def test_what_cannot_be_enforced_exactly_is_refused_whole(
    bench: Bench, wrong: NodeConfiguration
) -> None:
    standing = allow_http()
    await bench.plane.apply(standing)

    with pytest.raises(Invalid) as refusal:
        await bench.plane.apply(wrong)

    assert refusal.value.code == "invalid_configuration"
    assert refusal.value.fields
    assert (await bench.plane.read_back()).hash == standing.hash()


async def test_drift_is_seen_and_repaired(bench: Bench) -> None:
    wanted = allow_http()
    await bench.plane.apply(wanted)

    await bench.drift(wanted.rules[0])
    assert (await bench.plane.read_back()).hash != wanted.hash()
    await bench.plane.apply(wanted)

    assert (await bench.plane.read_back()).hash == wanted.hash()
    packet = make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)
    assert await bench.verdicts([packet]) == ["allow"]


async def test_replies_pass_without_a_rule_of_their_own(bench: Bench) -> None:
    await bench.plane.apply(allow_http())

    for peer, workload in ((PEER, WORKLOAD), (PEER6, WORKLOAD6)):
        connection = await bench.connect(peer, workload, TCP, 80)
        assert await connection.back()
        with pytest.raises(ConnectionError):
            await bench.connect(workload, peer, TCP, 81)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(("peer", "workload"), [(PEER, WORKLOAD), (PEER6, WORKLOAD6)])
async def test_connections_that_are_now_denied_end_and_no_others(
    bench: Bench, protocol: int, peer: str, workload: str
) -> None:
    rule = make_rule("services", "allow", services=make_service(protocol, 80, 443))
    await bench.plane.apply(configuration(rule))
    ending = await bench.connect(peer, workload, protocol, 80)
    living = await bench.connect(peer, workload, protocol, 443)
    assert await ending.back()
    assert await living.back()

    after = configuration(make_rule("services", "allow", services=make_service(protocol, 443)))
    await bench.plane.apply(after)
    ended = await bench.plane.end_denied_connections(after)

    assert ended == 1
    assert not await ending.back()
    assert not await ending.forth()
    assert await living.forth()
    assert await living.back()


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("first", ["client", "server"])
async def test_an_ended_connection_is_not_revived_by_a_rule_for_the_other_direction(
    bench: Bench, protocol: int, first: str
) -> None:
    await bench.plane.apply(configuration(make_rule("all", "allow")))
    connection = await bench.connect(PEER, WORKLOAD, protocol, 80)
    assert await connection.back()

    # What the workload begins is allowed, whatever ports it uses.
    after = configuration(make_rule("out", "allow", source=set_id(1)), _1=OWN)
    await bench.plane.apply(after)
    assert await bench.plane.end_denied_connections(after) == 1

    sends = [connection.back, connection.forth, connection.back]
    for send in sends if first == "server" else sends[1:]:
        assert not await send()
    assert (await bench.plane.counters())[ENDED].packets > 0


async def test_a_connection_allowed_again_can_be_opened_again(bench: Bench) -> None:
    before, between = allow_http(), configuration()
    await bench.plane.apply(before)
    ended = await bench.connect(PEER, WORKLOAD, TCP, 80)
    await bench.plane.apply(between)
    assert await bench.plane.end_denied_connections(between) == 1
    assert not await ended.forth()

    await bench.plane.apply(before)
    assert await bench.plane.end_denied_connections(before) == 0

    assert await (await bench.connect(PEER, OTHER_WORKLOAD, TCP, 80)).back()


async def test_a_udp_flow_allowed_again_goes_on(bench: Bench) -> None:
    before = configuration(make_rule("dns", "allow", services=make_service(UDP, 53)))
    between = configuration()
    await bench.plane.apply(before)
    flow = await bench.connect(PEER, WORKLOAD, UDP, 53)
    await bench.plane.apply(between)
    assert await bench.plane.end_denied_connections(between) == 1
    assert not await flow.back()

    await bench.plane.apply(before)
    await bench.plane.end_denied_connections(before)

    assert await flow.forth()
    assert await flow.back()


async def test_traffic_that_is_not_ours_is_never_ended(bench: Bench) -> None:
    everything = configuration(make_rule("all", "allow"))
    await bench.plane.apply(everything)
    transit = await bench.connect(PEER, WORKLOAD, TCP, 80)

    elsewhere = configuration(addresses=("10.200.0.0/24",))
    await bench.plane.apply(elsewhere)

    assert await bench.plane.end_denied_connections(elsewhere) == 0
    assert await transit.forth()
    assert await transit.back()


async def test_what_is_cleared_is_as_if_it_had_never_been(bench: Bench) -> None:
    await bench.plane.apply(configuration())
    await bench.plane.clear()

    assert (await bench.plane.read_back()).hash is None
    assert await bench.verdicts([make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)]) == ["allow"]
    await bench.plane.clear()
    await bench.plane.apply(allow_http())
    assert (await bench.plane.read_back()).hash == allow_http().hash()
