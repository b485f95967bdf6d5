"""Exchange a person's login for a token by which one site is asked one question in his name."""

from collections.abc import Callable
from datetime import timedelta

from shared.access.book import Book
from shared.access.flowed import groups_that_flow
from shared.auth.delegation import Asker, Binding, delegate, lifetime_of
from shared.auth.identity import Caller, CallerKind
from shared.clock import Clock
from shared.errors import Forbidden
from shared.login.callers import Callers
from shared.login.keyring import KeyRing


class Delegations:
    def __init__(
        self,
        *,
        server: str,
        ring: KeyRing,
        callers: Callers,
        book: Callable[[], Book],
        clock: Clock,
    ) -> None:
        """`server` is the identity that signs; `book` returns who holds what, now."""
        self.server = server
        self._ring = ring
        self._callers = callers
        self._book = book
        self._clock = clock

    def asker(self, caller: Caller) -> Asker:
        """Return in whose name a caller's questions are; Forbidden for a component."""
        subject = self._callers.subject_of(caller)
        if subject is None or caller.kind is CallerKind.COMPONENT:
            raise Forbidden("only a person or a service account may ask sites; log in")
        groups = groups_that_flow(self._book(), subject.groups)
        return Asker(caller.kind, caller.identity, subject.name, groups)

    async def token(
        self, asker: Asker, *, site: str, thumbprint: str, question: str, deadline: timedelta
    ) -> str:
        """Return a token for one question; `site` is the identity of the SDSP that is asked.

        Unavailable (`no_signing_key`); TooLarge.
        """
        key = await self._ring.signing_for(lifetime_of(deadline))
        binding = Binding(self.server, site, thumbprint, question)
        return delegate(key, asker, binding, deadline=deadline, clock=self._clock)
