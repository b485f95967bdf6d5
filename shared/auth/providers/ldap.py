"""Logins against a directory by LDAP.

With a service account a person is searched for, and then bound as with the password; without, the
person's DN is made from the name and bound as directly.  A directory that can't be asked is never
taken for a refusal, nor a refusal for a directory that can't be asked.

The directory's client blocks, so it has threads of its own: few, since each of them takes the
interpreter from the event loop for a moment, and one after another as long as the directory answers
at once.  The logins wait for them in a queue that is bounded.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

import ldap3

from shared.auth.providers.contract import (
    Person,
    ProviderBusy,
    ProviderName,
    ProviderUnreachable,
)
from shared.auth.providers.failover import PAUSE, Failover, ServerFailed
from shared.auth.providers.ldap_connections import Connections, Purpose, ServiceAccount
from shared.auth.providers.ldap_directory import (
    Account,
    Directory,
    check_password,
    is_out_of_use,
)
from shared.auth.providers.typed import may_be_asked
from shared.clock import Clock
from shared.model.settings_policies import LDAPSettings
from shared.turns import Turns

log = logging.getLogger(__name__)

TIMEOUT: Final = 5.0
"""Seconds to connect, and for each answer."""
THREADS: Final = 4
MOMENT: Final = 0.025
"""Seconds after which a login's thread is taken to wait for the directory, and the next begins.

Until then it is taken to compute.  Four that compute at once take no less time than one by one, and
keep everybody else waiting five times as long, since the loop has to win the interpreter from each.
"""
WAITING: Final = 1_000
"""Logins that wait for a thread; a guess, some ten seconds' worth."""
LONGEST_NAME: Final = 253
LONGEST_PASSWORD: Final = 1024

_CHANGED: Final = "the settings of the provider ldap have changed meanwhile; try again"

T = TypeVar("T")


class LDAPProvider:
    """Implements Provider.  `secret` is the service account's password, None for direct bind."""

    def __init__(
        self,
        settings: LDAPSettings,
        *,
        secret: str | None,
        clock: Clock,
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._failover = Failover("ldap", settings.servers, clock=clock, pause=pause)
        self._account = ServiceAccount(settings.bind_dn, secret or "") if settings.bind_dn else None
        self._connections = Connections(
            start_tls=settings.start_tls,
            ca_certificates=settings.ca_certificates,
            account=self._account,
            clock=clock,
            timeout=timeout,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ldap")
        self._turns = Turns(1, MOMENT)
        self._waiting = 0
        self._is_closed = False

    @property
    def name(self) -> ProviderName:
        return "ldap"

    async def authenticate(self, username: str, password: str) -> Person | None:
        """Return who it is; see Provider."""
        if not _is_name(username) or not may_be_asked(password) or len(password) > LONGEST_PASSWORD:
            return None
        ask = self._log_in if self._account else self._log_in_directly
        return await self._run(partial(ask, username, password), busy=ProviderBusy)

    async def look_up(self, username: str) -> Person | None:
        """Return a person as he is now; see Provider."""
        if self._account is None:
            raise NotImplementedError("by direct bind nobody can be looked up")
        if not _is_name(username):
            return None
        return await self._run(partial(self._look_up, username), busy=ProviderUnreachable)

    def close(self) -> None:
        """Let go of threads and connections; logins that wait end with ProviderBusy."""
        self._is_closed = True
        # Those in the queue are not cancelled: their callers would take it for their own.
        self._threads.shutdown(wait=False)
        self._connections.close()

    async def _run(self, ask: Callable[[str], T], *, busy: Callable[[str], Exception]) -> T:
        if self._is_closed:
            raise busy(_CHANGED)
        if self._waiting >= WAITING:
            raise busy(f"{WAITING} logins wait for the provider ldap already; try again")
        self._waiting += 1
        try:
            turn = await self._turns.begin()
            try:
                if self._is_closed:
                    raise busy(_CHANGED)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._ask_in_turn, ask, busy)
            finally:
                turn.end()
        finally:
            self._waiting -= 1

    def _ask_in_turn(self, ask: Callable[[str], T], busy: Callable[[str], Exception]) -> T:
        """Ask the servers in order until one has an answer; in a thread."""
        attempt = self._failover.attempt()
        for server in attempt.servers():
            if self._is_closed:
                raise busy(_CHANGED)
            try:
                answer = ask(server)
            except ServerFailed as exc:
                attempt.failed(server, exc)
                log.warning(
                    "a directory fails, asking the next",
                    extra={"server": server, "reason": str(exc)},
                )
                continue
            attempt.worked(server)
            return answer
        raise attempt.unreachable()

    def _log_in(self, username: str, password: str, server: str) -> Person | None:
        """Find the person as the service account, then try the password."""
        directory = self._directory()
        account = self._use(server, "search", lambda found: directory.find(found, username))
        # Somebody who isn't there is tried as well, so that time tells nobody who is.
        dn = account.entry.dn if account else directory.direct_dn(secrets.token_hex(16))
        fits = self._use(server, "check", lambda found: check_password(found, dn, password))
        if account is None or not fits:
            return None
        return self._use(server, "search", lambda found: self._person(directory, found, account))

    def _log_in_directly(self, username: str, password: str, server: str) -> Person | None:
        """Bind as the person, and read what he may read of himself."""
        directory = self._directory()
        dn = directory.direct_dn(username)

        def ask(connection: ldap3.Connection) -> Person | None:
            if not check_password(connection, dn, password):
                return None
            account = directory.find(connection, username, dn=dn)
            return self._person(directory, connection, account) if account else None

        return self._use(server, "check", ask)

    def _look_up(self, username: str, server: str) -> Person | None:
        directory = self._directory()

        def ask(connection: ldap3.Connection) -> Person | None:
            account = directory.find(connection, username)
            return self._person(directory, connection, account) if account else None

        return self._use(server, "search", ask)

    def _person(
        self, directory: Directory, connection: ldap3.Connection, account: Account
    ) -> Person | None:
        if is_out_of_use(account.entry, self._clock.now()):
            log.info("an account is out of use", extra={"dn": account.entry.dn})
            return None
        groups = directory.groups(connection, account)
        return Person(account.username, account.display_name, groups, self.name)

    def _directory(self) -> Directory:
        try:
            return Directory(self._settings)
        except ValueError as exc:
            raise ServerFailed(f"groupBase is no DN: {exc}", is_down=False) from exc

    def _use(self, server: str, purpose: Purpose, ask: Callable[[ldap3.Connection], T]) -> T:
        return self._connections.use(server, purpose, ask)


def _is_name(username: str) -> bool:
    return may_be_asked(username) and len(username) <= LONGEST_NAME
