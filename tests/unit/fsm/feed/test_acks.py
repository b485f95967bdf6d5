from datetime import timedelta

import pytest

from fsm.feed.acks import HEARD, Heard, Refused, SiteVoices, read_heard, refused_after
from fsm.feed.reports import Acknowledgement
from shared.errors import Unavailable
from shared.feed.wire import Position
from shared.ids import COMMON, FEDERATION, Key
from tests.fakes.clock import VirtualClock
from tests.fakes.store import EPOCH, MemoryStore

KEY = Key("SecurityPolicy", COMMON, FEDERATION, "p")


def said(revision: int, *refused: str, complete: bool = False) -> Acknowledgement:
    return Acknowledgement.model_validate(
        {
            "position": Position("life-1", revision, "d", "v").to_json(),
            "outcome": "nack" if refused else "ack",
            "refused": [{"key": KEY._asdict(), "code": code} for code in refused],
            "complete": complete,
        }
    )


def heard(*refused: Refused) -> Heard:
    return Heard(EPOCH, Position("life-1", 5, "d", "v"), refused)


REFUSED = Refused(KEY, "invalid", 5)


@pytest.mark.parametrize(
    ("before", "now", "changed", "after"),
    [
        pytest.param(None, said(5, "invalid"), 5, (REFUSED,), id="refused"),
        pytest.param(heard(REFUSED), said(6), 5, (REFUSED,), id="another object was taken"),
        pytest.param(heard(REFUSED), said(6), 6, (), id="a later version was taken"),
        pytest.param(heard(REFUSED), said(6), 7, (REFUSED,), id="a later version is on its way"),
        pytest.param(heard(REFUSED), said(6), None, (), id="it is gone"),
        pytest.param(heard(REFUSED), said(6, complete=True), 5, (), id="all was said anew"),
        pytest.param(
            heard(REFUSED),
            said(6, "unsupported_field"),
            6,
            (Refused(KEY, "unsupported_field", 6),),
            id="refused again for another reason",
        ),
    ],
)
def test_a_refusal_stands_until_the_object_was_taken(
    before: Heard | None, now: Acknowledgement, changed: int | None, after: tuple[Refused, ...]
) -> None:
    assert refused_after(before, now, revision_of=lambda _: changed) == after


async def test_many_acknowledgements_are_one_write_and_a_refusal_is_written_at_once() -> None:
    store, clock = MemoryStore(), VirtualClock()
    voices = SiteVoices(store, clock=clock)
    for site in ("sfo", "fra"):
        for revision in range(5):
            await voices.acknowledge(
                site, said(revision), incarnation="life-1", revision_of=lambda _: 1
            )
    assert HEARD not in store.kept
    assert await voices.flush() == 2
    assert await voices.flush() == 0

    await voices.acknowledge("sfo", said(6, "invalid"), incarnation="life-1", revision_of=len)
    async with store.snapshot() as snapshot:
        found = await read_heard(snapshot)
    assert found["sfo"].refusal_of(KEY) == "invalid"
    assert found["fra"].position.revision == 4


async def test_what_could_not_be_written_is_written_later() -> None:
    class Out(MemoryStore):
        out = True

        async def transact(self, *arguments: object, **options: object) -> object:
            if self.out:
                raise Unavailable("the database is out")
            return await super().transact(*arguments, **options)

    store = Out()
    voices = SiteVoices(store, clock=VirtualClock())
    await voices.acknowledge("sfo", said(1), incarnation="life-1", revision_of=lambda _: 1)
    with pytest.raises(Unavailable):
        await voices.flush()
    store.out = False
    assert await voices.flush() == 1


async def test_a_new_process_goes_on_with_what_was_said_to_the_old_one() -> None:
    store, clock = MemoryStore(), VirtualClock()
    old = SiteVoices(store, clock=clock)
    await old.acknowledge("sfo", said(5, "invalid"), incarnation="life-1", revision_of=len)
    new = SiteVoices(store, clock=clock)
    await new.acknowledge("sfo", said(6), incarnation="life-1", revision_of=lambda _: 5)
    await new.flush()
    async with store.snapshot() as snapshot:
        assert (await read_heard(snapshot))["sfo"].refused == (REFUSED,)


def test_connected_means_a_word_within_twenty_seconds_and_no_farewell() -> None:
    assert heard().is_connected(EPOCH + timedelta(seconds=20))
    assert not heard().is_connected(EPOCH + timedelta(seconds=21))
    gone = Heard(EPOCH, heard().position, is_open=False)
    assert not gone.is_connected(EPOCH)
