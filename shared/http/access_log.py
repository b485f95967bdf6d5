"""The line in the log that each request has."""

import logging
import time
from typing import Any, Final

log: Final = logging.getLogger("hanse.access")


class _Request(logging.LogRecord):
    """A record whose fields are its own attributes, as `extra` makes them.

    What is the same in each stands in the class: logging's own way to a record takes longer than
    to make a line of it.
    """

    name = log.name
    msg = "request"
    args = None
    levelno = logging.INFO
    levelname = "INFO"
    pathname = __file__
    filename = "access_log.py"
    module = "access_log"
    funcName = "log_request"  # noqa: N815 - logging's name
    lineno = 0
    exc_info = None
    exc_text = None
    stack_info = None
    thread = None
    threadName = None  # noqa: N815 - logging's name
    process = None
    processName = None  # noqa: N815 - logging's name
    relativeCreated = 0.0  # noqa: N815 - logging's name

    def __init__(self, fields: dict[str, Any]) -> None:
        # Not logging's: see above.
        self.__dict__ = fields
        self.created = created = time.time()
        self.msecs = created % 1 * 1000


def log_request(fields: dict[str, Any]) -> None:
    """Log an answered request; the fields become the record's."""
    if log.isEnabledFor(logging.INFO):
        log.handle(_Request(fields))
