"""Balancers in a kernel: what drifts, what a restarted agent finds, what changes only elements."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dsn.dataplane.contract import Refused
from dsn.dataplane.nftables import NftablesDataPlane
from tests.contract.balancing_benches import balancer, balancing
from tests.contract.dataplanes import KernelBench, kernel_bench
from tests.contract.test_dataplane_kernel import refuse_first, standing

pytestmark = pytest.mark.kernel


@pytest.fixture
async def bench() -> AsyncIterator[KernelBench]:
    async with kernel_bench() as made:
        yield made


@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param("delete table inet hanse_balance", id="all gone"),
        pytest.param("flush chain inet hanse_balance h_prerouting", id="nobody is led"),
        pytest.param("flush chain inet hanse_balance h_balance_4", id="no balancer"),
        pytest.param("add rule inet hanse_balance h_balance_4 accept", id="a rule more"),
        pytest.param("flush map inet hanse_balance {map}", id="no backend"),
        pytest.param("add element inet hanse_balance h_own_4 {{ 10.9.0.0/24 }}", id="own address"),
        pytest.param("add chain inet hanse_balance mine", id="a chain more"),
        pytest.param("flush chain inet hanse_balance h_reject", id="nobody is refused"),
    ],
)
async def test_balancers_that_somebody_changed_are_drift_and_repaired(
    bench: KernelBench, by_hand: str
) -> None:
    wanted = balancing(balancer("10.9.0.2", "10.9.0.3"), balancer(port=81))
    await bench.plane.apply(wanted)
    assert (await bench.plane.read_back()).hash == wanted.hash()
    full = next(each for each in wanted.balancers or () if each.backends)

    bench.nft(by_hand.format(map=f"h_b{full.id}"))
    found = await bench.plane.read_back()
    assert found.hash != wanted.hash()

    await bench.plane.apply(wanted)
    found = await bench.plane.read_back(whole=True)
    assert (found.hash, found.faults) == (wanted.hash(), ())


async def test_an_agent_that_starts_finds_its_balancers_and_changes_elements_only(
    bench: KernelBench,
) -> None:
    shop = balancer("10.9.0.2", "10.9.0.3", "10.9.0.4")
    await bench.plane.apply(balancing(shop))
    again = NftablesDataPlane(namespace=bench.names.node)
    try:
        assert (await again.read_back()).hash == balancing(shop).hash()
        await again.apply(balancing(shop))
        before = bench.nft("-a", "list", "table", "inet", "hanse_balance")

        fewer = balancing(replace(shop, backends=shop.backends[1:]))
        await again.apply(fewer)

        found = await again.read_back()
        assert (found.hash, found.faults) == (fewer.hash(), ())
        assert (await again.read_back(whole=True)).hash == fewer.hash()
        after = bench.nft("-a", "list", "table", "inet", "hanse_balance")
        handles = [set(re.findall("# handle ([0-9]+)", each)) for each in (before, after)]
        assert handles[0] == handles[1], "no rule, chain or set was made anew"
        assert before != after
    finally:
        await again.close()


async def test_a_table_that_only_nft_could_write_takes_no_balancers(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(bench.plane, NftablesDataPlane)
    await bench.plane.apply(standing())
    refuse_first(bench.plane, monkeypatch, times=2)

    with pytest.raises(Refused):
        await bench.plane.apply(balancing(balancer("10.9.0.2")))

    assert (await bench.plane.read_back(whole=True)).hash == standing().hash()


async def test_what_is_cleared_leads_nobody(bench: KernelBench) -> None:
    await bench.plane.apply(balancing(balancer("10.9.0.2")))
    await bench.plane.clear()
    assert "hanse" not in bench.nft("list", "tables")
