"""The roles and bindings of now, in memory, kept up to date with the store whoever writes it."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from pydantic import ValidationError

from shared.access.book import ACCESS_KINDS, Account, Book
from shared.auth.identity import Grant, Subject
from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import Key, Revision
from shared.model.base import Spec
from shared.model.kinds import KINDS, Home
from shared.store.contract import Commit, Selection, Snapshot, Store, Stored

log = logging.getLogger(__name__)

ACCOUNTS: Final = "accounts"
"""The space of records with the accounts that a server keeps by itself."""

SELECTION: Final = Selection(kinds=ACCESS_KINDS)

RETRY: Final = 1.0
"""Seconds until the store is followed again after it could not be."""

PATIENCE: Final = 5.0
"""Seconds that a writer waits until what he wrote counts here."""


class StoredRoles:
    """A shared.auth.identity.GrantSource over a store.  Somebody must load it, and run it."""

    def __init__(self, store: Store, *, home: Home, clock: Clock) -> None:
        self._store = store
        self._home = home
        self._clock = clock
        self._book = Book({}, is_site=home == "sdsp")
        self._revision = Revision(0)
        self._generation = 0
        self._moved = asyncio.Event()

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def book(self) -> Book:
        """All that is known; a value, which doesn't change."""
        return self._book

    def grants_of(self, subject: Subject) -> tuple[Grant, ...]:
        return self._book.grants_of(subject)

    async def load(self) -> None:
        """Read everything anew; raises what Store.snapshot raises."""
        async with self._store.snapshot() as snapshot:
            book = await book_in(snapshot, self._home)
            self._take(book, snapshot.position.revision)

    async def reach(self, revision: Revision) -> None:
        """Wait until all that was committed up to a revision counts here, at most 5 s."""
        while self._revision < revision:
            moved = self._moved
            if not await self._clock.wait(moved, PATIENCE):
                return

    async def run(self) -> NoReturn:
        """Follow the store until cancelled; while it is away, what was known last counts."""
        while True:
            try:
                await self._follow()
            except HanseError as exc:
                log.info("roles can't follow the store, will retry", extra={"code": exc.code})
            await self._clock.sleep(RETRY)
            try:
                await self.load()
            except HanseError as exc:
                log.info("roles can't be read, will retry", extra={"code": exc.code})

    async def _follow(self) -> None:
        async for event in self._store.watch(self._revision, selection=SELECTION):
            book = self._book
            if isinstance(event, Commit):
                book = book.changed(
                    parsed(each.after for each in event.changes if each.after is not None),
                    [each.key for each in event.changes if each.after is None],
                )
            else:
                # No revision tells of records, so they are looked at while it is quiet.
                async with self._store.snapshot() as snapshot:
                    accounts = await accounts_in(snapshot)
                if accounts != book.accounts:
                    book = book.with_accounts(accounts)
            self._take(book, event.revision)

    def _take(self, book: Book, revision: Revision) -> None:
        if book is not self._book:
            self._book = book
            self._generation += 1
        self._revision = revision
        self._moved.set()
        self._moved = asyncio.Event()


async def book_in(snapshot: Snapshot, home: Home) -> Book:
    """Return who holds what at a snapshot's revision."""
    objects = parsed(await snapshot.list(SELECTION))
    return Book(objects, await accounts_in(snapshot), is_site=home == "sdsp")


async def accounts_in(snapshot: Snapshot) -> dict[str, Account]:
    records: Mapping[str, Mapping[str, Any]] = await snapshot.records(ACCOUNTS)
    return {
        name: Account(tuple(record["roles"]), bool(record.get("disabled", False)))
        for name, record in records.items()
    }


def parsed(objects: Iterable[Stored]) -> dict[Key, Spec]:
    """Return the specs of objects; one that this release can't read gives nothing to anybody."""
    found = {}
    for each in objects:
        try:
            found[each.key] = KINDS[each.key.kind].spec.model_validate(each.spec)
        except ValidationError:
            log.warning("can't be read, and gives nothing", extra={"object": str(each.key)})
    return found
