"""`hanse compare`: what a site allows and denies in one repository and not in another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from shared.cli.asking import moment, sound_site
from shared.cli.observed import COLUMNS, KINDS, dependent_rows, heading, rows, window
from shared.cli.output import Plain, console, print_data, print_table
from shared.cli.repository import Repository
from shared.errors import HanseError, Invalid
from shared.login.people import span_of
from shared.policy.compile import SitePlanner
from shared.policy.impact.site import site_impact
from shared.telemetry.recorded import FlowFile

_DURATION: Final = re.compile(r"[1-9][0-9]*[smhd]")

# Services of one pair of addresses that a person still reads.
_MANY: Final = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is asked; `flows` is a file of observed flows, `since` how far back of them."""

    site: str
    node: str | None
    staged: bool
    max_boxes: int
    flows: Path | None = None
    since: str | None = None


def run_compare(
    before: Path, after: Path, asked: Comparison, *, at: str | None, form: Plain
) -> int:
    """Print the impact; return 1 if any view of the site changes, else 0."""
    # One moment for both: an override must not expire between them.
    now = moment(at)
    observed = None
    if asked.flows is not None:
        begin = None if asked.since is None else moment_ago(asked.since, now)
        observed = FlowFile(asked.flows).since(begin)
    (_, old), (repository, new) = (_opened(repo, asked, at=now) for repo in (before, after))
    impact = site_impact(
        old,
        new,
        node=asked.node,
        staged=asked.staged,
        observed=observed,
        tests=repository.tests,
    )
    answer = impact.to_json(max_boxes=asked.max_boxes)
    if form is Plain.TABLE:
        _print(answer, changes=impact.changes)
    else:
        print_data(answer, form)
    return int(impact.changes)


def moment_ago(text: str, now: datetime) -> datetime:
    """Return a time, or how far before now it is; Invalid if it is neither."""
    if not _DURATION.fullmatch(text):
        return moment(text)
    try:
        return now - span_of(text)
    except OverflowError as exc:
        raise Invalid(f"{text} is too long") from exc


def _opened(repo: Path, asked: Comparison, *, at: datetime) -> tuple[Repository, SitePlanner]:
    """Return a repository that has the site and the node, and its planner; an error names it."""
    try:
        repository, planner = sound_site(repo, asked.site, at=at)
        planner.chain(asked.node)
    except HanseError as exc:
        raise type(exc)(f"{repo}: {exc.message}", code=exc.code, fields=exc.fields) from exc
    return repository, planner


def _print(answer: dict[str, Any], *, changes: bool) -> None:
    to = console()
    place = f"site {answer['site']}" + (f", node {answer['node']}" if answer["node"] else "")
    if not changes:
        to.print(f"Nothing changes at site {answer['site']} or its nodes.", markup=False)
    else:
        _print_packets(f"Newly allowed at {place}", answer["newlyAllowed"])
        _print_packets(f"Newly denied at {place}", answer["newlyDenied"])
        for key in ("networks", "workloads", "nodes"):
            touched = ", ".join(answer[key]) or "none"
            to.print(f"{key.capitalize()} touched: {touched}.", markup=False)
    _print_dependents(answer)
    if answer["flows"] is not None:
        _print_flows(answer["flows"])


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


def _print_dependents(answer: dict[str, Any]) -> None:
    if not answer["dependents"]:
        return
    to = console()
    to.print("")
    to.print("Depending on what changes:", markup=False)
    print_table(["OBJECT", "BY WAY OF"], dependent_rows(answer["dependents"]))
    if answer["moreDependents"]:
        to.print(f"and {answer['moreDependents']:,} more")


def _print_flows(found: dict[str, Any]) -> None:
    to = console()
    to.print("")
    to.print(f"Of {window(found)}:", markup=False)
    for word, kind in KINDS:
        part = found[kind]
        title = "Newly allowed" if word == "allow" else "Newly denied"
        if not part["flows"]:
            to.print(f"{title}: none.", markup=False)
            continue
        to.print(f"{title}: {heading(part)}", markup=False)
        print_table(COLUMNS, rows(part))
        if part["truncated"]:
            to.print("and more than these")


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
