from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.auth.providers.ldap import LDAPProvider
from shared.auth.providers.radius import RADIUSProvider
from shared.clock import Clock
from shared.model.settings_policies import LDAPSettings, RADIUSSettings
from tests import radius
from tests.directory import SERVICE_PASSWORD, Directory
from tests.fakes.clock import VirtualClock
from tests.fixtures_directory import freeradius, slapd
from tests.radius import RadiusServer

__all__ = ["clock", "freeradius", "ldap", "radius_login", "slapd"]

LDAP = Callable[..., LDAPProvider]
RADIUS = Callable[..., RADIUSProvider]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def ldap(clock: VirtualClock) -> Iterator[LDAP]:
    """Make providers that ask a directory, by LDAPS and as the service account unless changed."""
    made: list[LDAPProvider] = []

    def make(
        directory: Directory,
        *,
        secret: str | None = SERVICE_PASSWORD,
        timeout: float = 5.0,
        time: Clock = clock,
        **changes: Any,
    ) -> LDAPProvider:
        settings = LDAPSettings.model_validate(directory.settings(**changes))
        made.append(LDAPProvider(settings, secret=secret, clock=time, timeout=timeout))
        return made[-1]

    yield make
    for provider in made:
        provider.close()


@pytest.fixture
def radius_login(clock: VirtualClock) -> RADIUS:
    """Make providers that ask a RADIUS server."""

    def make(
        server: RadiusServer,
        *,
        secret: str | None = radius.SECRET,
        time: Clock = clock,
        **changes: Any,
    ) -> RADIUSProvider:
        settings = RADIUSSettings.model_validate(server.settings(**changes))
        return RADIUSProvider(settings, secret=secret, clock=time)

    return make
