"""What a site believes of the FSM's signed word, and what not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sdsp.upstream.confirmed import Confirmations
from shared.auth.statements import sign_statement
from shared.auth.tokens import SigningKey
from shared.errors import Malformed
from shared.feed.signed import KIND, BookmarkSigner, Latest
from shared.feed.wire import Bookmark, Position
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.store.contract import Draft, Store
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock

FSM = "spiffe://hanse.example/fsm"
AT = Position("life-1", 7, "d7", "v")
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATEST = Latest("life-1", 7, "d7", NOON)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(
        f"sqlite:///{tmp_path / 's.sqlite'}", clock=VirtualClock(), create=True
    )
    yield opened
    await opened.close()


async def publish(
    store: Store, key: SigningKey, *, server: str = FSM, scope: str = FEDERATION
) -> None:
    spec = {
        "server": server,
        "use": "token",
        "algorithm": "ES256",
        "publicKey": key.public_pem,
        "notBefore": NOON.isoformat(),
    }
    draft = Draft(key=Key("VerificationKey", COMMON, scope, key.id), spec=spec, origin=scope)

    async def work(transaction):
        await transaction.put(draft)

    await store.transact(work)


async def heard(store: Store, *words: str | None, at: Position = AT) -> Confirmations:
    found = Confirmations(store, server=FSM, clock=VirtualClock())
    await found.load()
    for word in words:
        await found.take(Bookmark(at.revision, at, word))
    return found


def word(key: SigningKey, latest: Latest = LATEST, *, server: str = FSM) -> str:
    said = BookmarkSigner(server, lambda: key).sign(latest)
    assert said is not None
    return said


async def test_the_word_of_a_known_key_counts_and_is_kept(store: Store) -> None:
    key = SigningKey.generate()
    await publish(store, key)
    found = await heard(store, word(key))
    assert found.newest is not None
    assert (found.newest.revision, found.newest.at) == (7, NOON)
    await found.reconcile()
    assert (await heard(store)).newest == found.newest


async def test_no_word_and_that_of_a_key_that_has_not_come_are_passed_over(store: Store) -> None:
    key = SigningKey.generate()
    found = await heard(store, None, word(key), word(key))
    assert found.newest is None
    await publish(store, key)
    await found.take(Bookmark(7, AT, word(key, replace(LATEST, at=NOON + timedelta(seconds=5)))))
    assert found.newest is not None


@pytest.mark.parametrize("case", ["forged", "other server", "other position", "token", "nonsense"])
async def test_what_is_not_the_fsms_word_for_this_position_ends_the_session(
    store: Store, case: str
) -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    await publish(store, key)
    good = word(key)
    words = {
        "forged": ".".join([*good.split(".")[:2], word(other).split(".")[2]]),
        "other server": word(key, server="spiffe://sfo.hanse.example/sdsp"),
        "other position": word(key, replace(LATEST, revision=8)),
        "token": sign_statement(key, "at+jwt", {"iss": FSM}),
        "nonsense": sign_statement(key, KIND, {"iss": FSM, "revision": True}),
    }
    with pytest.raises(Malformed) as refused:
        await heard(store, words[case])
    assert refused.value.code == "bad_signature"


@pytest.mark.parametrize(("server", "scope"), [("spiffe://x.example/fsm", FEDERATION), (FSM, SITE)])
async def test_a_key_of_another_server_or_of_the_sites_own_people_counts_for_nothing(
    store: Store, server: str, scope: str
) -> None:
    key = SigningKey.generate()
    await publish(store, key, server=server, scope=scope)
    assert (await heard(store, word(key))).newest is None


async def test_an_old_word_makes_nothing_younger(store: Store) -> None:
    key = SigningKey.generate()
    await publish(store, key)
    found = await heard(store, word(key))
    before = found.newest
    await found.take(Bookmark(7, AT, word(key, replace(LATEST, at=NOON - timedelta(hours=1)))))
    await found.take(Bookmark(7, AT, word(key)))
    assert found.newest is before


async def test_clocks_that_differ_are_noticed(store: Store) -> None:
    key = SigningKey.generate()
    await publish(store, key)
    clock = VirtualClock()
    now = clock.now()
    for ahead, wanted in (
        (59, None),
        (300, timedelta(seconds=300)),
        (-300, timedelta(seconds=-300)),
    ):
        found = Confirmations(store, server=FSM, clock=clock)
        at = now + timedelta(seconds=ahead)
        await found.take(Bookmark(7, AT, word(key, replace(LATEST, at=at))))
        assert found.newest is not None
        assert found.newest.clocks_differ == wanted
