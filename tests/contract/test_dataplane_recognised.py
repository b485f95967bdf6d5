"""A table that is read back just as it was written is recognised, and only such a one."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from dsn.dataplane.nftables import NftablesDataPlane
from dsn.dataplane.standing import Standing
from shared.policy.nodeconfig import NodeConfiguration, NodeRule
from tests.contract.dataplanes import KernelBench, kernel_bench
from tests.contract.test_dataplane_incremental import LAYOUT, TABLES, standing

pytestmark = pytest.mark.kernel


@pytest.fixture
async def bench() -> AsyncIterator[KernelBench]:
    async with kernel_bench(LAYOUT) as made:
        yield made


def plane_of(bench: KernelBench) -> NftablesDataPlane:
    assert isinstance(bench.plane, NftablesDataPlane)
    return bench.plane


async def read(bench: KernelBench, *, expecting: bool) -> tuple[Standing, bool]:
    """Return what stands, read with or without what was written, and whether it was that."""
    plane = plane_of(bench)
    kernel = plane._kernel
    recognised: list[bool] = []

    def work() -> Standing | None:
        _, reader = kernel._open()
        was = reader._recognise

        def noted(*arguments: Any) -> Standing:
            recognised.append(True)
            return was(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "_recognise", noted)
            return reader.whole(kernel._expected if expecting else None)

    found = await plane._do(work)
    assert found is not None
    return found, bool(recognised)


def bare(found: Standing) -> Standing:
    """Return it without where its rules come from, which no kernel knows."""

    def enforced(rules: tuple[NodeRule, ...]) -> tuple[NodeRule, ...]:
        return tuple(replace(rule, tenant="", policy="", rule="", origin="") for rule in rules)

    return replace(found, rules={tier: enforced(rules) for tier, rules in found.rules.items()})


@TABLES
async def test_what_is_recognised_is_what_is_worked_out(
    bench: KernelBench, wanted: NodeConfiguration
) -> None:
    await bench.plane.apply(wanted)
    recognised, was = await read(bench, expecting=True)
    worked_out, _ = await read(bench, expecting=False)
    assert was
    assert bare(recognised) == worked_out
    assert recognised.answer.hash == wanted.hash()


def delete_a_rule(bench: KernelBench) -> None:
    listed = bench.nft("-a", "list", "chain", "inet", "hanse", "h_local_6").splitlines()
    handle = next(line for line in listed if "# handle" in line and "h_r_" in line).split()[-1]
    bench.nft("delete", "rule", "inet", "hanse", "h_local_6", "handle", handle)


def command(text: str) -> Callable[[KernelBench], None]:
    def run(bench: KernelBench) -> None:
        bench.nft(text)

    return run


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(delete_a_rule, id="rule gone"),
        pytest.param(command("insert rule inet hanse h_own_4 accept"), id="rule more"),
        pytest.param(command("insert rule inet hanse h_local_4 counter"), id="rule of nobody's"),
        pytest.param(command("add quota inet hanse other 1 mbytes"), id="foreign object"),
        pytest.param(command("add chain inet hanse other"), id="chain more"),
        pytest.param(command("add chain inet hanse h_input { policy drop; }"), id="another policy"),
        pytest.param(
            command("add set inet hanse other { type ipv4_addr; flags interval; }"), id="set more"
        ),
        pytest.param(
            command("add map inet hanse other { type ipv4_addr : verdict; }"), id="map more"
        ),
        pytest.param(
            command("add element inet hanse h_own_addresses_4 { 198.51.100.7 }"), id="member more"
        ),
        pytest.param(command("flush set inet hanse h_discovery"), id="types gone"),
        pytest.param(command("add table inet hanse { flags dormant; }"), id="asleep"),
    ],
)
async def test_a_table_that_somebody_has_touched_is_not(
    bench: KernelBench, tamper: Callable[[KernelBench], None]
) -> None:
    wanted = standing()
    await bench.plane.apply(wanted)
    tamper(bench)
    found, was = await read(bench, expecting=True)
    assert not was
    assert found.answer.faults or found.answer.hash != wanted.hash()
    told = await bench.plane.read_back()
    assert told.hash != wanted.hash()
