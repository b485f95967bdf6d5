"""How the emergency account of a server stands, and whether it may open.  Pure, but for reading."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from shared.auth.providers.contract import ProviderName
from shared.login.providers import EXTERNAL
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import Snapshot, Transaction

ACCOUNTS: Final = "accounts"
SPACE: Final = "break-glass"
STATE: Final = "state"

Answer = Literal["vouched", "refused", "unreachable"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one provider said; `reason` is for those who may read the policy."""

    provider: ProviderName
    answer: Answer
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glass:
    """How the emergency account stands.

    `sealed_at` is None as long as it is an ordinary local account.  `secret` names the file that
    holds its secret, if one was made here.
    """

    account: str
    sealed_at: datetime | None = None
    opened_at: datetime | None = None
    open_until: datetime | None = None
    opened_by: Literal["login", "console"] | None = None
    despite_policy: bool = False
    secret: str | None = None

    def is_open(self, now: datetime) -> bool:
        return self.open_until is not None and now < self.open_until

    def state(self, now: datetime) -> Literal["first", "sealed", "open"]:
        if self.is_open(now):
            return "open"
        return "first" if self.sealed_at is None and self.open_until is None else "sealed"

    def to_record(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "sealedAt": text_of(self.sealed_at),
            "openedAt": text_of(self.opened_at),
            "openUntil": text_of(self.open_until),
            "openedBy": self.opened_by,
            "despitePolicy": self.despite_policy,
            "secret": self.secret,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Glass":
        return cls(
            account=record["account"],
            sealed_at=moment_of(record.get("sealedAt")),
            opened_at=moment_of(record.get("openedAt")),
            open_until=moment_of(record.get("openUntil")),
            opened_by=record.get("openedBy"),
            despite_policy=bool(record.get("despitePolicy", False)),
            secret=record.get("secret"),
        )


def may_open(
    glass: Glass, policy: AuthenticationPolicy, asked: Sequence[Asked], now: datetime
) -> bool:
    """Return whether the right secret lets somebody in now.  Pure; says nothing of any name.

    Without external providers nobody outside could be asked, and it may open, too: otherwise a
    policy that forbids local users and names nobody else would lock everybody out.
    """
    by_console = glass.opened_by == "console" and glass.is_open(now)
    if policy.break_glass == "forbidden" and not (by_console and glass.despite_policy):
        return False
    if by_console:
        return True
    return all(each.answer == "unreachable" for each in asked if each.provider in EXTERNAL)


def may_go_on(glass: Glass, policy: AuthenticationPolicy, now: datetime) -> bool:
    """Return whether those who are in by the account may stay.  Pure."""
    return glass.is_open(now) and (policy.break_glass != "forbidden" or glass.despite_policy)


async def glass_in(snapshot: Snapshot | Transaction) -> Glass | None:
    """Return how the emergency account stands; None if the server has none."""
    record = await snapshot.record(SPACE, STATE)
    return Glass.from_record(record) if record else None


async def designate(transaction: Transaction, account: str) -> None:
    """Make an account the server's emergency account, unless it has one already."""
    if await transaction.record(SPACE, STATE) is None:
        await transaction.put_record(SPACE, STATE, Glass(account=account).to_record())


def answer_of(glass: Glass | None, now: datetime) -> dict[str, Any] | None:
    """Return what status tells of it."""
    if glass is None:
        return None
    is_open = glass.is_open(now)
    return {
        "account": glass.account,
        "state": glass.state(now),
        "openedAt": text_of(glass.opened_at) if is_open else None,
        "openUntil": text_of(glass.open_until) if is_open else None,
        "openedBy": glass.opened_by if is_open else None,
    }


def upward_of(glass: Glass | None, now: datetime) -> dict[str, Any] | None:
    """Return what the FSM is told of a site's account: only that it is open."""
    if glass is None or not glass.is_open(now):
        return None
    return {"openedAt": text_of(glass.opened_at), "openUntil": text_of(glass.open_until)}


def text_of(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def moment_of(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
