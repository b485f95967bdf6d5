"""Tell that a certificate has a third of its life left and no successor, once for each.

Renewal begins at half of life, so by then it has failed for hours (a leaf), or for months (a CA).
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from cryptography.x509 import Certificate

from shared.clock import Clock
from shared.metrics.names import CERTIFICATE_EXPIRES, Metrics
from shared.pki.certificates import serial_of, validity_of
from shared.pki.rotation import Due, due

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expiring:
    """Whose certificate is late, and when it expires."""

    certificate: str
    not_after: datetime

    def to_json(self) -> dict[str, str]:
        return {"certificate": self.certificate, "notAfter": self.not_after.isoformat()}


class ExpiryAlarm:
    def __init__(self, *, clock: Clock, metrics: Metrics | None = None) -> None:
        """`metrics` get the expiry of each certificate that is looked at."""
        self._clock = clock
        self._metrics = metrics
        self._told: set[str] = set()
        self._late: dict[str, Expiring] = {}

    @property
    def late(self) -> tuple[Expiring, ...]:
        """Those that were late when they were last looked at."""
        return tuple(self._late[what] for what in sorted(self._late))

    def check(self, what: str, certificate: Certificate) -> bool:
        """Log an error if it is that late; return whether it is.  `what` says whose it is."""
        validity, serial = validity_of(certificate), serial_of(certificate)
        if self._metrics:
            expires = validity.not_after.timestamp()
            self._metrics.gauge(CERTIFICATE_EXPIRES).labels(what).set(expires)
        self._late.pop(what, None)
        if due(validity, now=self._clock.now()) not in (Due.ALERT, Due.EXPIRED):
            return False
        self._late[what] = Expiring(what, validity.not_after)
        if serial not in self._told:
            self._told.add(serial)
            log.error(
                "certificate expires soon and has no successor",
                extra={"certificate": what, "expires": validity.not_after.isoformat()},
            )
        return True
