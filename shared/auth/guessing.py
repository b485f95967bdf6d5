"""Against guessing of passwords: who tries and fails waits longer each time.

There is no lock-out.  A lock on an account's name would let anybody shut anybody out by failing in
his name, so what makes an attempt wait is above all *from where* it comes:

* An account and an origin (an IPv4 address, an IPv6 /64) together: after some failures each
  further attempt waits twice as long as the one before, up to a minute.
* An origin alone, whatever names it tries.
* An account alone, over all origins, against guessing from many at once.  From where somebody has
  logged in as that account of late this doesn't count: who is under attack can still come from
  his usual place, and from a new one he may have to wait.

An attempt counts when it begins, so that many at once gain nothing, and one that is refused
doesn't count at all.  All of it is in this process's memory, and bounded.
"""

import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from shared.auth.limiter import Limiter, Rate, origin_of
from shared.clock import Clock
from shared.errors import TooManyRequests
from shared.settings import Settings

FREE: Final = 5
"""Attempts without a wait: a person mistypes a few times."""
LONGEST: Final = 60.0
"""Seconds.  At one an hour's worth of guesses is 60, and a person who remembers waits a minute."""
FORGET: Final = 900.0
"""Seconds without an attempt after which failures are forgotten."""
USUAL: Final = 30 * 86400.0
"""Seconds for which a place where somebody has logged in is a usual one."""

# Some 10 MiB each at worst.
_MOST: Final = 50_000


class PasswordRates(Settings):
    """How often passwords may be tried; who fails waits longer each time besides."""

    address: Rate = Field(
        "60 per minute",
        description="From each address (of IPv6 each /64), which many people may share.",
    )
    account: Rate = Field(
        "30 per minute",
        description="For each account, from where nobody has logged in to it of late.",
    )
    trials: Rate = Field(
        "10 per minute",
        description="To try a login policy with: for each who tries, and for each account.",
    )


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class GuessingGuard:
    def __init__(
        self, rates: PasswordRates, *, clock: Clock, limiter: Limiter | None = None
    ) -> None:
        self._rates = rates
        self._clock = clock
        self._limiter = limiter or Limiter(clock=clock)
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._usual: OrderedDict[tuple[str, str], float] = OrderedDict()

    def attempt(self, username: str, address: str | None) -> None:
        """Count an attempt that is about to be made; TooManyRequests if it must wait."""
        now, origin = self._clock.monotonic(), origin_of(address)
        place = _account(username), origin
        failures = self._failures.get(place)
        if failures is not None and now - failures.last >= FORGET:
            failures = None
        if failures is not None and now < (until := failures.last + wait_after(failures.count)):
            raise TooManyRequests(
                "too many attempts; wait before the next one", retry_after=until - now
            )
        limits = [(self._rates.address, f"origin:{origin}")]
        if now - self._usual.get(place, float("-inf")) >= USUAL:
            limits.append((self._rates.account, f"account:{place[0]}"))
        self._limiter.check(*limits)
        self._failures[place] = _Failures(failures.count + 1 if failures else 1, now)
        self._failures.move_to_end(place)
        if len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def undecided(self, username: str, address: str | None) -> None:
        """Take an attempt back that nobody could judge, since a directory didn't answer."""
        failures = self._failures.get((_account(username), origin_of(address)))
        if failures is not None:
            failures.count -= 1

    def succeeded(self, username: str, address: str | None) -> None:
        """Forget the failures of an account from where it has just proved itself."""
        place = _account(username), origin_of(address)
        self._failures.pop(place, None)
        self._usual[place] = self._clock.monotonic()
        self._usual.move_to_end(place)
        if len(self._usual) > _MOST:
            self._usual.popitem(last=False)


def wait_after(failures: int) -> float:
    """Return how many seconds must pass after so many failures before the next attempt."""
    if failures < FREE:
        return 0.0
    return min(LONGEST, 2.0 ** min(failures - FREE, 16))


def _account(username: str) -> str:
    # Directories compare names without regard to case: else each spelling had its own count.
    return unicodedata.normalize("NFKC", username).casefold().strip()
