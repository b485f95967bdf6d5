"""Fixtures with a real slapd and a real freeradius; a conftest.py imports those its folder uses.

from tests.fixtures_directory import freeradius, slapd
"""

from collections.abc import Iterator

import pytest

from tests.directory import Directory, directory_server
from tests.radius import RadiusServer, radius_server


@pytest.fixture(scope="session")
def slapd() -> Iterator[Directory]:
    """One directory for the whole run: leave it as it is, or start your own."""
    with directory_server() as server:
        yield server


@pytest.fixture(scope="session")
def freeradius() -> Iterator[RadiusServer]:
    """One RADIUS server for the whole run: leave it as it is, or start your own."""
    with radius_server() as server:
        yield server
