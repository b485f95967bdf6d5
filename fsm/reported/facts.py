"""What sites have reported of their conflicts and exceptions, as far as somebody sees it.  Pure.

Both belong to a site, and their labels stay there: they are seen by tenant, that of their own and
that of what they are about.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.access.reach import Reach
from shared.ids import SITE, Key
from shared.model.override import URGENCIES

JSON = Mapping[str, Any]

STATES: Final = ("open", "deferred", "resolved")


@dataclass(frozen=True, slots=True)
class Told:
    """A site's conflicts as it last told of them.

    `as_of` is the FSM's revision that they are of, None if it has judged none yet; `pending`: it
    has taken over more since, and has not said what comes of that.
    """

    as_of: int | None
    pending: bool
    unsettled: Sequence[JSON]
    settled: Sequence[JSON]

    def counts(self) -> dict[str, Any]:
        """Return how many there are, as a site's status has it."""
        opened = [each for each in self.unsettled if each["state"] == "open"]
        return {
            "asOf": self.as_of,
            "pending": self.pending,
            "open": len(opened),
            "immediate": sum(each["urgency"] == "immediate" for each in opened),
            "deferred": len(self.unsettled) - len(opened),
        }


def conflicts_in(report: JSON | None, reach: Reach) -> Told | None:
    """Return a site's conflicts that may be seen; None if the site doesn't tell of any."""
    said = (report or {}).get("conflicts")
    if not said:
        return None
    return Told(
        as_of=said["judged"],
        pending=bool(said.get("pending")),
        unsettled=[dict(each) for each in said["unsettled"] if _sees(reach, "Conflict", each)],
        settled=[dict(each) for each in said["settled"] if _sees(reach, "Conflict", each)],
    )


def exceptions_in(report: JSON | None, reach: Reach) -> list[JSON]:
    """Return a site's exceptions that may be seen."""
    said = (report or {}).get("exceptions") or ()
    return [dict(each) for each in said if _sees(reach, "Override", each)]


def rows_of(site: str, told: Told, *, settled: bool) -> Iterator[dict[str, Any]]:
    """Yield a site's conflicts as `GET /api/v1/conflicts` of an FSM lists them."""
    for each in told.unsettled:
        yield {"site": site, **each}
    for each in told.settled if settled else ():
        yield {"site": site, **each, "state": "resolved"}


def rank(row: JSON) -> tuple[Any, ...]:
    """Return where a conflict comes in a list: the most pressing first, settled ones newest."""
    state = STATES.index(row["state"])
    urgency = URGENCIES.index(row.get("urgency", "normal"))
    deadline = row.get("deadline") or ""
    place = row["site"], row["tenant"], row["name"]
    if row["state"] == "resolved":
        return (state, tuple(-ord(each) for each in str(row["at"])), 0, "", place)
    return (state, (), urgency, (not deadline, deadline), place)


def _sees(reach: Reach, kind: str, said: JSON) -> bool:
    return all(
        reach.sees(Key(kind, tenant, said.get("scope", SITE), said["name"]), None)
        for tenant in (said["tenant"], said["target"]["tenant"])
    )
