"""How many calls of a kind an address, a person or a component may make.

Three guards, at what is a multiple of any ordinary use: the address before anybody is
authenticated, then who it proved to be.  A connection that shows a component's certificate counts
as that component from the start, not by its address: a site's nodes may stand behind one.

The windows are those of the library `limits`, fixed and short: a call costs one look-up in our own
storage for each guard, with a key that begins as the library makes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from limits import RateLimitItem, parse
from pydantic import Field

from shared.auth.guessing import PasswordRates
from shared.auth.identity import Caller, CallerKind
from shared.auth.limiter import MemoryStorage, Rate
from shared.clock import Clock
from shared.errors import TooManyRequests
from shared.settings import Settings


class CallKind(StrEnum):
    """What a call costs, in a word."""

    READS = "reads"
    WRITES = "writes"
    STREAMS = "streams"
    QUERIES = "queries"
    LOGINS = "logins"
    """Whatever somebody sends before he is known: passwords, tokens to join with."""
    FREE = "free"
    """Never counted: a probe must be answered also behind a gateway that floods us."""


class Quotas(Settings):
    """Calls in a window, written as `600 per minute`, `50 per 10 second`."""

    reads: Rate = Field("60000 per minute", description="GET of objects, status and so on.")
    writes: Rate = Field("30000 per minute", description="Whatever changes something.")
    streams: Rate = Field("6000 per minute", description="Streams begun: watches, feeds.")
    queries: Rate = Field("12000 per minute", description="What is worked out: traces, rules.")
    logins: Rate = Field("600 per minute", description="Logins, renewals, and attempts to join.")


class AddressQuotas(Quotas):
    reads: Rate = Field("240000 per minute", description=Quotas.model_fields["reads"].description)
    writes: Rate = Field("60000 per minute", description=Quotas.model_fields["writes"].description)
    streams: Rate = Field(
        "12000 per minute", description=Quotas.model_fields["streams"].description
    )
    queries: Rate = Field(
        "24000 per minute", description=Quotas.model_fields["queries"].description
    )


class RateSettings(Settings):
    """How many calls are taken; what is more is answered with 429 and Retry-After."""

    address: AddressQuotas = Field(
        default_factory=AddressQuotas,
        description="For each address (of IPv6 each /64) of those without a certificate.",
    )
    user: Quotas = Field(default_factory=Quotas, description="For each person and service account.")
    component: Quotas = Field(
        default_factory=Quotas, description="For each site, node or FSM, by its certificate."
    )
    passwords: PasswordRates = Field(
        default_factory=PasswordRates, description="How often passwords may be tried."
    )


@dataclass(frozen=True, slots=True)
class _Window:
    """One limit as the request path needs it."""

    item: RateLimitItem
    prefix: str
    most: int
    seconds: int

    @classmethod
    def of(cls, text: str, guard: str, kind: CallKind) -> "_Window":
        item = parse(text)
        prefix = f"{item.key_for(guard, kind.value)}/"
        return cls(item, prefix, item.amount, item.get_expiry())


class Rates:
    """Counts the calls of one server."""

    def __init__(
        self, settings: RateSettings, *, clock: Clock, refused: Callable[[str, str], None]
    ) -> None:
        """`refused` is told the guard and the kind of each call that is too many."""
        self._clock = clock
        self._refused = refused
        self._storage = MemoryStorage(clock)
        self._address = _windows(settings.address, "address")
        self._user = _windows(settings.user, "user")
        self._component = _windows(settings.component, "component")

    def check_address(self, origin: str, kind: CallKind) -> None:
        """Count a call from an address; TooManyRequests if it is one too many."""
        window = self._address.get(kind)
        if window is not None:
            self._count(window, origin, "address", kind)

    def check_caller(self, caller: Caller, kind: CallKind) -> None:
        """Count a call of somebody known; TooManyRequests."""
        if caller.kind is CallerKind.COMPONENT:
            guard, window = "component", self._component.get(kind)
        else:
            guard, window = "user", self._user.get(kind)
        if window is not None:
            self._count(window, caller.identity, guard, kind)

    def _count(self, window: _Window, name: str, guard: str, kind: CallKind) -> None:
        key = window.prefix + name
        # What FixedWindowRateLimiter.hit() does, without making the key anew each time.
        if self._storage.incr(key, window.seconds) <= window.most:
            return
        self._refused(guard, kind.value)
        wait = max(1.0, self._storage.get_expiry(key) - self._clock.monotonic())
        raise TooManyRequests(
            f"too many {kind.value}: at most {window.item} are taken for each {guard}; wait "
            f"{wait:.0f} s",
            code="rate_limited",
            retry_after=wait,
        )


UNLIMITED: Final = RateSettings.model_validate(
    {
        guard: {kind.value: "1000000000 per second" for kind in CallKind if kind != "free"}
        for guard in ("address", "user", "component")
    }
)
"""For measurements of what the server can do."""


def _windows(quotas: Quotas, guard: str) -> dict[CallKind, _Window]:
    return {
        kind: _Window.of(getattr(quotas, kind.value), guard, kind)
        for kind in CallKind
        if kind is not CallKind.FREE
    }
