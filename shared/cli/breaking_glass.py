"""What `break-glass` does, on the store itself: the server may run beside it, or be down."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.auth.passwords import Passwords
from shared.cli.answers import minute_of
from shared.clock import SystemClock
from shared.errors import NotFound
from shared.login.breakglass import FILE, open_by_hand
from shared.login.effective import Judge, deciding
from shared.login.glass import glass_in
from shared.metrics.names import Metrics
from shared.store.contract import Store
from shared.store.sql import open_store


def open_glass(url: str, judge: Judge, *, reason: str, despite_policy: bool) -> str:
    """Open the account; return what to tell.  As open_by_hand(), and as opening a store."""
    return asyncio.run(_open(url, judge, reason=reason, despite_policy=despite_policy))


def told(url: str, data: Path) -> str:
    """Return how the account stands."""
    return asyncio.run(_told(url, data))


async def _open(url: str, judge: Judge, *, reason: str, despite_policy: bool) -> str:
    clock = SystemClock()
    passwords = Passwords()
    try:
        async with _store(url) as store:
            async with store.snapshot() as snapshot:
                documents = await deciding(snapshot)
            opened = await open_by_hand(
                store,
                policy=judge(documents.values(), clock.now()).spec,
                passwords=passwords,
                metrics=Metrics(),
                clock=clock,
                reason=reason,
                despite_policy=despite_policy,
            )
    finally:
        passwords.close()
    return (
        f"The emergency account is open until {minute_of(opened.until)}.\n"
        f"Log in as: {opened.account}\nSecret (shown once): {opened.secret}\n"
        f"Every action is marked. Then it is sealed with another secret, in DATA/{FILE}."
    )


async def _told(url: str, data: Path) -> str:
    async with _store(url) as store, store.snapshot() as snapshot:
        glass = await glass_in(snapshot)
    if glass is None:
        raise NotFound(
            "this server has no emergency account: it is made by init", code="no_break_glass"
        )
    state = glass.state(SystemClock().now())
    sentences = {
        "first": "is an ordinary local account until an administrator of a directory logs in",
        "sealed": "is sealed",
        "open": f"is open until {minute_of(glass.open_until)}, by {glass.opened_by}",
    }
    lines = [f"The emergency account {glass.account} {sentences[state]}."]
    if (data / FILE).exists():
        lines.append(f"Its secret is in {data / FILE}: take it, and delete the file.")
    return "\n".join(lines)


@asynccontextmanager
async def _store(url: str) -> AsyncIterator[Store]:
    store = await open_store(url, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()
