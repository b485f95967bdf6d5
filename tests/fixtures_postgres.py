"""Fixtures with a real PostgreSQL; a conftest.py imports those that its folder uses.

from tests.fixtures_postgres import postgres, postgres_url
"""

from collections.abc import Iterator

import pytest

from tests.servers import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole run; it does not fsync."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A new, empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)
