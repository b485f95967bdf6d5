"""What a follower does with a server that isn't as it should be: each line is scripted."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from shared.backoff import Backoff
from shared.errors import Gone, Unreachable
from shared.feed import wire
from shared.feed.connect import Connector
from shared.feed.follow import Follower
from shared.feed.wire import Changes, Position, Refusal, Removal, Snapshot
from shared.ids import COMMON, FEDERATION, Key
from shared.tasks.group import Group
from tests.fakes.clock import VirtualClock
from tests.fakes.transport import FakeTransport


def at(revision: int, *, incarnation: str = "life-1", view: str = "v") -> Position:
    return Position(incarnation, revision, f"d{revision}", view)


def change(after: int, to: int, *names: str, **place: str) -> bytes:
    puts = [wire.encode_put(document(name, to)) for name in names]
    return wire.encode_changes(after, at(to, **place), puts)


def document(name: str, revision: int) -> bytes:
    metadata = {"name": name, "tenant": COMMON, "scope": FEDERATION, "revision": revision}
    return orjson.dumps({"kind": "Network", "metadata": metadata, "spec": {}})


def page(revision: int, *names: str, following: str | None = None, **place: str) -> bytes:
    documents = [document(name, revision) for name in names]
    return wire.encode_page(at(revision, **place), documents, [], following)


HELLO = wire.encode_hello()


class Script:
    """A server that answers each listing and each stream by the next line of its script."""

    def __init__(self) -> None:
        self.pages: list[bytes | Exception] = []
        self.streams: list[list[bytes] | Exception] = []
        self.resumed: list[int] = []
        self.listed: list[Mapping[str, str]] = []
        self.acknowledged: list[Any] = []
        self.failing_posts = 0

    async def get(self, path: str, params: Mapping[str, str]) -> bytes:
        self.listed.append(dict(params))
        answer = self.pages.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send(self, method: str, path: str, body: Any) -> bytes:
        if self.failing_posts:
            self.failing_posts -= 1
            raise Unreachable("the answer was lost")
        self.acknowledged.append(body)
        return b"{}"

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        self.resumed.append(int(params["revision"]))
        script = self.streams.pop(0) if self.streams else []
        if isinstance(script, Exception):
            raise script

        async def lines() -> AsyncIterator[bytes]:
            for line in script:
                yield line
            await asyncio.Event().wait()

        yield lines()


class Names:
    """A copy that knows names only; `refusing` are those that it can't take."""

    def __init__(self) -> None:
        self.at: Position | None = None
        self.steps: list[object] = []
        self.refusing: set[str] = set()

    async def position(self) -> Position | None:
        return self.at

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        self.at = snapshot.position
        names = [each.key.name for each in snapshot.objects]
        self.steps.append(("list", names))
        return self._refusals(names)

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        self.at = changes.position
        names = [each.key.name for each in changes.changes]
        self.steps.append((changes.position.revision, names))
        return self._refusals(names)

    async def advance(self, position: Position) -> None:
        self.at = position
        self.steps.append(("bookmark", position.revision))

    def _refusals(self, names: list[str]) -> list[Refusal]:
        return [Refusal(key(name), "invalid") for name in names if name in self.refusing]


def key(name: str) -> Key:
    return Key("Network", COMMON, FEDERATION, name)


class Setting:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.script = Script()
        self.copy = Names()
        source = random.Random(1)
        transport = FakeTransport(lambda: self.script, source=source, clock=self.clock)
        connector = Connector(
            peer="the FSM",
            clock=self.clock,
            backoff=Backoff(first=1.0, longest=4.0, source=source),
        )
        self.follower = Follower(transport=transport, copy=self.copy, connector=connector)

    async def run(self, seconds: float = 10.0) -> list[object]:
        """Follow for a while; return the steps that the copy was taken through."""
        async with Group() as group:
            group.start(self.follower.run(), name="follow")
            await self.clock.pass_time(seconds)
        return self.copy.steps


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_it_lists_first_and_then_streams(setting: Setting) -> None:
    setting.script.pages = [page(5, "a", following="1"), page(5, "b")]
    setting.script.streams = [[HELLO, change(5, 6, "c"), wire.encode_bookmark(6, at(9))]]
    assert await setting.run() == [("list", ["a", "b"]), (6, ["c"]), ("bookmark", 9)]
    assert setting.script.listed == [{}, {"page": "1", "revision": "5"}]
    assert setting.script.resumed == [5]


async def test_a_line_that_comes_twice_is_applied_once(setting: Setting) -> None:
    setting.copy.at = at(5)
    line = change(5, 6, "a")
    setting.script.streams = [[HELLO, line, line, change(6, 7, "b"), line]]
    assert await setting.run() == [(6, ["a"]), (7, ["b"])]


async def test_a_lost_line_leads_to_a_new_stream_from_the_copy_s_position(
    setting: Setting,
) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [
        [HELLO, change(5, 6, "a"), change(7, 8, "c")],
        [HELLO, change(6, 7, "b"), change(7, 8, "c")],
    ]
    assert await setting.run() == [(6, ["a"]), (7, ["b"]), (8, ["c"])]
    assert setting.script.resumed == [5, 6]
    assert setting.script.listed == []


@pytest.mark.parametrize("code", ["history_diverged", "view_changed", "revision_compacted"])
async def test_a_position_that_can_t_be_resumed_means_to_list_again(
    setting: Setting, code: str
) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [Gone("no", code=code), [HELLO, change(8, 9, "b")]]
    setting.script.pages = [page(8, "a")]
    assert await setting.run() == [("list", ["a"]), (9, ["b"])]
    assert setting.script.listed == [{"since_incarnation": "life-1", "since_revision": "5"}]


async def test_a_view_that_changes_in_midstream_means_to_list_again(setting: Setting) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [
        [HELLO, change(5, 6, "a"), wire.encode_end("view_changed")],
        [HELLO],
    ]
    setting.script.pages = [page(7, "b", view="w")]
    assert await setting.run() == [(6, ["a"]), ("list", ["b"])]


async def test_an_end_without_cause_means_to_resume(setting: Setting) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [
        [HELLO, wire.encode_end("stopping")],
        [HELLO, wire.encode_end("too_slow")],
        [HELLO, change(5, 6, "a")],
    ]
    assert await setting.run() == [(6, ["a"])]
    assert setting.script.listed == []


async def test_a_stream_of_another_history_is_never_applied(setting: Setting) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [[HELLO, change(5, 6, "a", incarnation="life-2")], [HELLO]]
    setting.script.pages = [page(3, "b", incarnation="life-2")]
    assert await setting.run() == [("list", ["b"])]


async def test_a_snapshot_that_changes_between_its_pages_is_begun_anew(setting: Setting) -> None:
    setting.script.pages = [
        page(5, "a", following="1"),
        page(5, "b", incarnation="life-2"),
        page(6, "c"),
    ]
    setting.script.streams = [[HELLO]]
    assert await setting.run() == [("list", ["c"])]


async def test_a_snapshot_overtaken_by_compaction_is_begun_anew(setting: Setting) -> None:
    compacted = Gone("too old", code="revision_compacted")
    setting.script.pages = [page(5, "a", following="1"), compacted, page(6, "b")]
    setting.script.streams = [[HELLO]]
    assert await setting.run() == [("list", ["b"])]


async def test_a_server_that_never_agrees_is_not_hurried(setting: Setting) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [Gone("no", code="view_changed")] * 100
    setting.script.pages = [page(5)] * 100
    await setting.run(seconds=30)
    assert len(setting.script.listed) < 30


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b'{"protocol": 2}\n', id="a version to come"),
        pytest.param(b'{"protocol": 0}\n', id="a version long gone"),
        pytest.param(change(5, 6, "a"), id="no greeting"),
        pytest.param(b"[]\n", id="no frame"),
    ],
)
async def test_a_stream_in_another_tongue_is_not_applied(setting: Setting, first: bytes) -> None:
    setting.copy.at = at(5)
    setting.script.streams = [[first, change(5, 6, "a")]]
    assert await setting.run(seconds=0.1) == []
    assert setting.follower.link.error in ("unsupported_protocol", "malformed")


async def test_a_snapshot_without_an_end_is_given_up(setting: Setting) -> None:
    setting.script.pages = [page(5, "a", following="1")] * 3
    assert await setting.run(seconds=0.1) == []


async def test_an_error_in_the_stream_is_taken_for_what_it_says(setting: Setting) -> None:
    setting.copy.at = at(5)
    gone = b'{"type":"error","status":410,"code":"revision_compacted","title":"old"}\n'
    out = b'{"type":"error","status":503,"code":"unavailable","title":"out"}\n'
    setting.script.streams = [[HELLO, out], [HELLO, gone], [HELLO]]
    setting.script.pages = [page(8, "a")]
    assert await setting.run() == [("list", ["a"])]
    assert setting.script.resumed == [5, 5, 8]


async def test_every_position_is_acknowledged_and_every_refusal_arrives(setting: Setting) -> None:
    setting.script.pages = [page(5, "good", "bad")]
    setting.script.streams = [[HELLO, change(5, 6, "worse")]]
    setting.copy.refusing = {"bad", "worse"}
    setting.script.failing_posts = 1
    await setting.run()
    said = {
        each["key"]["name"]: each["code"]
        for sent in setting.script.acknowledged
        for each in sent["refused"]
    }
    assert said == {"bad": "invalid", "worse": "invalid"}
    assert setting.script.acknowledged[-1]["position"]["revision"] == 6
    assert {sent["outcome"] for sent in setting.script.acknowledged} == {"nack"}


async def test_a_refusal_that_was_not_delivered_is_dropped_once_it_is_mended(
    setting: Setting,
) -> None:
    setting.copy.at = at(5)
    setting.copy.refusing = {"a"}
    acknowledgements = setting.follower._acknowledgements
    refused = [Refusal(key("a"), "invalid")]
    first = Changes(5, at(6), (wire.Remove(key("a"), Removal.DELETED),))
    acknowledgements.applied(first, refused)
    sent, acknowledgements._pending = acknowledgements._pending, None
    assert sent is not None
    acknowledgements.applied(Changes(6, at(7), first.changes), [])
    acknowledgements._restore(sent)
    assert acknowledgements._pending is not None
    assert acknowledgements._pending.to_json()["outcome"] == "ack"
