"""What only a kernel can show: what is left alone, what drifts, what is answered."""

import asyncio
import itertools
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.contract import ENDED, INVALID, NoDataPlane, Refused
from dsn.dataplane.nftables import LOG_GROUP, NftablesDataPlane
from dsn.dataplane.ruleset import Layout, Link
from shared.policy.nodeconfig import NodeConfiguration
from tests.contract.dataplanes import (
    PEER,
    PEER6,
    WORKLOAD,
    WORKLOAD6,
    KernelBench,
    configuration,
    in_namespace,
    kernel_bench,
    make_rule,
    make_service,
    ping,
    set_id,
)
from tests.contract.everything import everything
from tests.contract.frames import ACK, TCP, UDP, make_packet

pytestmark = pytest.mark.kernel

HTTP = make_rule("http", "allow", services=make_service(TCP, 80), log=True)


@pytest.fixture
async def bench() -> AsyncIterator[KernelBench]:
    async with kernel_bench() as made:
        yield made


def standing() -> NodeConfiguration:
    return configuration(
        HTTP,
        make_rule("in", "reject", "default", source=set_id(1), within=set_id(1)),
        _1=("10.1.0.0/24", "10.64.0.0/16", "fd01::/64"),
    )


async def test_a_batch_that_the_kernel_refuses_leaves_the_old_rules(bench: KernelBench) -> None:
    await bench.plane.apply(standing())
    before = bench.nft("-n", "list", "table", "inet", "hanse")
    table, chain = nl.text(1, "hanse"), "h_local_4"

    with pytest.raises(Refused) as refusal:
        # The first half would do; the chain is still jumped to.
        await bench.commit(
            [
                nl.Message(nl.DELETE_RULE, 0, table + nl.text(2, chain)),
                nl.Message(nl.DELETE_CHAIN, 0, table + nl.text(3, chain)),
            ]
        )

    assert refusal.value.detail
    assert bench.nft("-n", "list", "table", "inet", "hanse") == before


def refuse_first(plane: NftablesDataPlane, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Let the kernel refuse the next batches, as one of another version may."""
    kernel, left = plane._kernel, itertools.count(times, -1)
    commit = kernel._commit

    def refuse(messages: list[nl.Message], generation: int | None = None) -> None:
        if next(left) > 0:
            # A chain that is no base chain can't be asked for a hook's policy.
            wrong = nl.text(1, "hanse") + nl.text(3, "h_local_4") + nl.number(5, 7)
            messages = [*messages, nl.Message(nl.NEW_CHAIN, nl.CREATE, wrong)]
        commit(messages, generation)

    monkeypatch.setattr(kernel, "_commit", refuse)


async def test_what_netlink_refuses_is_written_by_nft_and_read_back(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(bench.plane, NftablesDataPlane)
    await bench.plane.apply(standing())
    for wanted in (configuration(HTTP), everything(), standing()):
        refuse_first(bench.plane, monkeypatch, times=2)
        await bench.plane.apply(wanted)

        found = await bench.plane.read_back()
        assert (found.hash, found.faults) == (wanted.hash(), ())


async def test_an_nft_that_does_not_finish_leaves_the_last_good_one(
    bench: KernelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.plane.apply(standing())
    slow = NftablesDataPlane(namespace=bench.names.node, timeout=0)
    refuse_first(slow, monkeypatch)

    with pytest.raises(Refused, match="took longer"):
        await slow.apply(configuration(make_rule("other", "deny", log=True)))
    await slow.close()

    assert (await bench.plane.read_back()).hash == standing().hash()


async def test_a_change_that_does_not_fit_is_made_by_replacing_the_table(
    bench: KernelBench,
) -> None:
    await bench.plane.apply(standing())
    # A set that somebody else's chain uses can't be deleted.
    bench.nft("add chain inet hanse other")
    bench.nft(f"add rule inet hanse other ip saddr @h_{set_id(1)}_4 accept")

    await bench.plane.apply(configuration(HTTP))

    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (configuration(HTTP).hash(), ())


@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param("add rule inet hanse h_local_4 accept", id="a rule more"),
        pytest.param("insert rule inet hanse h_own_4 accept", id="a rule in front"),
        pytest.param("flush chain inet hanse h_local_6", id="one family's rules gone"),
        pytest.param("flush chain inet hanse h_forward", id="nothing is judged any more"),
        pytest.param("flush chain inet hanse h_reject", id="nothing is rejected any more"),
        pytest.param("delete table inet hanse", id="all gone"),
        pytest.param("add element inet hanse h_own_addresses_4 { 10.9.0.0/24 }", id="own address"),
        pytest.param(f"add element inet hanse h_{set_id(1)}_4 {{ 10.65.0.0/16 }}", id="a member"),
        pytest.param(
            f"delete element inet hanse h_{set_id(1)}_6 {{ fd01::/64 }}", id="a member less"
        ),
        pytest.param("add set inet hanse other { type ipv4_addr; }", id="a set more"),
        pytest.param("add chain inet hanse other", id="a chain more"),
        pytest.param("add table inet hanse { flags dormant; }", id="dormant"),
        pytest.param(
            "add chain inet hanse other { type filter hook forward priority -1; policy drop; }",
            id="a hook more",
        ),
        pytest.param("add chain inet hanse h_forward { policy drop; }", id="another policy"),
        pytest.param("add map inet hanse other { type ipv4_addr : verdict; }", id="a map"),
        pytest.param(
            "replace rule inet hanse h_local_4 handle H tcp dport 81 counter accept", id="changed"
        ),
    ],
)
async def test_what_is_changed_by_hand_is_seen_and_repaired(
    bench: KernelBench, by_hand: str
) -> None:
    await bench.plane.apply(standing())
    if " H " in by_hand:
        listed = bench.nft("-a", "list", "chain", "inet", "hanse", "h_local_4")
        handle = next(line for line in listed.splitlines() if "dport" in line).rpartition(" ")[2]
        by_hand = by_hand.replace(" H ", f" {handle} ")

    bench.nft(by_hand)
    found = await bench.plane.read_back()
    assert found.hash != standing().hash()
    await bench.plane.apply(standing())

    found = await bench.plane.read_back()
    assert (found.hash, found.faults) == (standing().hash(), ())


async def test_counts_are_no_drift(bench: KernelBench) -> None:
    await bench.plane.apply(standing())
    await bench.verdicts([make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)])

    assert (await bench.plane.read_back()).hash == standing().hash()


async def test_what_others_have_in_the_kernel_is_left_alone(bench: KernelBench) -> None:
    bench.nft("add table inet other; add chain inet other c { type filter hook input priority 0; }")
    bench.nft("add rule inet other c tcp dport 22 counter accept; add table ip hanse")

    def others() -> str:
        return bench.nft("list table inet other") + bench.nft("list table ip hanse")

    before = others()

    await bench.plane.apply(standing())
    await bench.plane.apply(configuration())
    assert others() == before
    await bench.plane.clear()

    assert others() == before
    assert "inet hanse" not in bench.nft("list", "tables")


async def test_one_changed_member_touches_no_rule(bench: KernelBench) -> None:
    await bench.plane.apply(standing())
    rules = bench.nft("-a", "list", "table", "inet", "hanse").splitlines()
    handles = [line for line in rules if "handle" in line and "set h_" not in line]

    moved = replace(standing(), sets={set_id(1): ("10.1.0.0/24", "10.64.0.7/32", "fd01::/64")})
    await bench.plane.apply(moved)

    after = bench.nft("-a", "list", "table", "inet", "hanse").splitlines()
    assert [line for line in after if "handle" in line and "set h_" not in line] == handles
    assert (await bench.plane.read_back()).hash == moved.hash()


async def test_the_hosts_own_traffic_is_not_touched(bench: KernelBench) -> None:
    await bench.plane.apply(configuration())

    # The node itself, at an address that is no workload's, speaks with the peers.
    bench.run("ip", "addr", "add", "10.30.0.1/32", "dev", "lo")
    node = bench.names.node
    assert await asyncio.to_thread(ping, node, "10.30.0.1", PEER) == "answered"
    assert await asyncio.to_thread(ping, node, "10.30.0.1", WORKLOAD) == "silent"


async def test_an_own_address_of_the_hosts_is_judged_in_and_out(bench: KernelBench) -> None:
    own = configuration(
        make_rule("ping-out", "allow", source=set_id(1), services=make_service(1)),
        addresses=("10.30.0.1/32",),
        _1=("10.30.0.1/32",),
    )
    bench.run("ip", "addr", "add", "10.30.0.1/32", "dev", "lo")
    bench.run("ip", "addr", "add", "10.30.0.2/32", "dev", "lo")
    await bench.plane.apply(own)

    node = bench.names.node
    assert await asyncio.to_thread(ping, node, "10.30.0.1", PEER) == "answered"
    # To itself, too: judged once, where it goes out.
    assert await asyncio.to_thread(ping, node, "10.30.0.1", "10.30.0.2") == "answered"
    assert (await bench.plane.counters())[own.rules[0].id].packets == 2
    assert await asyncio.to_thread(ping, node, "10.30.0.2", "10.30.0.1") == "silent"


async def test_the_link_to_the_sdsp_is_free_even_from_an_own_address() -> None:
    layout = Layout(LOG_GROUP, (Link(4, PEER, 8443), Link(6, PEER6, 8443)))
    async with kernel_bench(layout) as bench:
        await bench.plane.apply(configuration(addresses=("10.30.0.1/32",)))
        assert (await bench.plane.read_back()).faults == ()
        bench.run("ip", "addr", "add", "10.30.0.1/32", "dev", "lo")
        with (
            in_namespace(bench.names.peers, socket.socket) as server,
            in_namespace(bench.names.node, socket.socket) as agent,
            in_namespace(bench.names.node, socket.socket) as other,
        ):
            server.bind((PEER, 8443))
            server.listen()
            for each in (agent, other):
                each.setblocking(False)
                each.bind(("10.30.0.1", 0))
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                await loop.sock_connect(agent, (PEER, 8443))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await loop.sock_connect(other, (PEER, 8444))


async def test_neighbours_are_found_whatever_the_rules_say(bench: KernelBench) -> None:
    """Only port 53 is allowed, and its datagram arrives: so both ends found each other by ND."""
    rule = make_rule("dns", "allow", services=make_service(UDP, 53))
    await bench.plane.apply(configuration(rule, addresses=("::/0",)))
    far = ("ip", "-n", bench.names.workloads, "addr", "add", "fd77::2/64", "dev", "node", "nodad")
    await asyncio.to_thread(subprocess.run, far, check=True)
    bench.run("ip", "addr", "add", "fd77::1/64", "dev", "workloads", "nodad")

    def datagrams() -> socket.socket:
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

    with (
        in_namespace(bench.names.workloads, datagrams) as server,
        in_namespace(bench.names.node, datagrams) as client,
    ):
        server.bind(("fd77::2", 53))
        client.bind(("fd77::1", 0))
        client.sendto(b"?", ("fd77::2", 53))
        server.settimeout(5)
        assert await asyncio.to_thread(server.recv, 10) == b"?"
    assert await asyncio.to_thread(ping, bench.names.node, "fd77::1", "fd77::2") == "silent"


async def test_a_refused_ping_is_answered_with_why(bench: KernelBench) -> None:
    await bench.plane.apply(configuration(make_rule("no", "reject")))
    for peer, workload in ((PEER, WORKLOAD), (PEER6, WORKLOAD6)):
        assert await asyncio.to_thread(ping, bench.names.peers, peer, workload) == "prohibited"


async def test_an_answer_leaves_the_host_that_rejects_for_itself(bench: KernelBench) -> None:
    bench.run("ip", "addr", "add", "10.30.0.1/32", "dev", "lo")
    await bench.plane.apply(configuration(make_rule("no", "reject"), addresses=("10.30.0.1/32",)))

    with in_namespace(bench.names.peers, socket.socket) as client:
        client.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_connect(client, ("10.30.0.1", 80))
    assert await asyncio.to_thread(ping, bench.names.peers, PEER, "10.30.0.1") == "prohibited"


async def test_an_icmp_error_about_an_allowed_connection_passes(bench: KernelBench) -> None:
    """Nobody listens: the workload's own "port unreachable" comes back to the peer."""
    rule = make_rule("dns", "allow", destination=set_id(1), services=make_service(UDP, 53))
    await bench.plane.apply(configuration(rule, _1=("10.1.0.0/24",)))

    with in_namespace(
        bench.names.peers, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as client:
        client.setblocking(False)
        client.connect((WORKLOAD, 53))
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_recv(client, 100)


async def test_a_fragmented_datagram_is_judged_by_its_ports(bench: KernelBench) -> None:
    rule = make_rule("dns", "allow", services=make_service(UDP, 53))
    await bench.plane.apply(configuration(rule))
    for port, passes in ((53, True), (54, False)):
        with (
            in_namespace(bench.names.workloads, _datagrams) as server,
            in_namespace(bench.names.peers, _datagrams) as client,
        ):
            server.bind((WORKLOAD, port))
            client.sendto(b"x" * 5000, (WORKLOAD, port))
            if passes:
                server.settimeout(5)
                assert len(server.recv(6000)) == 5000
            else:
                server.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    server.recv(6000)


async def test_a_connection_older_than_the_tracking_lives_on_if_it_is_allowed(
    bench: KernelBench,
) -> None:
    connection = await bench.connect(PEER, WORKLOAD, TCP, 80)
    assert await connection.back()

    wanted = standing()
    await bench.plane.apply(wanted)
    await bench.plane.end_denied_connections(wanted)

    assert await connection.forth()
    assert await connection.back()


async def test_a_packet_that_can_begin_nothing_is_counted_and_dropped(bench: KernelBench) -> None:
    await bench.plane.apply(configuration(make_rule("all", "allow")))

    # FIN and SYN together: no state of TCP has them.
    packet = make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 1024)
    assert await asyncio.to_thread(bench.inject, [packet], flags=0x03) == ["deny"]

    assert (await bench.plane.counters())[INVALID].packets == 1


async def test_a_transfer_that_belongs_to_a_session_ends_with_it_only(bench: KernelBench) -> None:
    """An FTP server's data connection is allowed by no rule but by its session."""
    ftp = make_rule("ftp", "allow", destination=set_id(1), services=make_service(TCP, 21))
    await bench.plane.apply(configuration(ftp, _1=("10.1.0.0/24",)))
    bench.nft(
        'table inet helper { ct helper h_ftp { type "ftp" protocol tcp; };'
        " chain pre { type filter hook prerouting priority 0;"
        ' tcp dport 21 ct helper set "h_ftp"; }; }'
    )
    session = await bench.connect(PEER, WORKLOAD, TCP, 21)
    loop = asyncio.get_running_loop()
    # The session announces a port; tracking reads it and expects the transfer.
    await loop.sock_sendall(session.server, b"220 hello\r\n")
    await loop.sock_recv(session.client, 100)
    await loop.sock_sendall(session.client, b"PASV\r\n")
    await loop.sock_recv(session.server, 100)
    await loop.sock_sendall(session.server, b"227 Entering Passive Mode (10,1,0,1,200,10)\r\n")
    await loop.sock_recv(session.client, 100)
    transfer = await bench.connect(PEER, WORKLOAD, TCP, 200 * 256 + 10)

    wanted = configuration(ftp, make_rule("more", "deny", "default"), _1=("10.1.0.0/24",))
    await bench.plane.apply(wanted)
    assert await bench.plane.end_denied_connections(wanted) == 0
    assert await transfer.forth()
    denied = configuration()
    await bench.plane.apply(denied)

    assert await bench.plane.end_denied_connections(denied) == 2
    assert not await transfer.forth()
    assert not await session.forth()


async def test_a_thousand_ended_connections_are_not_revived(bench: KernelBench) -> None:
    await bench.plane.apply(configuration(make_rule("all", "allow")))
    packets = [make_packet("10.70.0.1", "10.1.0.77", TCP, 80, 2000 + n) for n in range(1000)]
    assert set(await bench.verdicts(packets)) == {"allow"}
    back = [
        make_packet("10.1.0.77", "10.70.0.1", TCP, packet.source_port, 80) for packet in packets
    ]

    out = configuration(make_rule("out", "allow", source=set_id(1)), _1=("10.1.0.0/24",))
    await bench.plane.apply(out)
    assert await bench.plane.end_denied_connections(out) == 1000

    await asyncio.to_thread(bench.inject, back, flags=ACK)
    assert (await bench.plane.counters())[ENDED].packets == 1000
    assert (await bench.plane.counters())[out.rules[0].id].packets == 0


async def test_without_a_namespace_to_enter_there_is_no_data_plane() -> None:
    plane = NftablesDataPlane(namespace="hanse-none")
    with pytest.raises(NoDataPlane):
        await plane.read_back()
    with pytest.raises(NoDataPlane):
        await plane.apply(configuration())
    await plane.close()


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
