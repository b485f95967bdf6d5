"""All sites' conflicts and exceptions, as the FSM knows them: `hanse conflicts list`, `exceptions`.

What a conflict says is shown and decided at its site; here are names, urgency and time.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.cli.answers import moment_of
from shared.cli.columns import age_text
from shared.cli.output import Output, print_data, print_table
from shared.cli.session import Session, print_note, session
from shared.clock import Clock, SystemClock
from shared.ids import COMMON

JSON = Mapping[str, Any]


async def list_sites_conflicts(
    opened: Session,
    form: Output,
    *,
    site: str | None,
    tenant: str | None,
    everything: bool,
    clock: Clock | None = None,
) -> bool:
    """Print all sites' conflicts, the most pressing first; return whether one is open."""
    found = await opened.client.sites_conflicts(site=site, tenant=tenant, settled=everything)
    items = found["items"]
    if form in (Output.JSON, Output.YAML):
        print_data(found, form)
    elif form is Output.NAME:
        for each in items:
            print(f"{each['site']}/{each['name']}")
    else:
        _print_conflicts(items, (clock or SystemClock()).now(), wide=form is Output.WIDE)
        for each in found["sites"]:
            _print_lag(each)
    return any(each["state"] == "open" for each in items)


def _print_conflicts(items: Sequence[JSON], now: datetime, *, wide: bool) -> None:
    if not items:
        print_note("no site tells of a conflict that is open or deferred")
        return
    columns = ["SITE", "NAME", "URGENCY", "STATE", "DUE", "SINCE"]
    columns += ["TYPE", "TARGET"] if wide else []
    rows = []
    for each in items:
        row = [
            each["site"],
            each["name"],
            each.get("urgency", ""),
            state_of(each),
            _due(each, now),
            f"{age_text(moment_of(each.get('since') or each.get('at')), now)} ago",
        ]
        rows.append([*row, each["type"], target_of(each["target"])] if wide else row)
    print_table(columns, rows)


def state_of(each: JSON) -> str:
    """Return how far people are with a conflict, in a word or two."""
    if each["state"] == "resolved":
        return f"settled: {each['how']}"
    return "asked" if each["state"] == "deferred" and each.get("request") else str(each["state"])


def _due(each: JSON, now: datetime) -> str:
    moment = moment_of(each.get("until") if each["state"] == "deferred" else each.get("deadline"))
    if moment is None:
        return ""
    return f"{age_text(moment, now)} late" if moment < now else f"in {age_text(now, moment)}"


def target_of(target: JSON) -> str:
    tenant = target.get("tenant", COMMON)
    named = f"{target['kind']} {target['name']}"
    return named if tenant == COMMON else f"{named} (tenant {tenant})"


def _print_lag(site: JSON) -> None:
    if site["pending"]:
        since = "" if site["asOf"] is None else f" since revision {site['asOf']}"
        print_note(f"{site['site']} has not judged yet what it has taken over{since}")


async def exceptions(
    context: str | None,
    kind: str | None,
    name: str | None,
    form: Output,
    *,
    site: str | None,
    tenant: str | None,
    clock: Clock | None = None,
) -> None:
    """Print which sites make an exception to what, why and until when."""
    async with session(context) as opened:
        opened.require_fsm("hanse exceptions")
        found = await opened.client.sites_exceptions(site=site, kind=kind, name=name, tenant=tenant)
    if form in (Output.JSON, Output.YAML):
        print_data({"items": list(found)}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"{each['site']}/{each['name']}")
    elif found:
        now = (clock or SystemClock()).now()
        rows = [_exception_row(each, now, wide=form is Output.WIDE) for each in found]
        columns = ["OBJECT", "SITE", "EXCEPTION", "UNTIL", "WHY"]
        print_table([*columns, "SCOPE", "TYPE"] if form is Output.WIDE else columns, rows)
    else:
        print_note("no site makes such an exception")


def _exception_row(each: JSON, now: datetime, *, wide: bool) -> list[object]:
    ends = moment_of(each.get("expiresAt"))
    until = "" if ends is None else f"{ends:%Y-%m-%d}" if ends > now else "expired"
    hides = each["type"] == "hides"
    row: list[object] = [
        target_of(each["target"]),
        each["site"],
        each["name"],
        until,
        each.get("reason") or ("its own definition hides the inherited one" if hides else ""),
    ]
    return [*row, each["scope"], each["type"]] if wide else row
