"""How a site stands to its FSM, as `hanse status` says it."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.cli.answers import minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.output import console, print_table
from shared.clock import Clock
from shared.ids import COMMON

JSON = Mapping[str, Any]


def print_upstream(site: str, upstream: JSON, clock: Clock) -> None:
    """Print whether a site is connected, on which revision, how old, and what changed since."""
    _print(f"Site {site}: {_link(upstream, clock)}{_revision(upstream, clock)}")
    ahead = (upstream.get("confirmed") or {}).get("clockAhead")
    if ahead:
        which = "ahead of" if ahead > 0 else "behind"
        _print(f"The FSM's clock is {abs(ahead):.0f} s {which} this site's: look at both.")
    if pause := upstream.get("paused"):
        since, by, reason = minute_of(pause["since"]), pause["by"], pause["reason"]
        _print(f"Paused at the FSM since {since} by {by}: {reason}")
        _print("No change of policy comes until it is resumed there.")
    if "changedSince" in upstream:
        _print_changes(upstream["changedSince"], int(upstream["changes"]))


def _link(upstream: JSON, clock: Clock) -> str:
    if upstream["connected"]:
        return "connected to the FSM"
    if detached := upstream.get("detached"):
        until = moment_of(detached["until"])
        assert until is not None
        by, reason = detached["by"], detached["reason"]
        return f"detached from the FSM until {minute_of(until)}, by {by}: {reason}"
    link = "not connected to the FSM"
    if upstream.get("error"):
        link += f" ({upstream['error']})"
    heard = moment_of(upstream.get("cutOffSince") or upstream.get("heardAt"))
    return link + (f", last heard {age_text(heard, clock.now())} ago" if heard else "")


def _revision(upstream: JSON, clock: Clock) -> str:
    revision = (upstream.get("position") or {}).get("revision")
    if revision is None:
        return ""
    text = f"; the FSM's revision {revision}"
    confirmed = upstream.get("confirmed")
    # Cut off, it is said already when the FSM was last heard.
    heard = moment_of(confirmed["heardAt"]) if confirmed and upstream["connected"] else None
    return text + (f", its latest {age_text(heard, clock.now())} ago" if heard else "")


def _print_changes(changes: Sequence[JSON], count: int) -> None:
    if not count:
        _print("Nothing was changed here since.")
        return
    rows = [
        [each["kind"], each["name"], each["tenant"], each["scope"], each["what"], each["revision"]]
        for each in changes
    ]
    columns = ["KIND", "NAME", "TENANT", "SCOPE", "WHAT", "REVISION"]
    if all(each["tenant"] == COMMON for each in changes):
        columns.remove("TENANT")
        rows = [[*row[:2], *row[3:]] for row in rows]
    print()
    print_table(columns, rows, title="Changed here since")
    if count > len(changes):
        _print(f"and {count - len(changes)} more")


def _print(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
