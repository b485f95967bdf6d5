"""The trail at a syslog receiver: over TLS that is verified, each record at least once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from shared.audit.forward import Forward
from shared.audit.seals import Sealer
from shared.audit.settings import SyslogSettings
from shared.audit.syslog import Origin
from shared.clock import SystemClock
from shared.errors import Unavailable
from shared.metrics.names import Metrics
from shared.store.contract import Store
from shared.store.sql import open_store
from tests.authority import Authority
from tests.fakes.clock import VirtualClock
from tests.fakes.trails import credentials_of, record, write
from tests.syslog_receivers import Receiver, receiving, rsyslog

ORIGIN = Origin("fsm.example", "fsm")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/store.db", clock=SystemClock(), create=True)
    yield opened
    await opened.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority()
    (tmp_path / "roots.pem").write_text(made.pem, "ascii")
    return made


def forward(store: Store, tmp_path: Path, port: int, owner: str = "one") -> Forward:
    settings = SyslogSettings(host="localhost", port=port, roots=tmp_path / "roots.pem")
    return Forward(
        store,
        settings,
        origin=ORIGIN,
        owner=owner,
        clock=SystemClock(),
        metrics=Metrics(),
    )


def ids(receiver: Receiver) -> list[str]:
    return [
        message.decode().split('requestId="')[1].split('"')[0]
        for message in receiver.messages
        if b" RECORD " in message
    ]


async def test_records_and_seals_arrive_in_order_and_once(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    await store.audit([record(number) for number in range(700)])
    await write(store, 700)
    credentials = credentials_of(VirtualClock())
    await Sealer(store, credentials=lambda: credentials, clock=SystemClock()).reconcile()
    async with receiving(authority.issue(tmp_path)) as receiver:
        sender = forward(store, tmp_path, receiver.port)
        assert (await sender.reconcile()).changed == 702
        assert (await sender.reconcile()).changed == 0
        await write(store, 701)
        await sender.reconcile()
        messages = await receiver.until(703)
        assert ids(receiver) == [f"request-{number}" for number in range(702)]
        assert len(receiver.data) == 1, "one connection serves for all"
        assert sum(b" SEAL " in each for each in messages) == 1
        await sender.close()


async def test_what_a_receiver_has_not_taken_is_sent_again(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    async with receiving(authority.issue(tmp_path)) as receiver:
        receiver.patience = 40_000
        await store.audit([record(number, reason="x" * 3000) for number in range(400)])
        sender = forward(store, tmp_path, receiver.port)
        # It hangs up in the midst: perhaps while that is sent, perhaps when all has gone out.
        wanted = {f"request-{number}" for number in range(400)}
        while set(ids(receiver)) != wanted:
            with suppress(Unavailable):
                await sender.reconcile()
            await receiver.silence()
        assert len(receiver.data) > 1
        await sender.close()


async def test_what_was_sent_just_before_a_stop_is_sent_again_after_it(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    async with receiving(authority.issue(tmp_path)) as receiver:
        await store.audit([record(1)])
        one = forward(store, tmp_path, receiver.port)
        await one.reconcile()
        await one.reconcile()
        await store.audit([record(2)])
        await one.reconcile()
        await one.close()
        two = forward(store, tmp_path, receiver.port)
        await two.reconcile()
        await receiver.until(3)
        assert ids(receiver) == ["request-1", "request-2", "request-2"]
        await two.close()


async def test_one_process_sends_and_another_takes_over(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    async with receiving(authority.issue(tmp_path)) as receiver:
        one, two = (forward(store, tmp_path, receiver.port, owner) for owner in ("one", "two"))
        await store.audit([record(1)])
        assert (await one.reconcile()).changed == 1
        await store.audit([record(2)])
        assert (await two.reconcile()).changed == 0
        assert (await one.reconcile()).changed == 1
        await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("wrong", ["another authority", "another name", "expired"])
async def test_a_receiver_that_cannot_prove_itself_is_told_nothing(
    store: Store, tmp_path: Path, authority: Authority, wrong: str
) -> None:
    signer = Authority() if wrong == "another authority" else authority
    files = signer.issue(
        tmp_path,
        names=("other.example",) if wrong == "another name" else ("localhost",),
        is_expired=wrong == "expired",
    )
    await store.audit([record(1)])
    async with receiving(files) as receiver:
        with pytest.raises(Unavailable) as caught:
            await forward(store, tmp_path, receiver.port).reconcile()
        assert caught.value.code == "syslog_unreachable"
        assert receiver.messages == []


async def test_rsyslog_reads_what_is_sent(
    store: Store, tmp_path: Path, authority: Authority
) -> None:
    hostile = 'kim"] <34>1 - evil\n\\ ] x="y'
    await store.audit([record(1), record(2, identity=hostile, reason="ü\r\n<1>1 z")])
    with rsyslog(authority.issue(tmp_path), tmp_path / "roots.pem", tmp_path) as (port, out):
        sender = forward(store, tmp_path, port)
        await sender.reconcile()
        await sender.close()
        # Told to stop, it writes what it has taken.
    first, second = out.read_text("utf-8").splitlines()
    assert first.startswith('hanse|RECORD|110|[hanse@32473 number="1"')
    assert 'identity="user:kim-1"' in first
    assert first.endswith("user:kim-1 get Network/web-1 ok")
    assert 'identity="kim\\"\\] <34>1 - evil\\\\u000a\\\\ \\] x=\\"y"' in second
    assert second.startswith('hanse|RECORD|110|[hanse@32473 number="2"')
