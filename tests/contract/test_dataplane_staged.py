"""What a data plane counts for staged policies: held against a slow oracle, with real packets."""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dsn.dataplane.contract import DEFAULT
from shared.errors import Invalid
from shared.policy.nodeconfig import TIERS, NodeConfiguration, NodeRule
from tests.contract.dataplanes import (
    PEER,
    WORKLOAD,
    Bench,
    KernelBench,
    MemoryBench,
    configuration,
    kernel_bench,
    make_rule,
    make_service,
    set_id,
)
from tests.contract.frames import TCP, UDP, make_packet
from tests.contract.staged_oracle import oracle
from tests.contract.test_dataplane_verdicts import (
    random_cidrs,
    random_configuration,
    random_packets,
    random_rule,
)

OWN = ("10.1.0.0/24", "fd01::/64")
WORLDS = {"memory": 150, "nftables": 40}


@pytest.fixture(params=["memory", pytest.param("nftables", marks=pytest.mark.kernel)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield MemoryBench()
    else:
        async with kernel_bench() as made:
            yield made


async def test_what_would_change_is_counted_for_what_changes_it_and_nothing_else(
    bench: Bench,
) -> None:
    seed = int(os.environ.get("HANSE_SEED", random.randrange(1 << 32)))
    source = random.Random(seed)
    counted: Counter[str] = Counter()
    for number in range(WORLDS[bench.plane.name]):
        wanted = staged_configuration(source)
        label = f"HANSE_SEED={seed} configuration {number}"
        await bench.plane.apply(wanted)
        assert (await bench.plane.read_back()).hash == wanted.hash(), label
        assert (await bench.plane.read_back(whole=True)).hash == wanted.hash(), label
        before = await bench.plane.counters()

        packets = random_packets(wanted, source)
        expected = Counter(name for each in packets if (name := oracle(wanted, each)) is not None)
        await bench.verdicts(packets)

        after = await bench.plane.counters()
        found = {
            name: more
            for name, count in after.items()
            if name.startswith("would_") and (more := count.packets - before[name].packets)
        }
        assert found == dict(expected), label
        counted.update(expected)
        await forget(bench)
    # The load says something only if both were common.
    for would in ("would_deny:", "would_allow:"):
        assert sum(count for name, count in counted.items() if name.startswith(would)) > 10


async def test_what_is_staged_changes_no_verdict_and_no_rules_count(bench: Bench) -> None:
    source = random.Random(11)
    for _ in range(8):
        wanted = staged_configuration(source)
        packets = random_packets(wanted, source)
        seen = []
        for each in (replace(wanted, staged=None), wanted):
            await bench.plane.clear()
            await bench.plane.apply(each)
            verdicts = await bench.verdicts(packets)
            counters = await bench.plane.counters()
            enforced = {name: each for name, each in counters.items() if "would" not in name}
            seen.append((verdicts, enforced))
            await forget(bench)
        assert seen[0] == seen[1]


async def test_an_allowed_connection_counts_once_however_much_it_says(bench: Bench) -> None:
    allow = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
    deny = make_rule("no-http", "deny", "mandatory", destination=set_id(1))
    await bench.plane.apply(staging(configuration(allow, _1=OWN), deny, allow))

    connection = await bench.connect(PEER, WORKLOAD, TCP, 80)
    for _ in range(3):
        assert await connection.forth()
        assert await connection.back()

    assert await counts(bench) == {f"would_deny:{deny.id}": 1}


async def test_counts_go_on_while_policies_that_are_enforced_change(bench: Bench) -> None:
    allow = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
    other = make_rule("other", "allow", destination=set_id(1), services=make_service(TCP, 22))
    deny = make_rule("no-http", "deny", "mandatory", destination=set_id(1))
    name = f"would_deny:{deny.id}"
    await bench.plane.apply(staging(configuration(allow, _1=OWN), deny, allow))
    await bench.verdicts([make_packet(PEER, WORKLOAD, TCP, 80, 1024)])

    after = staging(configuration(other, allow, _1=OWN), deny, other, allow)
    await bench.plane.apply(after)
    assert (await bench.plane.read_back()).hash == after.hash()
    await bench.verdicts([make_packet(PEER, WORKLOAD, TCP, 80, 1025)])
    assert await counts(bench) == {name: 2}

    after = staging(configuration(other, allow, _1=(*OWN[:1], "fd01::/65")), deny, other, allow)
    await bench.plane.apply(after)
    assert (await bench.plane.read_back()).hash == after.hash()
    await bench.verdicts([make_packet(PEER, WORKLOAD, TCP, 80, 1026)])
    assert await counts(bench) == {name: 3}

    await bench.plane.apply(replace(after, staged=None))
    assert (await bench.plane.read_back()).hash == replace(after, staged=None).hash()
    assert await counts(bench) == {}


async def test_a_policy_that_would_be_replaced_is_counted_where_nothing_takes_its_place(
    bench: Bench,
) -> None:
    allow = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
    await bench.plane.apply(staging(configuration(allow, _1=OWN)))
    await bench.verdicts([make_packet(PEER, WORKLOAD, TCP, 80, 1024)])
    await bench.verdicts([make_packet(PEER, WORKLOAD, UDP, 80, 1024)])
    assert await counts(bench) == {f"would_deny:{allow.id}": 1}
    assert (await bench.plane.counters())[DEFAULT].packets == 1


async def test_what_is_staged_must_speak_of_the_same_node(bench: Bench) -> None:
    allow = make_rule("http", "allow", destination=set_id(1))
    good = configuration(allow, _1=OWN)
    for bad in (
        replace(good, addresses=("10.1.0.0/25",)),
        replace(good, default_action="allow"),
        replace(good, sets={set_id(1): ("10.3.0.0/24",)}),
        replace(good, staged=good),
        replace(good, rules=(make_rule("x", "allow", destination=set_id(9)),)),
    ):
        with pytest.raises(Invalid) as caught:
            await bench.plane.apply(replace(good, staged=bad))
        assert caught.value.code == "invalid_configuration"
        assert caught.value.fields[0].path.startswith("staged")


@pytest.mark.kernel
async def test_what_counts_is_read_back_and_repaired_like_what_is_enforced() -> None:
    allow = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
    deny = make_rule("no-http", "deny", "mandatory", destination=set_id(1))
    wanted = staging(configuration(allow, _1=OWN), deny, allow)
    async with kernel_bench() as bench:
        await bench.plane.apply(wanted)
        for spoil in (
            ("flush", "chain", "inet", "hanse", "h_would_deny_mandatory_4"),
            ("add", "rule", "inet", "hanse", "h_would_local_4", "accept"),
            ("add", "chain", "inet", "hanse", "h_would_deny_default_4"),
        ):
            bench.nft(*spoil)
            found = await bench.plane.read_back(whole=True)
            assert found.hash != wanted.hash(), spoil
            assert found.faults, spoil
            await bench.plane.apply(wanted)
            assert (await bench.plane.read_back(whole=True)).hash == wanted.hash()
        await bench.verdicts([make_packet(PEER, WORKLOAD, TCP, 80, 1024)])
        assert await counts(bench) == {f"would_deny:{deny.id}": 1}


def staging(enforced: NodeConfiguration, *rules: NodeRule) -> NodeConfiguration:
    """Return a configuration with these rules staged in place of its own."""
    return replace(enforced, staged=replace(enforced, rules=rules))


def staged_configuration(source: random.Random) -> NodeConfiguration:
    """Return a random configuration with something staged that has rules of it, and others."""
    enforced = random_configuration(source)
    sets = {**enforced.sets, set_id(7): random_cidrs(source)}
    rules: list[NodeRule] = []
    for tier in TIERS:
        kept = [rule for rule in enforced.rules if rule.tier == tier]
        kept = [rule for rule in kept if source.random() < 0.8]
        for number in range(source.choice((0, 0, 1, 1, 2, 4))):
            rule = random_rule(source, f"staged-{tier}-{number}", tier, list(sets))
            kept.insert(source.randrange(len(kept) + 1), rule)
        for place, rule in enumerate(kept):
            # One that bears the name of what it takes the place of.
            if source.random() < 0.15:
                other = random_rule(source, rule.rule, tier, list(sets))
                kept[place] = replace(other, id=rule.id)
        rules += kept
    return replace(enforced, staged=replace(enforced, sets=sets, rules=tuple(rules)))


async def counts(bench: Bench) -> dict[str, int]:
    found = await bench.plane.counters()
    return {
        name: count.packets
        for name, count in found.items()
        if name.startswith("would_") and count.packets
    }


async def forget(bench: Bench) -> None:
    """Let every packet that comes be a first one."""
    if isinstance(bench, KernelBench):
        bench.run("conntrack", "-F")
    else:
        assert isinstance(bench, MemoryBench)
        bench.memory._tracked.clear()
