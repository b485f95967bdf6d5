"""Run a server program: its loop, its signals, and the word to systemd.

SIGTERM and SIGINT set an event; the program then ends by itself, closing what it opened.  A second
signal ends it at once.
"""

import asyncio
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from shared.collector import calm_collector
from shared.tasks.event_loop import new_event_loop

Main = Callable[[asyncio.Event], Awaitable[None]]
"""A program: it returns soon after the event is set."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

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
_ARENAS: Final = 2
"""Heaps for all threads together; each keeps what was freed in it."""


def run_program(main: Main) -> None:
    """Run `main` on uvloop until it returns, with all the descriptors that the system allows."""
    return_memory()
    calm_collector()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The usual 1,024 is for programs that use select(2).
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_until_signalled(main))


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
