"""What a server does for itself, as `hanse status` shows it: its backups, its newest events."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.cli.answers import minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.output import print_table
from shared.clock import Clock

JSON = Mapping[str, Any]


def print_affairs(found: JSON, clock: Clock) -> None:
    """Print what a server says of itself, if it says it: an older one doesn't."""
    print_break_glass(found.get("breakGlass"))
    print_expiring(found.get("expiring") or ())
    print_backups(found.get("backups") or (), clock)
    events = found.get("events") or ()
    if events:
        print()
        rows = [
            (_ago(each["at"], clock), each["severity"], each["type"], each["message"])
            for each in events
        ]
        print_table(["WHEN", "SEVERITY", "EVENT", "WHAT"], rows)


def print_break_glass(found: JSON | None, *, where: str = "here") -> None:
    """Print that an emergency account is open; nothing while it is shut."""
    if found and found.get("openUntil"):
        print()
        until = minute_of(found["openUntil"])
        print(f"BREAK-GLASS: the emergency account {where} is open until {until}")


def print_expiring(found: Sequence[JSON], *, where: str = "here") -> None:
    """Print which certificates expire soon and have no successor; nothing if none does."""
    if found:
        print()
        for each in found:
            print(f"EXPIRES SOON {where}: {each['certificate']} on {each['notAfter']}")


def print_backups(backups: Sequence[JSON], clock: Clock) -> None:
    """Print how backups stand, as the server itself or, in fewer words, the FSM tells it."""
    if not backups:
        return
    rows = []
    for each in backups:
        failing = each.get("code")
        rows.append(
            (
                each["policy"] or "(settings)",
                each.get("state") or ("failing" if failing else "good"),
                _ago(each["succeededAt"], clock),
                each.get("destination") or "",
                each.get("nextAt") or "",
                failing or "",
            )
        )
    print()
    print_table(["BACKUP", "STATE", "LAST GOOD", "DESTINATION", "NEXT", "WHY NOT"], rows)


def _ago(text: Any, clock: Clock) -> str:
    moment = moment_of(text)
    return f"{age_text(moment, clock.now())} ago" if moment else "never"
