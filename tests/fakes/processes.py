"""A piece of work in a process of its own, which may die in the middle."""

import os
import traceback
from collections.abc import Callable

RAISED = 99
"""The status of a child whose work raised."""


def forked(work: Callable[[], object]) -> int:
    """Run `work` in a forked child and return its exit status, minus the signal if one ended it."""
    child = os.fork()
    if child == 0:
        status = RAISED
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a child never goes on with its parent's work
            traceback.print_exc()
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(waited)
