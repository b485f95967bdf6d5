"""The follower's half of a feed: list once, then stream, resume by position, never guess.

What arrives is applied in order, each line once.  A line that was doubled is passed over; one that
is missing shows as a gap, and the stream is opened anew at the copy's position.  A position that
the server can't resume (410) means to list again: a snapshot is fetched whole, pinned to one
revision, before the copy sees any of it.

Where the copy is kept, and what it can't take, is the Copy's business; how bytes travel is the
Transport's, which shared.http.peer.PeerClient is.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

from shared.errors import Gone, HanseError, Invalid, Malformed, Unavailable, Unreachable
from shared.failpoints import pause
from shared.feed.connect import Connector, Link
from shared.feed.wire import (
    PROTOCOL,
    Bookmark,
    Changes,
    End,
    FeedObject,
    Hello,
    Position,
    Refusal,
    Snapshot,
    Tombstone,
    key_to_json,
    parse_frame,
    parse_page,
)
from shared.ids import Key
from shared.tasks.group import Group

log = logging.getLogger(__name__)

FEED: Final = "/feed/v1"

GONE: Final = frozenset({"history_diverged", "view_changed", "revision_compacted"})
"""The ends of a stream, and the refusals to open one, that mean: list again."""

# More objects than any federation has; it bounds what a broken server can make us hold.
_MOST_OBJECTS: Final = 5_000_000
# How often a snapshot may be overtaken by compaction before we wait a while.
_LISTINGS: Final = 3


class Answer(Protocol):
    def json(self) -> Any: ...


class Transport(Protocol):
    """One peer at one of several endpoints; as shared.http.peer.PeerClient.

    Raises the error that the peer's problem document stands for, Unreachable without an answer.
    """

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Answer: ...

    async def put(self, path: str, body: Any) -> Answer: ...

    async def post(self, path: str, body: Any) -> Answer: ...

    def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Open a stream of JSON lines."""


class Copy(Protocol):
    """The follower's copy.  Each call is one transaction that also keeps the new position.

    A call that raises a HanseError has changed nothing, and will be made again.
    """

    async def position(self) -> Position | None:
        """Return where the copy stands; None before the first snapshot."""

    async def replace(self, snapshot: Snapshot) -> Sequence[Refusal]:
        """Take a whole snapshot; return the objects that the copy couldn't take.

        What the snapshot neither has nor buries is for the copy to hold.
        """

    async def apply(self, changes: Changes) -> Sequence[Refusal]:
        """Take one line of changes, whole; return the objects that the copy couldn't take."""

    async def advance(self, position: Position) -> None:
        """Note that nothing else happened up to `position`."""


class Follower:
    """Keeps a Copy equal to what its server selects for it."""

    def __init__(
        self,
        *,
        transport: Transport,
        copy: Copy,
        connector: Connector,
        subscription: Mapping[str, Any] | None = None,
        path: str = FEED,
        on_bookmark: Callable[[Bookmark], Awaitable[None]] | None = None,
    ) -> None:
        """`subscription` is the spec that is sent before anything is asked for, if given.

        `on_bookmark` is told of each bookmark of where the copy stands; what it raises ends the
        session.
        """
        self._on_bookmark = on_bookmark
        self._transport = transport
        self._copy = copy
        self._connector = connector
        self._subscription = subscription
        self._path = path
        self._acknowledgements = _Acknowledgements(transport, f"{path}/acknowledgements")
        self._list_again = False
        self.is_current = False
        """Whether the copy has been at the server's latest since this follower began."""

    @property
    def link(self) -> Link:
        return self._connector.link

    async def run(self) -> NoReturn:
        """Follow until cancelled, through any number of connections."""
        await self._connector.run(self._session)

    def ended(self, why: str) -> None:
        """Note that run() was cancelled, on purpose."""
        self._connector.ended(why)

    async def _session(self) -> None:
        async with Group() as group:
            group.start(self._acknowledgements.run(), name="acknowledgements")
            if self._subscription is not None:
                await self._transport.put(f"{self._path}/subscription", self._subscription)
                self._connector.heard(in_order=False)
            position = await self._copy.position()
            if position is None or self._list_again:
                position = await self._list(position)
            while True:
                try:
                    await self._stream(position)
                except Gone as exc:
                    if self._list_again:
                        # The snapshot before hasn't helped: wait, so as not to hurry the server.
                        raise
                    log.info("list again", extra={"code": exc.code})
                    self._list_again = True
                    position = await self._list(await self._copy.position())
                else:
                    return

    async def _list(self, since: Position | None) -> Position:
        """Fetch a snapshot and put it in the copy's place."""
        for attempt in range(1, _LISTINGS + 1):
            try:
                snapshot = await self._fetch(since)
                break
            except Gone:
                if attempt == _LISTINGS:
                    raise
        refused = await self._copy.replace(snapshot)
        self._acknowledgements.replaced(snapshot.position, refused)
        self.is_current = True
        return snapshot.position

    async def _fetch(self, since: Position | None) -> Snapshot:
        params: dict[str, str] = {}
        if since is not None:
            params["since_incarnation"] = since.incarnation
            params["since_revision"] = str(since.revision)
        position: Position | None = None
        objects: list[FeedObject] = []
        tombstones: list[Tombstone] = []
        while True:
            answer = await self._transport.get(f"{self._path}/snapshot", params=params)
            page = parse_page(answer.json())
            self._connector.heard(in_order=False)
            if position is not None and page.position != position:
                raise Gone("the snapshot changed between its pages", code="history_diverged")
            position = page.position
            objects += page.objects
            tombstones += page.tombstones
            if page.next is None:
                return Snapshot(position, tuple(objects), tuple(tombstones))
            if page.next == params.get("page") or len(objects) > _MOST_OBJECTS:
                raise Malformed("the snapshot has no end")
            params |= {"page": page.next, "revision": str(position.revision)}

    async def _stream(self, position: Position) -> None:
        """Apply what comes until the stream ends; Gone if it can't be resumed, or any more."""
        async with self._transport.stream(
            "GET", f"{self._path}/changes", params=position.to_params()
        ) as lines:
            greeted = False
            async for line in lines:
                _raise_error(line)
                frame = parse_frame(line)
                match frame:
                    case Hello():
                        _check_protocol(frame)
                        greeted = True
                        self._acknowledgements.reached(position)
                    case _ if not greeted:
                        raise Malformed("the feed doesn't open with its protocol version")
                    case End(reason) if reason in GONE:
                        raise Gone("the server ended the stream", code=reason)
                    case End():
                        return
                    case Changes() | Bookmark():
                        position = await self._take(frame, position)
                        if isinstance(frame, Bookmark) and self._on_bookmark is not None:
                            await self._on_bookmark(frame)
                        self._list_again = False
                        self.is_current = self.is_current or isinstance(frame, Bookmark)
                self._connector.heard()

    async def _take(self, frame: Changes | Bookmark, position: Position) -> Position:
        new = frame.position
        if (new.incarnation, new.view) != (position.incarnation, position.view):
            raise Gone("the stream went over to another history", code="history_diverged")
        if new.revision <= position.revision:  # doubled, or a bookmark where nothing happened
            if isinstance(frame, Bookmark):
                self._acknowledgements.reached(position)
            return position
        if frame.after != position.revision:
            raise Unreachable(
                f"the feed lost something between {position.revision} and {frame.after}", code="gap"
            )
        if isinstance(frame, Bookmark):
            await self._copy.advance(new)
            self._acknowledgements.reached(new)
        else:
            refused = await self._copy.apply(frame)
            self._acknowledgements.applied(frame, refused)
        return new


@dataclass(slots=True)
class _Pending:
    position: Position
    refused: dict[Key, Refusal] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)
    complete: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "position": self.position.to_json(),
            "outcome": "nack" if self.refused else "ack",
            "complete": self.complete,
            "refused": [
                {"key": key_to_json(each.key), "code": each.code} for each in self.refused.values()
            ],
        }


class _Acknowledgements:
    """Tells the server how far the copy is, the latest word only, and no refusal is lost.

    Also the follower's own sign of life: each bookmark is answered, so that the server sees the
    connection work in both directions.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._pending: _Pending | None = None
        self._wanted = asyncio.Event()

    def reached(self, position: Position) -> None:
        if self._pending is None:
            self._pending = _Pending(position)
        self._pending.position = position
        self._wanted.set()

    def applied(self, changes: Changes, refused: Sequence[Refusal]) -> None:
        self.reached(changes.position)
        assert self._pending is not None
        for change in changes.changes:
            self._pending.refused.pop(change.key, None)
            self._pending.touched.add(change.key)
        self._pending.refused |= {each.key: each for each in refused}

    def replaced(self, position: Position, refused: Sequence[Refusal]) -> None:
        """Note a snapshot: `refused` is now all that the copy couldn't take."""
        self._pending = _Pending(position, {each.key: each for each in refused}, complete=True)
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            sent, self._pending = self._pending, None
            if sent is not None:
                await self._send(sent)

    async def _send(self, sent: _Pending) -> None:
        delivered = False
        try:
            await pause("feed.acknowledge.before")
            await self._transport.post(self._path, sent.to_json())
            await pause("feed.acknowledge.after")
            delivered = True
        except Unavailable:
            raise
        except HanseError as exc:
            # Sending it again would be refused again; the copy itself is as it should be.
            log.warning("acknowledgement refused", extra={"code": exc.code, "reason": exc.message})
            delivered = True
        finally:
            if not delivered:
                self._restore(sent)

    def _restore(self, sent: _Pending) -> None:
        """Put back what wasn't delivered, beneath what has come since."""
        newer = self._pending
        if newer is None:
            self._pending = sent
        elif not newer.complete:
            still = {key: each for key, each in sent.refused.items() if key not in newer.touched}
            newer.refused = still | newer.refused
            newer.touched |= sent.touched
            newer.complete = sent.complete
        self._wanted.set()


def _check_protocol(hello: Hello) -> None:
    if hello.protocol != PROTOCOL:
        raise Invalid(
            f"the server speaks version {hello.protocol} of the feed, we speak {PROTOCOL}; "
            "upgrade the older of the two",
            code="unsupported_protocol",
        )


def _raise_error(line: Any) -> None:
    """Raise what a stream's last line tells of: an error that came up after it had begun."""
    if isinstance(line, dict) and line.get("type") == "error":
        code, message = str(line.get("code")), str(line.get("title"))
        raise (
            Gone(message, code=code)
            if line.get("status") == 410
            else Unavailable(message, code=code)
        )
