"""`hanse compare`: what a site allows and denies in one repository and not in another."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from shared.cli.asking import moment, sound_site
from shared.cli.output import Plain, console, print_data, print_table
from shared.errors import HanseError
from shared.policy.compile import SitePlanner
from shared.policy.impact.site import site_impact

# Services of one pair of addresses that a person still reads.
_MANY: Final = 8


def run_compare(
    before: Path,
    after: Path,
    *,
    site: str,
    node: str | None,
    max_boxes: int,
    staged: bool,
    at: str | None,
    form: Plain,
) -> int:
    """Print the impact; return 1 if any view of the site changes, else 0."""
    # One moment for both: an override must not expire between them.
    now = moment(at)
    old, new = (_planner(repo, site, node, at=now) for repo in (before, after))
    impact = site_impact(old, new, node=node, staged=staged)
    answer = impact.to_json(max_boxes=max_boxes)
    if form is Plain.TABLE:
        _print(answer, changes=impact.changes)
    else:
        print_data(answer, form)
    return int(impact.changes)


def _planner(repo: Path, site: str, node: str | None, *, at: datetime) -> SitePlanner:
    """Return the planner of a repository that has the site and the node; an error names it."""
    try:
        _, planner = sound_site(repo, site, at=at)
        planner.chain(node)
    except HanseError as exc:
        raise type(exc)(f"{repo}: {exc.message}", code=exc.code, fields=exc.fields) from exc
    return planner


def _print(answer: dict[str, Any], *, changes: bool) -> None:
    to = console()
    place = f"site {answer['site']}" + (f", node {answer['node']}" if answer["node"] else "")
    if not changes:
        to.print(f"Nothing changes at site {answer['site']} or its nodes.", markup=False)
        return
    for title, part in (
        ("Newly allowed", answer["newlyAllowed"]),
        ("Newly denied", answer["newlyDenied"]),
    ):
        _print_packets(f"{title} at {place}", part)
    for title, key in (("Networks", "networks"), ("Workloads", "workloads"), ("Nodes", "nodes")):
        to.print(f"{title} touched: {', '.join(answer[key]) or 'none'}.", markup=False)


def _print_packets(title: str, part: dict[str, Any]) -> None:
    to = console()
    count = int(part["packets"])
    if not count:
        to.print(f"{title}: nothing.", markup=False)
        to.print("")
        return
    to.print(f"{title}: {count:,} packets, such as {_example(part['example'])}", markup=False)
    rows = [
        (source, destination, _services(list(boxes)))
        for (source, destination), boxes in groupby(
            part["boxes"], key=lambda each: (each["from"], each["to"])
        )
    ]
    print_table(["FROM", "TO", "SERVICES"], rows)
    if part["truncated"]:
        to.print(f"and more than these {len(part['boxes'])} boxes; --max-boxes shows more")
    to.print("")


def _example(packet: dict[str, Any]) -> str:
    text = f"{packet['from']} to {packet['to']}, {packet['protocol']}"
    if "port" in packet:
        text += f" port {packet['port']} from port {packet['sourcePort']}"
    return text


def _services(boxes: Sequence[dict[str, Any]]) -> str:
    texts = [_service(each) for each in boxes]
    if len(texts) <= _MANY:
        return ", ".join(texts)
    return f"{', '.join(texts[:_MANY])} and {len(texts) - _MANY} more"


def _service(box: dict[str, Any]) -> str:
    text = str(box["protocol"])
    if box["ports"] != "any":
        text += f"/{box['ports']}"
    if box["sourcePorts"] != "any":
        text += f" from port {box['sourcePorts']}"
    return text
