"""Follow the site's word on what this node is to enforce.

A session says what the node has and is brought to the newest configuration, by a difference if
the site remembers what the node has, else whole; then each change follows.  What arrives is only
noted here: enforcing takes as long as it takes, and of several versions the newest counts.

A configuration that can't be read is refused and the stream goes on.  A difference that doesn't
fit is nobody's fault to report: the next session asks for the whole.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NoReturn, Protocol

from dsn.enforce.apply import Enforcer
from dsn.enforce.assignment import Assignment, Version
from dsn.upstream.frames import Bookmark, End, Hello, Step, Trust, parse_frame
from dsn.upstream.report import Reporter
from shared.errors import Forbidden, Invalid, Malformed
from shared.feed.connect import Connector, Link
from shared.policy.nodeconfig import NodeConfiguration, from_json
from shared.policy.nodedelta import apply_delta
from shared.tasks.group import Group

log = logging.getLogger(__name__)

# A line that comes twice comes soon after; a guess.
_REMEMBERED: Final = 8

CONFIGURATION: Final = "/node/v1/configuration"


class Streams(Protocol):
    """The site, as shared.http.peer.PeerClient."""

    def stream(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


class ConfigurationFollower:
    """Keeps the enforcer's wish equal to the site's."""

    def __init__(
        self,
        *,
        node: str,
        transport: Streams,
        enforcer: Enforcer,
        reporter: Reporter,
        connector: Connector,
    ) -> None:
        self.on_wanted: Callable[[], None] = lambda: None
        """Called when there is something new to enforce."""
        self.on_trust: Callable[[Trust], None] = lambda _: None
        """Called when the site says whom to believe, before any step that follows."""
        self.on_confirmed: Callable[[Bookmark], None] = lambda _: None
        """Called when the site says that nothing is newer than what it has sent."""
        self._node = node
        self._transport = transport
        self._enforcer = enforcer
        self._reporter = reporter
        self._connector = connector
        # What the site believes that this node has; None after something it couldn't read.
        self._received: Assignment | None = None
        # The last steps of this connection, taken or refused, in the order in which they came.
        self._steps: deque[Version] = deque(maxlen=_REMEMBERED)
        self._whole = False

    @property
    def link(self) -> Link:
        """How the connection to the site stands."""
        return self._connector.link

    async def run(self) -> NoReturn:
        """Follow until cancelled, through any number of connections."""
        await self._connector.run(self._session)

    async def _session(self) -> None:
        enforced = self._enforcer.standing.enforced
        params: dict[str, str] = {}
        self._received = None
        self._steps.clear()
        if enforced is not None and not self._whole:
            self._received = enforced
            params = {
                "incarnation": enforced.version.incarnation,
                "generation": str(enforced.version.generation),
                "hash": enforced.version.hash,
            }
        async with (
            self._transport.stream("GET", CONFIGURATION, params=params) as lines,
            Group() as group,
        ):
            group.start(self._reporter.run(), name="reports")
            await self._read(lines)

    async def _read(self, lines: AsyncIterator[Any]) -> None:
        incarnation: str | None = None
        async for line in lines:
            frame = parse_frame(line)
            if isinstance(frame, Hello | Bookmark) and frame.trust is not None:
                self.on_trust(frame.trust)
            if isinstance(frame, Hello):
                incarnation = frame.incarnation
            elif incarnation is None:
                raise Malformed("the stream doesn't open with its protocol version")
            elif isinstance(frame, End):
                raise Forbidden("the site sends this node no configuration", code=frame.code)
            elif isinstance(frame, Bookmark):
                self._check_bookmark(frame)
                self.on_confirmed(frame)
            else:
                self._take(frame, incarnation)
            self._connector.heard()

    def _take(self, step: Step, incarnation: str) -> None:
        version = Version(incarnation, step.generation, step.hash)
        if version in self._steps:
            return  # it came twice
        self._steps.append(version)
        try:
            assignment = self._read_step(step, version)
        except Invalid as exc:
            # Differences to come are to what couldn't be read: the next one asks for the whole.
            self._received = None
            self._enforcer.refuse(version, exc)
            return
        self._received = assignment
        self._whole = False
        self._enforcer.want(assignment)
        self.on_wanted()

    def _read_step(self, step: Step, version: Version) -> Assignment:
        """Return what a step leads to; Invalid if it is to be refused.

        Malformed ends the session, so that the next one asks for the whole.
        """
        wanted = self._enforcer.wanted
        if wanted is not None and version.is_older_than(wanted.version):
            raise Invalid(
                f"generation {version.generation} is older than what this node has",
                code="older_generation",
            )
        if step.snapshot is not None:
            configuration = from_json(step.snapshot)
        elif step.delta is not None:
            configuration = self._apply(step.delta)
        elif self._received is not None:
            configuration = self._received.configuration
        else:
            raise self._lost("the site says that nothing changed, but this node has nothing")
        if configuration.node != self._node:
            raise Invalid(f"the configuration is for node {configuration.node}", code="wrong_node")
        if configuration.hash() != step.hash:
            if step.snapshot is None:
                raise self._lost("the site's difference leads elsewhere than it says")
            raise Invalid(
                "the configuration is not what its hash says: it was damaged on the way, or the "
                "site is of another version",
                code="hash_mismatch",
            )
        return Assignment(version, configuration)

    def _apply(self, delta: Any) -> NodeConfiguration:
        if self._received is None:
            raise self._lost("the site sends a difference to what this node could not read")
        try:
            return apply_delta(self._received.configuration, delta)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
            raise self._lost("the site's difference does not fit what this node has") from exc

    def _check_bookmark(self, frame: Bookmark) -> None:
        if not self._steps or self._steps[-1].hash != frame.hash:
            raise self._lost("something was lost between the site and this node")

    def _lost(self, message: str) -> Malformed:
        self._whole = True
        return Malformed(message, code="lost_track")
