"""A prepared FSM to copy, as the integration tests have it."""

from tests.integration.fsm.conftest import stopped, template

__all__ = ["stopped", "template"]
