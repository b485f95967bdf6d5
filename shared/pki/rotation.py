"""When a certificate is due for renewal.  Pure: the answer depends on the arguments alone.

A certificate is renewed at half of its life, so that a site that loses its FSM at the worst
moment still has half of it left; a third left means that renewal keeps failing, and somebody
should know.  Renewals are spread over the twentieth of life before the half, so that a thousand
nodes that joined together don't all come back in the same second.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

RENEW_AFTER: Final = 0.5
SPREAD: Final = 0.05
ALERT_AFTER: Final = 2 / 3


@dataclass(frozen=True, slots=True)
class Validity:
    not_before: datetime
    not_after: datetime

    @property
    def life(self) -> timedelta:
        return self.not_after - self.not_before


class Due(StrEnum):
    """What a certificate's age asks for; each asks for what stands before it as well."""

    NOTHING = "nothing"
    RENEWAL = "renewal"
    ALERT = "alert"
    EXPIRED = "expired"


def due(validity: Validity, *, now: datetime, spread: float = 0.0) -> Due:
    """Return what is due at `now`.  `spread` (0 to 1) says how much before half to renew."""
    if now >= validity.not_after:
        return Due.EXPIRED
    if now >= validity.not_before + validity.life * ALERT_AFTER:
        return Due.ALERT
    if now >= renew_at(validity, spread=spread):
        return Due.RENEWAL
    return Due.NOTHING


def renew_at(validity: Validity, *, spread: float = 0.0) -> datetime:
    """Return when renewal falls due: at half of life, or up to a twentieth of life before."""
    return validity.not_before + validity.life * (RENEW_AFTER - SPREAD * spread)


def spread_of(serial: str) -> float:
    """Return a share from 0 to 1 that is drawn by the certificate's random serial number.

    Taken from the serial it is the same after a restart, so restarts don't move renewals.
    """
    return int(serial, 16) % 2**32 / 2**32
