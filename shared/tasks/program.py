"""Run a server program: its loop, its signals, its log, and the word to systemd.

SIGTERM and SIGINT set an event; the program then ends by itself, closing what it opened.  A second
signal ends it at once.
"""

import asyncio
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog
import uvloop
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

ACCESS: Final = "hanse.access"

# What a record has of itself; all else are a message's own fields.
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}

Main = Callable[[asyncio.Event], Awaitable[None]]
"""A program: it returns soon after the event is set."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

# Chatty about every statement or schedule; what they warn of is still logged.
_QUIET: Final = ("aiosqlite", "alembic", "sqlalchemy", "apscheduler", "asyncio", "limits")


# Of glibc's <malloc.h>: which parameter mallopt(3) is to set.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_OWN_MAPPING: Final = 64 * 1024
"""Bytes from which a block gets pages of its own, which go back to the system when it is freed.

uvloop has a buffer of 256 KiB for each TLS connection, of which a page or two is ever used.  Left
to itself glibc takes them from its heap after the first one was freed, where they lie between
others in pages that were used before: then a thousand connections that come and go cost a quarter
of a gigabyte for good.
"""
_LINES: Final = 256
"""Lines that wait for the end of the loop's round at most."""

_ARENAS: Final = 2
"""Heaps for all threads together; each keeps what was freed in it."""


def run_program(main: Main) -> None:
    """Run `main` on uvloop until it returns, with all the descriptors that the system allows."""
    return_memory()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The usual 1,024 is for programs that use select(2).
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(_until_signalled(main))


def return_memory() -> None:
    """Have the C library give large blocks back to the system as soon as they are freed.

    Does nothing where it isn't glibc.  Call it before there are threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
        mallopt(_M_ARENA_MAX, _ARENAS)


async def _until_signalled(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        # From now on the system's own answer: whoever asks twice doesn't want to wait.
        loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    await main(stop)


def notify_ready(address: str) -> None:
    """Tell systemd that the service is up (sd_notify(3)), if it asked to be told."""
    target = os.environ.get("NOTIFY_SOCKET")
    if not target:
        return
    # A leading @ stands for the NUL of an abstract socket.
    name = f"\0{target[1:]}" if target.startswith("@") else target
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(f"READY=1\nSTATUS=serving at {address}".encode(), name)


def configure_logging(*, level: int = logging.INFO) -> None:
    """Write one JSON line a message to standard error: time, level, logger, message, fields."""
    handler = Lines(sys.stderr.fileno())
    handler.setFormatter(JSONLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The one with a line for each request; on its way to the root it would pass two loggers more.
    access = logging.getLogger(ACCESS)
    access.handlers[:] = [handler]
    access.propagate = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A record without what no line shows; to look up the calling line costs most of all (see
    # "Optimization" in the logging HOWTO).
    logging._srcfile = None  # noqa: SLF001 - as documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class Lines(logging.Handler):
    """Writes records to a file descriptor, each a whole line: lines of threads never mix.

    Within an event loop the lines of one round of the loop, such as those of all the requests that
    came together, are one write at its end; a warning takes all that wait with it at once, and
    logging.shutdown() what is left when the program ends.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._guard = threading.Lock()

    def handle(self, record: logging.LogRecord) -> bool:
        # Without the lock of other handlers: ours is held for a line only, not while it is made.
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        with self._guard:
            self._waiting.append(line)
            count = len(self._waiting)
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or record.levelno >= logging.WARNING or count >= _LINES:
            self.flush()
        elif count == 1:
            loop.call_soon(self.flush)

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
        fields: dict[str, Any] = {
            name: value for name, value in record.__dict__.items() if name not in _OWN_FIELDS
        }
        second, rest = divmod(record.created, 1)
        known = self._second
        if second != known[0]:
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            known = self._second = (second, text)
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **fields,
            "timestamp": f"{known[1]}.{int(rest * 1_000_000):06}Z",
        }
        try:
            return orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:
            # A lone surrogate, or an integer beyond 64 bits.
            return self._thorough.format(record)
