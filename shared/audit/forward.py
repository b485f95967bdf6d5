"""Send the trail to a syslog receiver: each record and seal at least once, in order.

Where it stands is kept in the store.  Syslog knows no acknowledgement, so it moves on when the
receiver's end has taken what was sent and the connection is still there at the next pass; what
went to one that breaks before is sent again.  One process at a time sends; another takes over when
it has been silent for a while.
"""

import asyncio
import contextlib
import fcntl
import logging
import ssl
import struct
import termios
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.audit.seals import Seal
from shared.audit.settings import SyslogSettings
from shared.audit.syslog import Origin, frame, message_of, message_of_seal
from shared.clock import Clock
from shared.errors import Invalid, Unavailable
from shared.metrics.names import AUDIT_FORWARDED, Metrics
from shared.store.chain import row_of
from shared.store.contract import Link, SealText, Store, Transaction
from shared.tasks.loop import Outcome

log = logging.getLogger(__name__)

SPACE: Final = "audit.syslog"
PERIOD: Final = 1.0
_LEASE: Final = timedelta(seconds=30)
_AT_ONCE: Final = 500
_PATIENCE: Final = 30.0
"""Seconds within which a receiver must take what it is sent."""
_LOOK: Final = 0.02


@dataclass(frozen=True, slots=True)
class _Place:
    """How far the receiver has been told."""

    number: int
    sequence: int


class Forward:
    """A reconciler: sends what the receiver doesn't have yet."""

    name = "forward the audit trail"

    def __init__(
        self,
        store: Store,
        settings: SyslogSettings,
        *,
        origin: Origin,
        owner: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`owner` names this process among all that use the store."""
        self._store = store
        self._settings = settings
        self._origin = origin
        self._owner = owner
        self._clock = clock
        self._tls = _context(settings)
        self._forwarded = metrics.counter(AUDIT_FORWARDED)
        self._sent: _Place | None = None
        self._key = f"{settings.host}:{settings.port}"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def reconcile(self) -> Outcome:
        """Send all that is new; Unavailable (`syslog_unreachable`)."""
        kept = await self._claim()
        if kept is None:
            await self.close()
            return Outcome()
        if self._is_broken():
            await self.close()
        elif self._sent is not None and self._sent != kept:
            await self._keep(self._sent)
        place = self._sent or kept
        count = 0
        while True:
            links, seals = await self._news(place)
            if not links and not seals:
                return Outcome(changed=count)
            messages = [each for each in map(self._message, links) if each]
            messages += [self._message_of_seal(each) for each in seals]
            await self._send(b"".join(frame(each) for each in messages))
            last = max(links[-1].number, links[-1].last or 0) if links else place.number
            place = _Place(last, seals[-1].sequence if seals else place.sequence)
            self._sent = place
            count += len(messages)
            self._forwarded.inc(len(messages))

    async def close(self) -> None:
        """Leave the receiver."""
        writer, self._writer, self._sent = self._writer, None, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()

    async def _news(self, place: _Place) -> tuple[list[Link], list[SealText]]:
        async with self._store.ledger.view() as view:
            links = [*await view.links(place.number, _AT_ONCE)]
            seals = [*await view.seals(place.sequence, _AT_ONCE)]
        return links, seals

    def _message(self, each: Link) -> bytes | None:
        try:
            return message_of(row_of(each.line or b""), each.hash, self._origin)
        except ValueError:
            # Verifying the trail tells of it.
            return None

    def _message_of_seal(self, each: SealText) -> bytes:
        try:
            at = Seal.parse(each).at
        except ValueError:
            at = self._clock.now()
        return message_of_seal(each, at, self._origin)

    async def _send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                writer = self._writer or await self._connect()
                writer.write(data)
                await writer.drain()
                await self._taken(writer)
        except (OSError, TimeoutError, ssl.SSLError) as exc:
            await self.close()
            raise Unavailable(
                f"the syslog receiver {self._key} can't be reached: "
                f"{' '.join(str(exc).split()) or 'it takes nothing'}; records wait for it",
                code="syslog_unreachable",
            ) from exc

    async def _connect(self) -> asyncio.StreamWriter:
        self._reader, writer = await asyncio.open_connection(
            self._settings.host,
            self._settings.port,
            ssl=self._tls,
            server_hostname=self._settings.host,
        )
        self._writer = writer
        return writer

    def _is_broken(self) -> bool:
        reader, writer = self._reader, self._writer
        if reader is None or writer is None:
            return False
        return reader.at_eof() or reader.exception() is not None or writer.transport.is_closing()

    async def _taken(self, writer: asyncio.StreamWriter) -> None:
        """Wait until the other end's kernel has everything."""
        transport = writer.transport
        sock = transport.get_extra_info("socket")
        while True:
            if transport.is_closing():
                raise ConnectionError("it has closed the connection")
            if transport.get_write_buffer_size() == 0 and _unsent(sock.fileno()) == 0:
                return
            await self._clock.sleep(_LOOK)

    async def _claim(self) -> _Place | None:
        """Return where to go on, if it is our turn; we have it for a while then."""
        now = self._clock.now()

        async def work(transaction: Transaction) -> _Place | None:
            found = await transaction.record(SPACE, self._key) or {}
            held = found.get("owner") not in (None, self._owner)
            if held and abs(now - datetime.fromisoformat(found["at"])) < _LEASE:
                return None
            place = _Place(found.get("number", 0), found.get("sequence", 0))
            if not held and found and abs(now - datetime.fromisoformat(found["at"])) < _LEASE / 3:
                return place
            await transaction.put_record(SPACE, self._key, self._record(place, now))
            return place

        return (await self._store.transact(work)).result

    async def _keep(self, place: _Place) -> None:
        now = self._clock.now()

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(SPACE, self._key, self._record(place, now))

        await self._store.transact(work)

    def _record(self, place: _Place, now: datetime) -> dict[str, object]:
        return {
            "number": place.number,
            "sequence": place.sequence,
            "owner": self._owner,
            "at": now.isoformat(),
        }


def _unsent(descriptor: int) -> int:
    """Return how many bytes the other end's kernel has not acknowledged."""
    found: tuple[int] = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
    return found[0]


def _context(settings: SyslogSettings) -> ssl.SSLContext:
    """Return the context of a client that verifies; Invalid for files that can't be read."""
    try:
        context = ssl.create_default_context(cafile=settings.roots)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate)
    except OSError as exc:
        raise Invalid(
            f"the certificates for the syslog receiver {settings.host} can't be read: {exc}",
            code="invalid_settings",
        ) from exc
    return context
