"""A prepared FSM, a running one, a site that follows it, and PostgreSQL."""

from tests.fixtures_postgres import postgres, postgres_url
from tests.integration.road.conftest import fsm, site, stopped, template

__all__ = ["fsm", "postgres", "postgres_url", "site", "stopped", "template"]
