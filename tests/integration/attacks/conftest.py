"""The FSM and the site of the other integration tests, to be attacked."""

from tests.integration.fsm.conftest import admin, fsm, stopped, template

__all__ = ["admin", "fsm", "stopped", "template"]
