"""A change costs what changed, and yet nothing that anybody else did goes unseen.

Every answer of reading back in parts is held against reading the whole, and against what nft, a
program that is none of ours, lists.
"""

import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane import reading
from dsn.dataplane.contract import NoDataPlane
from dsn.dataplane.listing import parse_listing, read_back
from dsn.dataplane.nftables import LOG_GROUP, NftablesDataPlane
from dsn.dataplane.ruleset import Layout, Link
from shared.policy.nodeconfig import NodeConfiguration, NodeService
from tests.contract.dataplanes import (
    PEER,
    WORKLOAD,
    KernelBench,
    configuration,
    kernel_bench,
    make_rule,
    make_service,
    set_id,
)
from tests.contract.everything import everything
from tests.contract.frames import TCP, UDP

pytestmark = pytest.mark.kernel

LAYOUT = Layout(LOG_GROUP, (Link(4, "192.0.2.9", 8443), Link(6, "2001:db8:ffff::9", 8443)))
TOUCHED, UNTOUCHED = 1, 2


@pytest.fixture
async def bench() -> AsyncIterator[KernelBench]:
    async with kernel_bench(LAYOUT) as made:
        yield made


class Reads:
    """Counts how often a whole table is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.whole = 0
        read_table = reading.read_table

        def counted(*arguments: object) -> object:
            self.whole += 1
            return read_table(*arguments)  # type: ignore[arg-type] - passed on as they come

        monkeypatch.setattr(reading, "read_table", counted)


def standing() -> NodeConfiguration:
    return configuration(
        make_rule("first", "allow", "mandatory", source=set_id(TOUCHED)),
        make_rule("second", "deny", destination=set_id(UNTOUCHED), services=make_service(TCP, 80)),
        make_rule("third", "allow", services=make_service(TCP, 80, 443)),
        make_rule("last", "reject", "default", within=set_id(UNTOUCHED)),
        _1=("10.64.0.0/16", "fd01::/64"),
        _2=("10.65.0.0/16", "10.66.0.0/24"),
    )


def with_member(before: NodeConfiguration) -> NodeConfiguration:
    return replace(
        before, sets={**before.sets, set_id(TOUCHED): ("10.64.0.0/16", "10.70.0.0/32", "fd01::/64")}
    )


def with_rule(before: NodeConfiguration) -> NodeConfiguration:
    rule = make_rule("between", "deny", services=make_service(UDP, 53, 123))
    return replace(before, rules=(*before.rules[:2], rule, *before.rules[2:]))


def nft_reads(bench: KernelBench) -> tuple[str | None, tuple[str, ...]]:
    listed = orjson.loads(bench.nft("-j", "-n", "list", "table", "inet", "hanse"))["nftables"]
    found = read_back(parse_listing(listed), LAYOUT)
    return found.hash, found.faults


TABLES = pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(everything(), id="everything"),
        pytest.param(standing(), id="some"),
        pytest.param(configuration(), id="nothing"),
        pytest.param(configuration(default="allow"), id="allow"),
    ],
)


@TABLES
async def test_nft_lists_what_was_written_without_it(
    bench: KernelBench, wanted: NodeConfiguration
) -> None:
    await bench.plane.apply(wanted)

    assert nft_reads(bench) == (wanted.hash(), ())
    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (wanted.hash(), ())


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_after_each_of_many_changes_the_parts_say_what_the_whole_says(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    source = random.Random(seed)
    reads = Reads(monkeypatch)
    wanted = standing()
    await bench.plane.apply(wanted)
    assert (await bench.plane.read_back()).hash == wanted.hash()
    before = reads.whole

    for step in range(25):
        wanted = changed(wanted, source, step)
        await bench.plane.apply(wanted)
        assert (await bench.plane.read_back()).hash == wanted.hash()

    assert reads.whole == before, "everything was read in parts"
    found = await bench.plane.read_back(whole=True)
    assert (found.hash, found.faults) == (wanted.hash(), ())
    assert nft_reads(bench) == (wanted.hash(), ())


def changed(before: NodeConfiguration, source: random.Random, step: int) -> NodeConfiguration:
    """Return a configuration with a few things changed: members, sets, rules, their order."""
    sets, rules = dict(before.sets), list(before.rules)
    for _ in range(source.randint(1, 3)):
        what = source.choice(("members", "set", "rule", "gone", "moved", "addresses"))

        place = source.randint(0, len(rules))
        if what == "members":
            name = source.choice(sorted(sets))
            v4 = sorted(source.sample(range(256), source.randint(0, 6)))
            sets[name] = (*(f"10.{each}.0.0/17" for each in v4), f"fd{step:02d}::/32")
        elif what == "set":
            sets[set_id(100 + step)] = ("10.1.2.3/32", "192.0.2.0/24")
        elif what == "rule":
            rules.insert(
                place,
                make_rule(
                    f"rule-{step}-{source.random()}",
                    source.choice(("allow", "deny", "reject", "pass")),
                    source=source.choice([None, *sorted(sets)]),
                    within=source.choice([None, None, *sorted(sets)]),
                    log=source.random() < 0.3,
                    services=source.choice(
                        (None, (NodeService(17, ((1, step + 1), (100, 200))), NodeService(1)))
                    ),
                ),
            )
        elif what == "gone" and len(rules) > 1:
            rules.pop(place % len(rules))
        elif what == "moved" and len(rules) > 1:
            rules.insert(place % len(rules), rules.pop(source.randrange(len(rules))))
    order = {"mandatory": 0, "local": 1, "default": 2}
    rules.sort(key=lambda rule: order[rule.tier])
    used = {each for rule in rules for each in (rule.source, rule.destination, rule.within)}
    kept = {name: cidrs for name, cidrs in sets.items() if name in used or name in before.sets}
    if source.random() < 0.3:
        unused = sorted(set(kept) - used)
        for name in unused[:1]:
            del kept[name]
    addresses = ("10.1.0.0/24", f"10.2.{step}.0/24", "fd01::/64")
    return replace(
        before,
        sets=kept,
        rules=tuple(rules),
        addresses=addresses if source.random() < 0.3 else before.addresses,
    )


@pytest.mark.parametrize("change", [with_member, with_rule])
@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param(f"add element inet hanse h_{set_id(TOUCHED)}_4 {{ 10.99.0.1 }}", id="its set"),
        pytest.param(
            f"delete element inet hanse h_{set_id(UNTOUCHED)}_4 {{ 10.66.0.0/24 }}",
            id="another set",
        ),
        pytest.param("insert rule inet hanse h_local_4 accept", id="its chain"),
        pytest.param("flush chain inet hanse h_default_6", id="another chain"),
        pytest.param("insert rule inet hanse h_own_4 accept", id="a chain that is no tier"),
    ],
)
async def test_what_others_do_after_a_change_is_in_the_very_next_answer(
    bench: KernelBench, change: object, by_hand: str
) -> None:
    assert callable(change)
    await bench.plane.apply(standing())
    await bench.plane.read_back()
    wanted = change(standing())
    await bench.plane.apply(wanted)

    bench.nft(by_hand)

    assert (await bench.plane.read_back()).hash != wanted.hash()
    await bench.plane.apply(wanted)
    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (wanted.hash(), ())


@pytest.mark.parametrize("change", [with_member, with_rule])
async def test_what_others_did_before_a_change_does_not_outlive_it(
    bench: KernelBench, change: object
) -> None:
    assert callable(change)
    await bench.plane.apply(standing())
    await bench.plane.read_back()

    bench.nft(f"add element inet hanse h_{set_id(UNTOUCHED)}_4 {{ 10.99.0.1 }}")
    bench.nft("insert rule inet hanse h_own_4 accept")
    wanted = change(standing())
    await bench.plane.apply(wanted)

    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (wanted.hash(), ())


async def test_what_others_do_between_changes_is_found_by_reading_the_whole(
    bench: KernelBench,
) -> None:
    await bench.plane.apply(standing())
    await bench.plane.read_back()

    bench.nft(f"add element inet hanse h_{set_id(UNTOUCHED)}_4 {{ 10.99.0.1 }}")

    assert (await bench.plane.read_back(whole=True)).hash != standing().hash()


async def test_others_tables_cost_a_whole_read_and_nothing_else(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.plane.apply(standing())
    await bench.plane.read_back()
    reads = Reads(monkeypatch)

    bench.nft("add table inet other")
    await bench.plane.apply(with_member(standing()))
    assert (await bench.plane.read_back()).hash == with_member(standing()).hash()
    assert reads.whole > 0


async def test_one_rule_more_or_less_touches_no_other_rule(bench: KernelBench) -> None:
    await bench.plane.apply(standing())
    await bench.plane.read_back()
    before = handles(bench)

    await bench.plane.apply(with_rule(standing()))
    between = handles(bench)
    await bench.plane.apply(standing())

    assert before < between
    assert handles(bench) == before


def handles(bench: KernelBench) -> set[str]:
    """Return the handles of all rules of the table."""
    listed = bench.nft("-a", "list", "table", "inet", "hanse")
    rules = [line for line in listed.splitlines() if "handle" in line and "{" not in line]
    return {re.sub(r".*# handle ", "", line) for line in rules}


async def test_a_change_that_is_refused_leaves_the_old_rules(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the change and the whole table alike, and nft isn't there."""
    await bench.plane.apply(standing())
    await bench.plane.read_back()
    listed = bench.nft("-n", "list", "table", "inet", "hanse")
    unknown = nl.nested(1, nl.text(1, "unheard-of"))
    monkeypatch.setattr("dsn.dataplane.bytecode.pack", lambda _: unknown)
    monkeypatch.setattr("dsn.dataplane.nft._PATH", "/nowhere")

    with pytest.raises(NoDataPlane, match="there is no program nft"):
        await bench.plane.apply(with_rule(standing()))

    assert bench.nft("-n", "list", "table", "inet", "hanse") == listed
    assert (await bench.plane.read_back()).hash == standing().hash()


async def test_connections_end_generation_by_generation_and_no_others(bench: KernelBench) -> None:
    """Judged are those that a change may concern, and it is the same as judging all."""
    before = configuration(
        make_rule("peers", "allow", source=set_id(1), services=make_service(TCP, 80)),
        make_rule("web", "allow", destination=set_id(2), services=make_service(TCP, 82, 84)),
        _1=("10.9.0.0/24",),
        _2=("10.1.0.0/24",),
    )
    await bench.plane.apply(before)
    assert await bench.plane.end_denied_connections(before) == 0
    connections = {port: await bench.connect(PEER, WORKLOAD, TCP, port) for port in (80, 82, 84)}

    # A rule in front of one of them; a member out of a set; a rule without one of its ports.
    denied = make_rule("no", "deny", services=make_service(TCP, 82))
    steps = [
        (replace(before, rules=(denied, *before.rules)), {82}),
        (replace(before, rules=(denied, *before.rules), sets={**before.sets, set_id(1): ()}), {80}),
        (configuration(denied, _1=(), _2=("10.1.0.0/24",)), {84}),
    ]
    gone: set[int] = set()
    for wanted, ends in steps:
        await bench.plane.apply(wanted)
        assert await bench.plane.end_denied_connections(wanted) == len(ends)
        assert (await bench.plane.read_back()).hash == wanted.hash()
        gone |= ends
        for port, connection in connections.items():
            assert await connection.forth() == (port not in gone)


async def test_connections_that_came_in_while_others_had_opened_the_rules_end(
    bench: KernelBench,
) -> None:
    assert isinstance(bench.plane, NftablesDataPlane)
    wanted = standing()
    await bench.plane.apply(wanted)
    await bench.plane.end_denied_connections(wanted)
    await bench.plane.read_back()
    bench.nft("insert rule inet hanse h_own_4 accept")
    connection = await bench.connect(PEER, WORKLOAD, TCP, 8080)

    assert (await bench.plane.read_back(whole=True)).hash != wanted.hash()
    await bench.plane.apply(wanted)

    assert await bench.plane.end_denied_connections(wanted) == 1
    assert not await connection.forth()
