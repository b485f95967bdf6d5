"""The line in the log that each request has."""

import logging
from typing import Any, Final

log: Final = logging.getLogger("hanse.access")

_RECORD: Final = {
    "name": log.name,
    "msg": "request",
    "levelno": logging.INFO,
    "levelname": "INFO",
}


def log_request(fields: dict[str, Any]) -> None:
    """Log an answered request; the fields become the record's, as `extra` makes them."""
    if log.isEnabledFor(logging.INFO):
        # Straight to the record: who called is the same for each, and looking it up takes long.
        log.handle(logging.makeLogRecord(_RECORD | fields))
