import orjson

from shared.feed.serve import TOO_SLOW, Outbox, serve_lines
from shared.tasks.group import Group
from shared.tasks.streams import only_lines
from tests.fakes.clock import VirtualClock


def test_a_watcher_that_doesn_t_keep_up_is_cut_off() -> None:
    outbox = Outbox(most_bytes=100, most_lines=10)
    assert outbox.offer(b"x" * 60 + b"\n")
    assert not outbox.offer(b"y" * 60 + b"\n")
    assert not outbox.offer(b"z\n"), "nothing comes after a gap"
    assert outbox.take() == [b'{"end":"too_slow"}\n']
    assert TOO_SLOW == "too_slow"


def test_lines_are_bounded_in_number_too() -> None:
    outbox = Outbox(most_bytes=1000, most_lines=2)
    assert outbox.offer(b"1\n")
    assert outbox.offer(b"2\n")
    assert not outbox.offer(b"3\n")


def test_an_empty_outbox_takes_a_line_of_any_size() -> None:
    outbox = Outbox(most_bytes=10)
    assert outbox.offer(b"x" * 1000)


def test_a_closed_outbox_gives_what_it_holds_and_a_last_word() -> None:
    outbox = Outbox()
    outbox.offer(b"1\n")
    outbox.close("view_changed")
    outbox.close("too_slow")
    assert outbox.take() == [b'1\n{"end":"view_changed"}\n']


async def test_a_stream_greets_and_says_something_at_least_every_so_often() -> None:
    clock, outbox = VirtualClock(), Outbox()
    lines = only_lines(serve_lines(outbox, bookmark=lambda: b"bookmark\n", clock=clock, period=5.0))
    assert orjson.loads(await anext(lines)) == {"protocol": 1}

    outbox.offer(b"1\n")
    outbox.offer(b"2\n")
    assert await anext(lines) == b"1\n2\n"

    async def later() -> bytes:
        return await anext(lines)

    async with Group() as group:
        waiting = group.start(later(), name="reader")
        await clock.sleepers()
        clock.advance(5.0)
        assert await waiting == b"bookmark\n"

    outbox.close("stopping")
    assert [line async for line in lines] == [b'{"end":"stopping"}\n']
