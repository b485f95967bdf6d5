"""Who may join, who has joined, and whose certificates count no longer."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.backoff import Backoff
from shared.enrolment.register import (
    CERTIFICATES,
    HASHES,
    GivenToken,
    add_token,
    forget_expired,
    live_certificates,
    record_certificate,
    revoke_live,
    revoke_unknown,
    spend_token,
)
from shared.enrolment.revocations import LEGACY, Revocations, revoked_in
from shared.errors import Conflict, Invalid, Unauthenticated
from shared.ids import FEDERATION as AT_FSM
from shared.ids import SITE
from shared.pki.certificates import Certificate, serial_of
from shared.pki.jointoken import JoinKind, JoinToken
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import Federation
from tests.fakes.store import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = "spiffe://s1.hanse.example/node/n1"

FEDERATION = Federation(clock=VirtualClock())
ISSUER = FEDERATION.site("s1")


def chain() -> tuple[Certificate, ...]:
    return FEDERATION.node(ISSUER, "n1").chain


def token(name: str = "n1", site: str = "s1") -> JoinToken:
    return JoinToken.create(JoinKind.NODE, site=site, name=name, root=FEDERATION.roots[0])


async def give(store: MemoryStore, given: JoinToken, *, replace: bool = False) -> GivenToken:
    async def work(transaction: Any) -> GivenToken:
        return await add_token(
            transaction, given, identity=IDENTITY, scope=SITE, now=NOW, replace=replace
        )

    result: GivenToken = (await store.transact(work)).result
    return result


async def spend(store: MemoryStore, text: str, *, at: datetime = NOW, site: str = "s1") -> bool:
    async def work(transaction: Any) -> bool:
        _, replaces = await spend_token(
            transaction, text, kind=JoinKind.NODE, site=site, scope=SITE, now=at
        )
        return replaces

    result: bool = (await store.transact(work)).result
    return result


async def join(store: MemoryStore) -> str:
    async def work(transaction: Any) -> str:
        issued = await record_certificate(transaction, chain(), identity=IDENTITY)
        return issued.serial

    serial: str = (await store.transact(work)).result
    return serial


async def test_a_token_is_spent_once() -> None:
    store = MemoryStore()
    given = token()
    expires_at = (NOW + timedelta(hours=1)).isoformat()
    assert await give(store, given) == GivenToken(str(given), expires_at)
    assert await spend(store, str(given)) is False
    with pytest.raises(Unauthenticated) as caught:
        await spend(store, str(given))
    assert caught.value.code == "join_token_refused"
    assert store.kept[HASHES] == {}


@pytest.mark.parametrize(
    ("at", "site"),
    [
        pytest.param(NOW + timedelta(hours=1), "s1", id="late"),
        pytest.param(NOW, "s2", id="at another site"),
    ],
)
async def test_a_late_or_foreign_token_is_refused_and_stays_unspent(
    at: datetime, site: str
) -> None:
    store = MemoryStore()
    given = token()
    await give(store, given)
    with pytest.raises(Unauthenticated):
        await spend(store, str(given), at=at, site=site)
    assert await spend(store, str(given)) is False


async def test_what_was_never_given_out_or_is_no_token_is_refused() -> None:
    store = MemoryStore()
    with pytest.raises(Unauthenticated):
        await spend(store, str(token()))
    with pytest.raises(Invalid):
        await spend(store, "hello")


async def test_nobody_who_may_see_a_token_sees_its_hash() -> None:
    store = MemoryStore()
    given = token()
    await give(store, given)
    (stored,) = store.objects.values()
    assert given.hash not in str(stored)


async def test_a_newer_token_for_the_same_joiner_takes_the_place_of_the_older() -> None:
    store = MemoryStore()
    older, newer, other = token(), token(), token("n2")
    for each in (older, other, newer):
        await give(store, each)
    with pytest.raises(Unauthenticated):
        await spend(store, str(older))
    await spend(store, str(newer))
    await spend(store, str(other))


async def test_who_has_a_live_certificate_is_replaced_only_on_demand() -> None:
    store = MemoryStore()
    await join(store)
    with pytest.raises(Conflict) as caught:
        await give(store, token())
    assert caught.value.code == "certificate_exists"
    given = token()
    await give(store, given, replace=True)
    assert await spend(store, str(given)) is True


async def test_a_revoked_certificate_is_live_no_longer() -> None:
    store = MemoryStore()
    serial = await join(store)
    revocations = Revocations()

    async def work(transaction: Any) -> None:
        await revoke_live(transaction, IDENTITY, scope=SITE, now=NOW, reason="lost")

    await store.transact(work)
    async with store.snapshot() as snapshot:
        await revocations.read(snapshot)
        assert await live_certificates(snapshot, IDENTITY, now=NOW) == []
    assert revocations(serial)
    assert not revocations("00")


async def test_certificates_of_who_is_known_no_longer_are_revoked_once() -> None:
    store = MemoryStore()
    await join(store)
    for count in (1, 0):
        done = await store.transact(lambda t: revoke_unknown(t, is_known=lambda _: False, now=NOW))
        assert done.result == count
    assert [key.kind for key in store.objects] == ["Revocation"]


async def test_what_has_expired_is_forgotten_and_nothing_else() -> None:
    store = MemoryStore()
    await give(store, token("n2"))
    await join(store)
    done = await store.transact(
        lambda t: forget_expired(t, now=NOW + timedelta(minutes=59), scope=SITE)
    )
    assert done.result == 0
    done = await store.transact(
        lambda t: forget_expired(t, now=NOW + timedelta(hours=1), scope=SITE)
    )
    assert (done.result, store.objects, store.kept[HASHES]) == (1, {}, {})
    done = await store.transact(
        lambda t: forget_expired(t, now=NOW + timedelta(days=2), scope=SITE)
    )
    assert (done.result, store.kept[CERTIFICATES]) == (1, {})


async def test_a_revocation_is_dropped_when_its_certificate_has_expired_and_only_where_it_was_made() -> (
    None
):
    store = MemoryStore()
    serial = await join(store)

    async def work(transaction: Any) -> None:
        await revoke_live(transaction, IDENTITY, scope=AT_FSM, now=NOW, reason="stolen")

    await store.transact(work)
    (stored,) = store.objects.values()
    assert (stored.key.name, stored.spec["reason"]) == (serial, "stolen")
    later = NOW + timedelta(days=1)
    await store.transact(lambda t: forget_expired(t, now=later, scope=SITE))
    assert [key.name for key in store.objects] == [serial], "an inherited one goes as it came"
    await store.transact(lambda t: forget_expired(t, now=later, scope=AT_FSM))
    assert not store.objects


async def test_regression_what_an_earlier_release_revoked_stays_revoked() -> None:
    store = MemoryStore()
    serial = await join(store)
    store.kept[LEGACY] = {serial: dict(store.kept[CERTIFICATES][serial])}
    revocations = Revocations()
    for _ in range(2):
        async with store.snapshot() as snapshot:
            await revocations.read(snapshot)
            assert await live_certificates(snapshot, IDENTITY, now=NOW) == []
        assert revocations(serial)
        await store.transact(lambda t: forget_expired(t, now=NOW, scope=SITE))
    assert store.kept[LEGACY] == {}
    async with store.snapshot() as snapshot:
        assert set(await revoked_in(snapshot)) == {serial}


async def test_a_certificate_remembers_its_issuer_and_for_whom_it_was_made() -> None:
    store, made = MemoryStore(), chain()

    async def work(transaction: Any) -> None:
        await record_certificate(transaction, made, identity=IDENTITY, owner="uid-1")

    await store.transact(work)
    async with store.snapshot() as snapshot:
        (found,) = await live_certificates(snapshot, IDENTITY, now=NOW)
    assert (found.issuer, found.owner) == (serial_of(made[1]), "uid-1")
    assert found.not_before == made[0].not_valid_before_utc


async def test_another_processs_revocation_counts_as_soon_as_the_store_tells_of_it() -> None:
    store, clock = MemoryStore(), VirtualClock()
    serial = await join(store)
    revocations, told = Revocations(), []
    changed = asyncio.Event()
    revocations.on_change += [lambda: told.append(revocations(serial)), changed.set]
    backoff = Backoff(first=1.0, longest=1.0, source=random.Random(1))
    async with Group() as group:
        group.start(revocations.follow(store, clock=clock, backoff=backoff), name="follow")

        async def work(transaction: Any) -> None:
            await revoke_live(transaction, IDENTITY, scope=SITE, now=NOW, reason="stolen")

        await store.transact(work)
        await changed.wait()
        assert revocations(serial)
        changed.clear()
        later = NOW + timedelta(days=1)
        await store.transact(lambda t: forget_expired(t, now=later, scope=SITE))
        await changed.wait()
    assert told == [True, False], "each change is told once, and no time had to pass"
