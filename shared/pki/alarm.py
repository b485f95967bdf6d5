"""Tell that a certificate has a third of its life left and no successor, once for each.

Renewal begins at half of life, so by then it has failed for hours (a leaf), or for months (a CA).
"""

import logging

from cryptography.x509 import Certificate

from shared.clock import Clock
from shared.pki.certificates import serial_of, validity_of
from shared.pki.rotation import Due, due

log = logging.getLogger(__name__)


class ExpiryAlarm:
    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._told: set[str] = set()

    def check(self, what: str, certificate: Certificate) -> bool:
        """Log an error if it is that late; return whether it is.  `what` says whose it is."""
        validity, serial = validity_of(certificate), serial_of(certificate)
        if due(validity, now=self._clock.now()) not in (Due.ALERT, Due.EXPIRED):
            return False
        if serial not in self._told:
            self._told.add(serial)
            log.error(
                "certificate expires soon and has no successor",
                extra={"certificate": what, "expires": validity.not_after.isoformat()},
            )
        return True
