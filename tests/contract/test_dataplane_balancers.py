"""What every data plane promises of balancers, asked of the simulated one and of the kernel."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_address

import pytest

from shared.errors import Invalid
from shared.policy.balancers import NodeBalancer
from shared.policy.nodeconfig import NodeConfiguration
from shared.policy.spreading import SLOTS, seed_of, slot_of, slots_of
from tests.contract.balancing_benches import (
    BACKENDS,
    BACKENDS6,
    PORT,
    VIRTUAL,
    VIRTUAL6,
    BalancerBench,
    KernelBalancerBench,
    MemoryBalancerBench,
    balancer,
    balancing,
)
from tests.contract.dataplanes import (
    WORKLOAD,
    configuration,
    kernel_bench,
    make_rule,
    make_service,
    set_id,
)
from tests.contract.frames import TCP, UDP

SHOP = balancer(*BACKENDS)
CLIENTS = tuple(f"10.1.0.{host}" for host in range(1, 10))


@pytest.fixture(params=["memory", pytest.param("nftables", marks=pytest.mark.kernel)])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[BalancerBench]:
    if request.param == "memory":
        yield MemoryBalancerBench()
        return
    async with kernel_bench() as made, AsyncExitStack() as stack:
        serving = KernelBalancerBench(made, stack)
        await serving.serve(*BACKENDS, *BACKENDS6)
        await serving.serve(WORKLOAD)
        yield serving


async def apply(bench: BalancerBench, wanted: NodeConfiguration) -> None:
    await bench.plane.apply(wanted)
    await bench.plane.end_denied_connections(wanted)
    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (wanted.hash(), ())


async def test_what_is_read_back_is_what_was_applied(bench: BalancerBench) -> None:
    six = balancer(*BACKENDS6, address=VIRTUAL6, algorithm="random", target=None)
    many = balancer(*BACKENDS, ports=(8000, 8999), protocol=UDP, target=None)
    for each in (
        balancing(),
        balancing(SHOP),
        balancing(SHOP, six),
        balancing(SHOP, six, many),
        balancing(replace(SHOP, backends=BACKENDS[:1]), six, many),
        balancing(replace(SHOP, backends=()), six, many),
        replace(balancing(SHOP), addresses=("10.1.0.0/25",)),
        balancing(replace(SHOP, algorithm="random")),
        configuration(),
        balancing(SHOP),
    ):
        await bench.plane.apply(each)
        for whole in (False, True):
            found = await bench.plane.read_back(whole=whole)
            assert (found.hash, found.faults) == (each.hash(), ())


async def test_connections_are_spread_over_all_backends(bench: BalancerBench) -> None:
    await apply(bench, balancing(replace(SHOP, algorithm="random")))

    found = Counter([(await bench.ask(WORKLOAD, VIRTUAL, 80)).answered for _ in range(60)])

    assert found.keys() == {(each, PORT) for each in BACKENDS}
    # The chance that fair dice give one of three less than 5 of 60 is below one in a million.
    assert min(found.values()) >= 5


async def test_by_hash_a_client_always_finds_the_same_backend(bench: BalancerBench) -> None:
    await apply(bench, balancing(SHOP))

    for client in CLIENTS:
        found = {(await bench.ask(client, VIRTUAL, 80)).answered for _ in range(3)}
        assert found == {(expected(client), PORT)}


def expected(client: str, backends: tuple[str, ...] = BACKENDS, balancer_id: str = SHOP.id) -> str:
    """Return the backend that a client gets by hash; the kernel and trace must agree on it."""
    source = ip_address(client).packed
    return slots_of("hash", backends)[slot_of(source, seed_of(balancer_id))]


async def test_a_backend_that_goes_moves_only_its_own_clients(bench: BalancerBench) -> None:
    await apply(bench, balancing(SHOP))
    before = {client: (await bench.ask(client, VIRTUAL, 80)).answered for client in CLIENTS}
    gone = expected(CLIENTS[0])

    left = tuple(each for each in BACKENDS if each != gone)
    await apply(bench, balancing(replace(SHOP, backends=left)))

    after = {client: (await bench.ask(client, VIRTUAL, 80)).answered for client in CLIENTS}
    moved = {client for client in CLIENTS if before[client] != after[client]}
    assert moved == {client for client in CLIENTS if before[client][0] == gone}
    assert gone not in {address for address, _ in after.values()}


@pytest.mark.parametrize("protocol", [TCP, UDP])
async def test_connections_to_a_backend_that_goes_end_and_no_others(
    bench: BalancerBench, protocol: int
) -> None:
    shop = balancer(*BACKENDS, protocol=protocol)
    await apply(bench, balancing(shop))
    asking = [await bench.ask(client, VIRTUAL, 80, protocol) for client in CLIENTS]
    assert all([await each.lives() for each in asking])
    gone = asking[0].answered[0]

    left = tuple(each for each in BACKENDS if each != gone)
    await apply(bench, balancing(replace(shop, backends=left)))

    lives = [await each.lives() for each in asking]
    assert lives == [each.answered[0] != gone for each in asking]


async def test_open_connections_stay_where_they_are_when_a_backend_comes(
    bench: BalancerBench,
) -> None:
    await apply(bench, balancing(replace(SHOP, backends=BACKENDS[:1])))
    asking = [await bench.ask(client, VIRTUAL, 80) for client in CLIENTS]

    await apply(bench, balancing(SHOP))

    assert all([await each.lives() for each in asking])


async def test_connections_end_with_their_balancer(bench: BalancerBench) -> None:
    await apply(bench, balancing(SHOP))
    asking = await bench.ask(WORKLOAD, VIRTUAL, 80)

    await apply(bench, configuration(default="allow"))

    assert not await asking.lives()


async def test_without_backends_a_client_is_refused(bench: BalancerBench) -> None:
    await apply(bench, balancing(balancer()))

    with pytest.raises(ConnectionRefusedError):
        await bench.ask(WORKLOAD, VIRTUAL, 80)


async def test_both_families_are_balanced(bench: BalancerBench) -> None:
    six = balancer(*BACKENDS6, address=VIRTUAL6)
    await apply(bench, balancing(six))

    for client in (f"fd01::{host}" for host in range(1, 10)):
        found = (await bench.ask(client, VIRTUAL6, 80)).answered
        assert found == (expected(client, BACKENDS6, six.id), PORT)


async def test_without_a_target_port_it_is_the_one_that_was_asked(bench: BalancerBench) -> None:
    await apply(bench, balancing(balancer(*BACKENDS, ports=(8000, 8100), target=None)))

    assert (await bench.ask(WORKLOAD, VIRTUAL, PORT)).answered[1] == PORT


async def test_rules_judge_the_backend_and_never_the_virtual_address(
    bench: BalancerBench,
) -> None:
    allowed = make_rule("shop", "allow", destination=set_id(1), services=make_service(TCP, PORT))
    judged = configuration(allowed, default="deny", _1=tuple(f"{each}/32" for each in BACKENDS[:1]))
    await apply(bench, replace(judged, balancers=(SHOP,)))

    for client in CLIENTS:
        if expected(client) == BACKENDS[0]:
            assert (await bench.ask(client, VIRTUAL, 80)).answered[0] == BACKENDS[0]
            break
    denied = next(client for client in CLIENTS if expected(client) != BACKENDS[0])
    with pytest.raises(ConnectionError):
        await bench.ask(denied, VIRTUAL, 80)


async def test_a_workload_may_be_its_own_backend(bench: BalancerBench) -> None:
    await apply(bench, balancing(balancer(WORKLOAD)))

    asking = await bench.ask(WORKLOAD, VIRTUAL, 80)

    assert asking.answered == (WORKLOAD, PORT)
    assert await asking.lives()


async def test_balancers_that_are_taken_away_are_drift_and_come_back(bench: BalancerBench) -> None:
    await apply(bench, balancing(SHOP))

    await bench.drift()
    assert (await bench.plane.read_back(whole=True)).hash != balancing(SHOP).hash()

    await apply(bench, balancing(SHOP))
    assert (await bench.ask(WORKLOAD, VIRTUAL, 80)).answered[0] == expected(WORKLOAD)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(replace(SHOP, id="shop"), id="an id"),
        pytest.param(replace(SHOP, address="10.99.0.010"), id="an address"),
        pytest.param(replace(SHOP, protocol=1), id="a protocol without ports"),
        pytest.param(replace(SHOP, ports=(2, 1)), id="a range"),
        pytest.param(replace(SHOP, target=0), id="a target"),
        pytest.param(replace(SHOP, backends=BACKENDS6), id="another family"),
        pytest.param(replace(SHOP, backends=BACKENDS[::-1]), id="an order"),
        pytest.param(replace(SHOP, backends=(VIRTUAL,)), id="itself"),
    ],
)
async def test_what_cannot_be_enforced_exactly_is_refused_whole(
    bench: BalancerBench, wrong: NodeBalancer
) -> None:
    await apply(bench, balancing(SHOP))

    with pytest.raises(Invalid):
        await bench.plane.apply(replace(balancing(SHOP), balancers=(wrong,)))

    assert (await bench.plane.read_back()).hash == balancing(SHOP).hash()


async def test_two_balancers_cannot_share_a_port(bench: BalancerBench) -> None:
    wide = balancer(*BACKENDS, ports=(1, 100), target=None)
    with pytest.raises(Invalid, match="share a port"):
        await bench.plane.apply(balancing(SHOP, wide))


def test_shares_are_alike_and_what_goes_moves_nobody_else() -> None:
    backends = tuple(f"10.2.0.{host}" for host in range(1, 11))
    slots = slots_of("hash", backends)

    shares = Counter(slots)
    assert shares.keys() == set(backends)
    assert max(shares.values()) < 1.5 * SLOTS / len(backends)
    for gone in backends:
        after = slots_of("hash", tuple(each for each in backends if each != gone))
        kept = [(old, new) for old, new in zip(slots, after, strict=True) if old != gone]
        assert all(old == new for old, new in kept)
