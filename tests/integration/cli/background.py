"""Real servers that run beside the test, each in a thread with an event loop of its own.

A command makes a loop for itself, so it can't run in the loop that serves it.
"""

import asyncio
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fsm import app as fsm_app
from fsm.settings import load as load_fsm
from fsm.setup import initialise as initialise_fsm
from sdsp import app as sdsp_app
from sdsp.settings import load as load_sdsp
from sdsp.setup import initialise as initialise_sdsp
from sdsp.setup import join_site
from shared.cli.client import Client
from shared.clock import SystemClock
from tests.servers import free_port

PASSWORD = "correct horse battery"
# All the tests come from one address, many within a minute.
OFTEN = {
    f"HANSE_{program}_RATES__PASSWORDS__{whose}": "6000 per minute"
    for program in ("FSM", "SDSP")
    for whose in ("ADDRESS", "ACCOUNT")
}
T = TypeVar("T")


class Background(Generic[T]):
    """Holds an async context manager open in a thread."""

    def __init__(self, manager: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._manager = manager
        self._ready: Future[T] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.value = self._ready.result(timeout=30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        asyncio.run(self._hold())

    async def _hold(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._manager() as value:
                self._ready.set_result(value)
                await self._stop.wait()
        except BaseException as exc:
            if self._ready.done():
                raise
            self._ready.set_exception(exc)


@dataclass
class Place:
    """A prepared server: its folder, its URL, and the root that it is beneath."""

    data: Path
    url: str
    ca: Path

    def client(self, **arguments: Any) -> Client:
        return Client(self.url, ca=self.ca, **arguments)


def prepare_fsm(folder: Path) -> Place:
    """Prepare an FSM with the administrator admin."""
    port = free_port()
    data = folder / "fsm"
    initialise_fsm(
        data,
        trust_domain="hanse.example",
        listen=f"127.0.0.1:{port}",
        names=[],
        admin="admin",
        password_file=password_file(folder),
        url=None,
    )
    return Place(data, f"https://127.0.0.1:{port}", data / "root.pem")


def fsm_running(place: Place) -> Background[fsm_app.Federation]:
    settings = load_fsm(place.data, OFTEN)
    return Background(
        lambda: fsm_app.running(settings, place.data, clock=SystemClock(), source=random.Random(1))
    )


def prepare_site(folder: Path, name: str, fsm: Place) -> Place:
    """Prepare an SDSP and let it join a running FSM as the site `name`, which gets declared."""
    port = free_port()
    data = folder / name
    initialise_sdsp(
        data,
        listen=f"127.0.0.1:{port}",
        admin="admin",
        password_file=password_file(folder),
        url=None,
    )
    join_site(data, servers=[fsm.url], token=asyncio.run(_declare(fsm, name)))
    return Place(data, f"https://127.0.0.1:{port}", fsm.ca)


def site_running(place: Place) -> Background[sdsp_app.Site]:
    settings = load_sdsp(place.data, OFTEN)
    return Background(
        lambda: sdsp_app.running(settings, place.data, clock=SystemClock(), source=random.Random(1))
    )


def password_file(folder: Path) -> Path:
    file = folder / "password"
    file.write_text(f"{PASSWORD}\n")
    return file


async def _declare(fsm: Place, site: str) -> str:
    async with fsm.client() as client:
        await client.login("admin", PASSWORD)
        await client.put(
            {
                "apiVersion": "hanse/v1",
                "kind": "Site",
                "metadata": {"name": site, "labels": {"env": "prod"}},
                "spec": {},
            }
        )
        return (await client.join_token("Site", site)).text
