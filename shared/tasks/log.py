"""A server's log: JSON lines on standard error."""

import asyncio
import logging
import os
import sys
import threading
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from shared.clock import SystemClock

ACCESS: Final = "hanse.access"

# Chatty about every statement or schedule; what they warn of is still logged.
_QUIET: Final = ("aiosqlite", "alembic", "sqlalchemy", "apscheduler", "asyncio", "limits")

_LINES: Final = 256
"""Lines that wait at most."""

_PAUSE: Final = 0.01
"""Seconds that a line waits at most for others to go with."""

access: Final = logging.getLogger(ACCESS)

_clock: Final = SystemClock()

# What a record has of itself; all else are a message's own fields.
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def log_request(fields: dict[str, Any]) -> None:
    """Log an answered request; the fields become the record's, as `extra` makes them."""
    if not access.isEnabledFor(logging.INFO):
        return
    handler = access.handlers[0] if access.handlers else None
    if isinstance(handler, Lines):
        # There is one for each request: the way through a record takes four times as long.
        handler.request(fields)
    else:
        access.info("request", extra=fields)


def configure_logging(*, level: int = logging.INFO) -> None:
    """Write one JSON line a message to standard error: time, level, logger, message, fields."""
    handler = Lines(sys.stderr.fileno())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The one with a line for each request; on its way to the root it would pass two loggers more.
    access.handlers[:] = [handler]
    access.propagate = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A record without what no line shows; to look up the calling line costs most of all (see
    # "Optimization" in the logging HOWTO).
    logging._srcfile = None  # noqa: SLF001 - as documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class Lines(logging.Handler):
    """Writes records to a file descriptor, each a line of JSON: lines of threads never mix.

    Within an event loop lines wait ten milliseconds for others, to be one write with them; a
    warning takes all that wait with it at once, and logging.shutdown() what is left when the
    program ends.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._json = JSONLines()
        self.setFormatter(self._json)
        self._waiting: list[bytes] = []
        self._guard = threading.Lock()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of other handlers: ours is held for a line only, not while it is made.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "backslashreplace")
        self._add(line, urgent=record.levelno >= logging.WARNING)

    def request(self, fields: dict[str, Any]) -> None:
        """Write the line of an answered request."""
        try:
            line = self._json.line("request", "info", ACCESS, fields, _clock.now().timestamp())
        except TypeError:
            access.info("request", extra=fields)
        else:
            self._add(line, urgent=False)

    def _add(self, line: bytes, *, urgent: bool) -> None:
        with self._guard:
            self._waiting.append(line + b"\n")
            count = len(self._waiting)
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or urgent or count >= _LINES:
            self.flush()
        elif count == 1:
            loop.call_later(_PAUSE, self.flush)

    def flush(self) -> None:
        with self._guard:
            lines, self._waiting = self._waiting, []
        data = b"".join(lines)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # Nobody reads our log, or its disk is full: we go on without.
            return


class JSONLines(logging.Formatter):
    """Makes a line of JSON of a record: what happened, its level and logger, its fields, when.

    There is one for each request, so that the usual line is made in one go; one that tells of an
    exception is structlog's.
    """

    def __init__(self) -> None:
        super().__init__()
        # The last one that was written, with its text; lines come many to a second.
        self._second = (-1.0, "")
        self._thorough = structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Without the frames' variables: a request's token is among them.
                ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
                structlog.processors.JSONRenderer(),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.stack_info:
            return self._thorough.format(record)
        fields = {name: value for name, value in record.__dict__.items() if name not in _OWN_FIELDS}
        try:
            line = self.line(
                record.getMessage(), record.levelname.lower(), record.name, fields, record.created
            )
        except TypeError:
            return self._thorough.format(record)
        return line.decode()

    def line(
        self, event: str, level: str, logger: str, fields: dict[str, Any], created: float
    ) -> bytes:
        """Return the usual line; `created` is in seconds of the epoch.

        TypeError if a value is beyond JSON: a lone surrogate, or an integer beyond 64 bits.
        """
        second, rest = divmod(created, 1)
        known = self._second
        if second != known[0]:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            known = self._second = (second, text)
        said = {
            "event": event,
            "level": level,
            "logger": logger,
            **fields,
            "timestamp": f"{known[1]}.{int(rest * 1_000_000):06}Z",
        }
        return orjson.dumps(said, default=repr, option=orjson.OPT_NON_STR_KEYS)
