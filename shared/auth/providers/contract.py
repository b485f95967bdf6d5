"""What every provider of logins does: say who somebody is, or that it can't tell.

A provider knows people by name and password: a directory (LDAP), a RADIUS server, or this server's
own users.  Three outcomes are told apart, because a login policy treats them differently: the
person is who he says (a Person), he isn't or nobody knows him (None), and nobody could be asked
(ProviderUnreachable).  Which part of a refused login was wrong is never told.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from shared.errors import Unavailable

ProviderName = Literal["ldap", "radius", "local"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody a provider vouches for.

    `username` is spelled as the provider has it, so that one person has one name however it was
    typed.  `groups` are names as a RoleBinding's subjects write them; of a directory both the
    common name (`admins`) and the normalised DN (`cn=admins,ou=groups,dc=example,dc=com`).
    """

    username: str
    display_name: str
    groups: frozenset[str]
    provider: ProviderName


class ProviderUnreachable(Unavailable):
    """No server of the provider could be asked: down, too slow, not trusted, or misconfigured.

    Code `provider_unreachable`.  The message names the provider and each server with its reason;
    it is for the log, for `hanse auth test` and for whoever may read the policy, not for a login.
    """

    default_code = "provider_unreachable"


class ProviderBusy(Unavailable):
    """It wasn't asked, for a reason of ours: too many logins wait, or its settings just changed.

    Code `provider_busy`.  Not a ProviderUnreachable: whoever floods logins mustn't make a provider
    look down, for that may open an emergency account.
    """

    default_code = "provider_busy"


class Provider(Protocol):
    """One way to log in."""

    @property
    def name(self) -> ProviderName: ...

    async def authenticate(self, username: str, password: str) -> Person | None:
        """Return who it is, None if name and password don't fit together.

        None as well for an empty name or password, which is never passed on.
        Raises ProviderUnreachable, ProviderBusy.
        """
        ...

    async def look_up(self, username: str) -> Person | None:
        """Return a person as he is now, without a password; None if there is no such person.

        For a session that is renewed.  Raises ProviderUnreachable, and NotImplementedError if the
        provider can't ask without the password (RADIUS, LDAP by direct bind).
        """
        ...

    def close(self) -> None:
        """Let go of threads and connections."""
        ...
