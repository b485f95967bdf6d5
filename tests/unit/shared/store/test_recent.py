"""What is kept in memory of the store, and who looks when."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from shared.errors import Unavailable
from shared.ids import Generation, Incarnation, Key, Revision
from shared.store import recent as module
from shared.store.contract import Stored
from shared.store.recent import UNKNOWN, Changed, Mark, Recent

AT = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Key("Network", "common", "federation", "web")
OTHER = WEB._replace(name="other")


def mark(revision: int, status: int = 0, incarnation: str = "one") -> Mark:
    return Mark(Incarnation(incarnation), Revision(revision), f"digest-{revision}", status)


def stored(revision: int, key: Key = WEB, text: str = "") -> Stored:
    spec = {"text": text} if text else {}
    return Stored(
        key, "uid", spec, {}, {}, None, Revision(revision), Generation(1), AT, AT, status={}
    )


class Counter:
    """A store's counter, whose looks take as long as the test likes."""

    def __init__(self) -> None:
        self.now = mark(1)
        self.changed: Iterable[Key] | None = ()
        self.looks = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def look(self, _since: Mark | None) -> Changed:
        self.looks += 1
        found = self.now, self.changed
        await self.gate.wait()
        return found


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
async def recent(counter: Counter) -> Recent:
    recent = Recent(counter.look)
    await recent.refresh()
    return recent


async def test_it_keeps_what_was_read_at_its_own_mark_only(recent: Recent) -> None:
    assert recent.get(WEB) is UNKNOWN
    recent.keep(WEB, stored(1), mark(1))
    recent.keep(OTHER, None, mark(1))
    recent.keep(OTHER._replace(name="late"), None, mark(2))
    assert recent.get(WEB) == stored(1)
    assert recent.get(OTHER) is None
    assert recent.get(OTHER._replace(name="late")) is UNKNOWN


async def test_own_commits_move_it_on(recent: Recent) -> None:
    recent.keep(OTHER, stored(1, OTHER), mark(1))
    recent.advance(mark(1), mark(2), {WEB: stored(2)}, {})
    assert recent.mark == mark(2)
    assert recent.get(WEB) == stored(2)
    recent.advance(mark(2), mark(2, status=1), {}, {OTHER: (1, {"seen": True})})
    assert recent.get(OTHER) is UNKNOWN
    assert recent.get(WEB) == stored(2)


async def test_a_commit_on_top_of_others_leaves_it_where_it_was(recent: Recent) -> None:
    recent.keep(WEB, stored(1), mark(1))
    recent.advance(mark(5), mark(6), {WEB: stored(6)}, {})
    assert recent.mark == mark(1)
    assert recent.get(WEB) == stored(1)


async def test_a_look_drops_what_others_have_changed(recent: Recent, counter: Counter) -> None:
    recent.keep(WEB, stored(1), mark(1))
    recent.keep(OTHER, stored(1, OTHER), mark(1))
    counter.now, counter.changed = mark(4, status=2), [WEB]
    await recent.refresh()
    assert recent.mark == mark(4, status=2)
    assert recent.get(WEB) is UNKNOWN
    assert recent.get(OTHER) == stored(1, OTHER)


@pytest.mark.parametrize(("now", "changed"), [(mark(2000), None), (mark(1, incarnation="two"), ())])
async def test_it_begins_anew_when_too_much_has_changed(
    recent: Recent, counter: Counter, now: Mark, changed: Iterable[Key] | None
) -> None:
    recent.keep(WEB, stored(1), mark(1))
    counter.now, counter.changed = now, changed
    await recent.refresh()
    assert recent.mark == now
    assert recent.get(WEB) is UNKNOWN


async def test_a_look_that_own_commits_have_overtaken_changes_nothing(
    recent: Recent, counter: Counter
) -> None:
    counter.gate.clear()
    looking = asyncio.ensure_future(recent.refresh())
    await asyncio.sleep(0)
    recent.advance(mark(1), mark(2), {WEB: stored(2)}, {})
    counter.gate.set()
    await looking
    assert recent.mark == mark(2)
    assert recent.get(WEB) == stored(2)


async def test_those_who_ask_during_a_look_share_the_next(recent: Recent, counter: Counter) -> None:
    counter.gate.clear()
    first = asyncio.ensure_future(recent.refresh())
    await asyncio.sleep(0)
    later = [asyncio.ensure_future(recent.refresh()) for _ in range(50)]
    await asyncio.sleep(0)
    assert counter.looks == 2
    counter.gate.set()
    await asyncio.gather(first, *later)
    assert counter.looks == 3


async def test_a_failed_look_is_told_to_all_who_shared_it(counter: Counter) -> None:
    async def fail(_since: Mark | None) -> Changed:
        await asyncio.sleep(0)
        raise Unavailable("the disk is out")

    recent = Recent(fail)
    asking = [asyncio.ensure_future(recent.refresh()) for _ in range(5)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 5


async def test_it_keeps_no_more_than_its_bytes(
    recent: Recent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BYTES", 20_000)
    keys = [WEB._replace(name=f"n{number}") for number in range(30)]
    for key in keys:
        recent.keep(key, stored(1, key, text="x" * 1000), mark(1))
        recent.get(keys[0])
    kept = [key for key in keys if recent.get(key) is not UNKNOWN]
    assert kept[0] == keys[0]
    assert kept[1:] == keys[-len(kept) + 1 :]
    assert 8 <= len(kept) <= 12
