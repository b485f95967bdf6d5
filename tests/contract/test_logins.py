"""Two processes of one server on one database: what one gives counts at the other, what it ends
doesn't, and keys change without a wrong refusal.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import Unauthenticated
from shared.login.keyring import LEAD, LIFE
from shared.login.session_records import GRACE
from shared.store.contract import Transaction
from tests.fakes.logins import ASKED, Bindings, PassingClock, Process, Town, process, record

Pair = tuple[Process, Process]


@pytest.fixture(params=["one folder", "a folder each"])
async def pair(request, store_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    clock, bindings = PassingClock(), Bindings()
    town = Town({"kim": frozenset({"ops"})})
    bindings.bind("ops", ["viewer"])
    folders = ["keys", "keys"] if request.param == "one folder" else ["keys", "more"]
    opened = [
        await process(store_url, tmp_path / each, clock=clock, people=town, bindings=bindings)
        for each in folders
    ]
    try:
        yield opened[0], opened[1]
    finally:
        for each in opened:
            await each.store.close()


def town_of(pair: Pair) -> Town:
    people = pair[0].sessions._people
    assert isinstance(people, Town)
    return people


async def refused(work) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await work
    return caught.value.code


async def test_who_logs_in_at_one_is_known_at_the_other(pair: Pair) -> None:
    one, other = pair
    given = await one.login("kim")
    callers = [await each.caller(given.access.text) for each in pair]
    assert callers[0] == callers[1]
    renewed = await other.sessions.renew(given.refresh, ASKED)
    assert (await one.caller(renewed.access.text)).session == given.session.id


async def test_who_is_logged_out_at_one_is_out_at_the_other(pair: Pair) -> None:
    one, other = pair
    given = await one.login("kim")
    await other.caller(given.access.text)
    await one.sessions.end_all("user:kim", record(one.clock, "revoke"))
    assert await refused(one.caller(given.access.text)) == "token_revoked"
    await other.keep()
    assert await refused(other.caller(given.access.text)) == "token_revoked"
    assert await refused(other.sessions.renew(given.refresh, ASKED)) == "token_revoked"


async def test_a_process_that_could_not_read_the_news_asks_before_it_lets_in(pair: Pair) -> None:
    """Nobody keeps it up to date here; a minute later nothing that was ended counts all the same."""
    one, other = pair
    given = await one.login("kim")
    token_id = (await other.caller(given.access.text)).credential
    await one.sessions.end_token(token_id, record(one.clock, "revoke"))
    one.clock.advance(55)
    assert await refused(other.caller(given.access.text)) == "token_revoked"


async def test_regression_a_revoked_token_lived_on_in_another_spelling(pair: Pair) -> None:
    """Base64 leaves four bits of a signature open: several texts are one token, and end as one."""
    one, _ = pair
    given = await one.login("kim")
    text = given.access.text
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = letters.index(text[-1])
    spellings = [text[:-1] + letters[last // 16 * 16 + low] for low in range(16)]
    assert text in spellings
    taken = [each for each in spellings if await is_taken(one, each)]
    assert text in taken
    for each in (text, *taken):
        await one.callers(each)
    await one.sessions.end_token(given.access.id, record(one.clock, "revoke"))
    assert not [each for each in spellings if await is_taken(one, each)]


async def is_taken(at: Process, token: str) -> bool:
    try:
        # What is remembered, without the recheck that each request has besides.
        await at.callers(token)
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize("step", [19, 31])
async def test_keys_change_without_a_wrong_refusal(pair: Pair, step: int) -> None:
    one, other = pair
    clock = one.clock
    tokens, keys = [], set()
    for moment in range(0, 2400, step):
        if moment // step in (3, 20):
            await one.ring.rotate(record(clock, "rotate"), at_once=False)
        for each in pair:
            tokens += [(await each.login("kim")).access]
        tokens = [each for each in tokens if clock.now() < each.expires_at]
        for each in pair:
            for token in tokens[-40:] + tokens[:5]:
                await each.caller(token.text)
        clock.advance(step)
        for each in pair:
            await each.keep()
            keys |= set(each.ring.keys)
    # Those that sign no longer, and whose tokens have expired, are forgotten.
    assert len(keys) > len(one.ring.keys)
    live = {path.stem for each in pair for path in each.ring._folder.path.glob("*.pem")}
    assert live == set(one.ring.keys) == set(other.ring.keys)


async def test_a_new_key_is_known_before_it_signs(pair: Pair) -> None:
    one, other = pair
    clock = one.clock
    await one.ring.rotate(record(clock, "rotate"), at_once=False)
    (await one.login("kim"), await other.login("kim"))
    fresh = [each for each in one.ring.keys.values() if each.signs_at > clock.now()]
    assert fresh
    assert all(each.signs_at == clock.now() + LEAD for each in fresh)
    await other.ring.refresh()
    assert set(other.ring.keys) >= {each.public.id for each in fresh}


async def test_keys_that_were_stolen_count_nowhere(pair: Pair) -> None:
    one, other = pair
    before = [await each.login("kim") for each in pair]
    await one.ring.rotate(record(one.clock, "rotate"), at_once=True)
    await one.callers.read()
    await other.keep()
    for each in pair:
        for given in before:
            code = await refused(each.caller(given.access.text))
            assert code in ("invalid_token", "token_revoked")
    for number, given in enumerate(before):
        renewed = await pair[1 - number].sessions.renew(given.refresh, ASKED)
        for each in pair:
            await each.caller(renewed.access.text)


async def test_a_key_is_changed_after_a_month_without_being_asked(pair: Pair) -> None:
    one, _ = pair
    (first, *_) = one.ring.keys
    one.clock.advance(LIFE.total_seconds() + 1)
    for _ in range(3):
        for each in pair:
            await each.keep()
        one.clock.advance(LEAD.total_seconds() + 121)
    for each in pair:
        await each.keep()
    assert first not in one.ring.keys


async def test_of_one_refresh_token_used_at_once_one_answer_counts(pair: Pair) -> None:
    """As when an answer was lost: all who ask get one, the last one given goes on."""
    given = await pair[0].login("kim")
    answers = await asyncio.gather(
        *(pair[n % 2].sessions.renew(given.refresh, ASKED) for n in range(6))
    )
    session = await pair[0].sessions.find(given.session.id)
    assert session is not None
    latest = [each for each in answers if each.session.latest == session.latest]
    assert len(latest) == 1
    await pair[0].sessions.renew(latest[0].refresh, ASKED)
    loser = next(each for each in answers if each is not latest[0])
    assert await refused(pair[1].sessions.renew(loser.refresh, ASKED)) == "token_reused"


async def test_a_refresh_token_used_again_ends_the_login_everywhere(pair: Pair) -> None:
    one, other = pair
    given = await one.login("kim")
    renewed = await one.sessions.renew(given.refresh, ASKED)
    await other.caller(renewed.access.text)
    one.clock.advance(GRACE.total_seconds() + 1)
    assert await refused(other.sessions.renew(given.refresh, ASKED)) == "token_reused"
    assert await refused(other.caller(renewed.access.text)) == "token_revoked"
    await one.keep()
    assert await refused(one.caller(renewed.access.text)) == "token_revoked"
    assert await refused(one.sessions.renew(renewed.refresh, ASKED)) == "token_revoked"


async def test_what_the_directory_says_is_taken_over_at_renewal(pair: Pair) -> None:
    one, other = pair
    town = town_of(pair)
    given = await one.login("kim")
    assert (await other.caller(given.access.text)).roles == ("viewer",)
    town.is_reachable = False
    renewed = await one.sessions.renew(given.refresh, ASKED)
    assert (await other.caller(renewed.access.text)).roles == ("viewer",)
    town.is_reachable, town.groups["kim"] = True, frozenset()
    renewed = await one.sessions.renew(renewed.refresh, ASKED)
    assert (await one.caller(given.access.text)).roles == ()
    await other.keep()
    assert (await other.caller(given.access.text)).roles == ()
    del town.groups["kim"]
    assert await refused(one.sessions.renew(renewed.refresh, ASKED)) == "token_revoked"
    await other.keep()
    assert await refused(other.caller(renewed.access.text)) == "token_revoked"


async def test_nothing_is_kept_of_what_has_expired(pair: Pair) -> None:
    one, other = pair
    for number in range(5):
        given = await pair[number % 2].login("kim")
        token_id = (await one.caller(given.access.text)).credential
        await one.sessions.end_token(token_id, record(one.clock, "revoke"))
        if number % 2:
            await other.sessions.end(given.session, record(one.clock, "revoke"))
    town_of(pair).refresh = timedelta(hours=1)
    one.clock.advance(13 * 3600)
    for each in pair:
        await each.keep()
    async with one.store.snapshot() as snapshot:
        for space in ("sessions", "endedlogins", "programtokens"):
            assert not await snapshot.records(space), space


async def test_a_login_is_not_brought_back_by_another_store(pair: Pair) -> None:
    """A restored store is another incarnation; the records of logins in it are the old one's."""
    one, other = pair
    given = await one.login("kim")
    written = given.session.to_record() | {"store": "another life"}

    async def unit(transaction: Transaction) -> None:
        await transaction.put_record("sessions", given.session.id, written)

    await one.store.transact(unit)
    assert await refused(other.caller(given.access.text)) == "token_revoked"
    assert await refused(other.sessions.renew(given.refresh, ASKED)) == "token_revoked"
