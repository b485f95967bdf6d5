"""How often something may be tried: moving and fixed windows, by the clock that is handed in.

The counting is that of the library `limits`; its own store in memory reads the wall clock and
starts threads, so this one takes its place.  It forgets whoever hasn't tried for a window's
length, and holds a bounded number of names, however many are made up.
"""

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Final

from limits import RateLimitItem, parse
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter
from pydantic import AfterValidator

from shared.clock import Clock
from shared.errors import TooManyRequests

# Some 10 MiB at worst.
_NAMES: Final = 50_000


def _lets_in_somebody(text: str) -> str:
    try:
        item = parse(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} must be like `600 per minute`") from exc
    if item.amount < 1:
        raise ValueError(f"{text!r} would let in nobody")
    return text


Rate = Annotated[str, AfterValidator(_lets_in_somebody)]
"""A setting that says how often: `600 per minute`, `50 per 10 second`."""


class Limiter:
    """Refuses an attempt when any of its names has had too many."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._storage = MemoryStorage(clock)
        self._limiter = MovingWindowRateLimiter(self._storage)

    def check(self, *attempts: tuple[str, str]) -> None:
        """Count one attempt for each (limit, name); TooManyRequests if one has had too many.

        A limit is written as `limits` does: `10 per minute`.  A refused attempt isn't counted.
        """
        items = [(parse(limit), name) for limit, name in attempts]
        for item, name in items:
            if not self._limiter.test(item, name):
                raise TooManyRequests(
                    "too many attempts; wait before the next one",
                    retry_after=self._wait(item, name),
                )
        for item, name in items:
            self._limiter.hit(item, name)

    def forget(self, limit: str, name: str) -> None:
        """Forget a name's attempts, as after one that was right."""
        self._limiter.clear(parse(limit), name)

    def _wait(self, item: RateLimitItem, name: str) -> float:
        reset_at = self._limiter.get_window_stats(item, name).reset_time
        return max(1.0, reset_at - self._clock.monotonic())


class MemoryStorage(Storage, MovingWindowSupport):
    """Keeps the times of the latest attempts of each name, oldest first; of fixed windows only
    how many attempts there were and until when they count.
    """

    STORAGE_SCHEME = ["hanse-memory"]  # noqa: RUF012 - the library declares it so

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()
        # A window that begins goes to the end, so that the oldest are in front.
        self._windows: dict[str, tuple[int, float]] = {}

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        times = self._within(key, expiry)
        if len(times) + amount > limit:
            return False
        times.extend([self._clock.monotonic()] * amount)
        self._attempts[key] = times
        self._attempts.move_to_end(key)
        if len(self._attempts) > _NAMES:
            self._attempts.popitem(last=False)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002 - the library's signature
        times = self._within(key, expiry)
        return (times[0] if times else self._clock.monotonic()), len(times)

    def _within(self, key: str, expiry: int) -> deque[float]:
        times = self._attempts.get(key, deque())
        horizon = self._clock.monotonic() - expiry
        while times and times[0] <= horizon:
            times.popleft()
        return times

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def check(self) -> bool:
        return True

    def clear(self, key: str) -> None:
        self._attempts.pop(key, None)
        self._windows.pop(key, None)

    def reset(self) -> int:
        count = len(self._attempts) + len(self._windows)
        self._attempts.clear()
        self._windows.clear()
        return count

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock.monotonic()
        count, end = self._windows.get(key, (0, 0.0))
        if now < end:
            count += amount
            self._windows[key] = count, end
            return count
        self._windows.pop(key, None)
        self._windows[key] = amount, now + expiry
        if len(self._windows) > _NAMES:
            del self._windows[next(iter(self._windows))]
        return amount

    def get(self, key: str) -> int:
        count, end = self._windows.get(key, (0, 0.0))
        return count if self._clock.monotonic() < end else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends, by the clock; now if there is none."""
        return max(self._windows.get(key, (0, 0.0))[1], self._clock.monotonic())


def origin_of(address: str | None) -> str:
    """Return whom an address stands for: of IPv6 the /64, of which one host has all (RFC 6177).

    An IPv4 address stands for itself, also where it is written as an IPv6 one.
    """
    if address is None or ":" not in address:
        return address or "local"
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    assert isinstance(parsed, IPv6Address), "it has a colon"
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
