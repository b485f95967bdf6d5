"""By when conflicts are to be decided, and when people are reminded of it.  Pure.

A deadline is set when a conflict is opened and kept when it changes; only if it becomes more
urgent does the sooner of both count.  People are told twice: when half of the time is over, and
when all of it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import Field

from shared.settings import Settings

Due = Literal["half", "overdue"]

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR


class ConflictSettings(Settings):
    """How long people have to decide a conflict, by its urgency; in seconds."""

    immediate: float = Field(4 * _HOUR, gt=0, description="What counts against somebody now.")
    normal: float = Field(7 * _DAY, gt=0, description="Neither of the others.")
    deferrable: float = Field(30 * _DAY, gt=0, description="What holds nothing up.")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The site's spans, by urgency."""

    settings: ConflictSettings

    def of_new(self, urgency: str, now: datetime) -> dict[str, str]:
        """Return the fields of a conflict that is opened now."""
        return {"since": now.isoformat(), "deadline": self._after(urgency, now).isoformat()}

    def of_known(self, before: Mapping[str, Any], urgency: str, now: datetime) -> dict[str, str]:
        """Return the fields of a conflict that stays open, and may be of another urgency now."""
        if "deadline" not in before or "since" not in before:
            return self.of_new(urgency, now)
        kept = {"since": before["since"], "deadline": before["deadline"]}
        if urgency != before.get("urgency", "normal"):
            sooner = min(moment(before["deadline"]), self._after(urgency, now))
            kept["deadline"] = sooner.isoformat()
        return kept

    def _after(self, urgency: str, now: datetime) -> datetime:
        span: float = getattr(self.settings, urgency)
        return (now + timedelta(seconds=span)).replace(microsecond=0)


def due(spec: Mapping[str, Any], now: datetime) -> Due | None:
    """Return what a conflict's people are to be told of its deadline by now.

    Nothing as long as it is put off, and of one that is settled.
    """
    if spec.get("state", "open") != "open" or "deadline" not in spec:
        return None
    deadline = moment(spec["deadline"])
    if deadline <= now:
        return "overdue"
    since = moment(spec["since"])
    return "half" if since + (deadline - since) / 2 <= now else None


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
