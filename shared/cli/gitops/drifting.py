"""`hanse drift`: where a server and a repository have parted, and who did it, when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from shared.cli.answers import Change, Object
from shared.cli.changes import differences
from shared.cli.client import Client
from shared.cli.gitops import markdown as md
from shared.cli.gitops.comparing import Owning, compare
from shared.cli.gitops.ownership import (
    applied_to,
    fingerprint,
    is_as_applied,
    normal,
    owner_of,
)
from shared.cli.gitops.plan import Action, Plan, Step
from shared.cli.gitops.summaries import drift_summary
from shared.cli.output import Output, print_data, print_table
from shared.cli.session import print_note, session
from shared.errors import Forbidden, NotFound
from shared.ids import Key
from shared.model.documents import to_plain

# A table or comment names the fields of a change up to so many.
_MOST_FIELDS: Final = 20
# Who wrote an object last is two questions to the server.
_MOST_ASKED: Final = 200


class Drift(StrEnum):
    """How an object differs, by what was last applied."""

    CHANGED = "changed on the server"
    NOT_APPLIED = "not applied yet"
    BOTH = "changed on the server and in the repository"
    MISSING = "not on the server"
    DELETED = "deleted on the server"
    EXTRA = "no longer in the repository"
    UNOWNED = "not owned"
    FOREIGN = "owned by another manifest"


@dataclass(frozen=True, slots=True)
class Drifted:
    """One object that differs; who and when only if the server told."""

    key: Key
    what: Drift
    place: str | None
    fields: Sequence[str]
    by: str | None = None
    at: datetime | None = None
    revision: int | None = None

    def row(self) -> list[str]:
        return [
            f"{self.key.kind.lower()}/{self.key.name}",
            self.what.value,
            self.by or "",
            f"{self.at:%Y-%m-%d %H:%M:%S}" if self.at else "",
            "\n".join(self.fields),
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            **self.key._asdict(),
            "drift": self.what.name.lower(),
            "text": self.what.value,
            "place": self.place,
            "by": self.by,
            "at": None if self.at is None else self.at.isoformat(),
            "revision": self.revision,
            "fields": [*self.fields],
        }


async def show_drift(
    context: str | None,
    files: Sequence[str],
    manifest: str | None,
    *,
    markdown: Path | None,
    form: Output,
) -> bool:
    """Print every object that differs; return whether any does."""
    async with session(context) as opened:
        plan = await compare(opened, files, Owning(manifest))
        drifted = _drifted(plan)
        found = [await _told(opened.client, each) for each in drifted[:_MOST_ASKED]]
        if len(drifted) > _MOST_ASKED:
            print_note(f"who changed them is told of the first {_MOST_ASKED} only")
            found += drifted[_MOST_ASKED:]
        server = opened.context.name
    name = "" if plan.manifest is None else plan.manifest.manifest
    if markdown is not None:
        md.write(markdown, drift_summary([each.row() for each in found], name, server))
    if form in (Output.JSON, Output.YAML):
        print_data({"manifest": name, "drift": [each.to_json() for each in found]}, form)
    elif form is Output.NAME:
        for each in found:
            print(each.row()[0])
    elif found:
        print_table(
            ("OBJECT", "DRIFT", "WHO", "WHEN (UTC)", "WHAT"), [each.row() for each in found]
        )
    else:
        print(f"No drift: {len(plan.steps)} objects are as the repository has them.")
    return bool(found)


def _drifted(plan: Plan) -> list[Drifted]:
    return [
        Drifted(
            step.key,
            _kind_of(step),
            None if step.document is None else step.place,
            _fields(step),
            at=None if step.live is None else step.live.updated_at,
            revision=None if step.live is None else step.live.revision,
        )
        for step in plan.differences
    ]


def _kind_of(step: Step) -> Drift:
    if step.action is Action.CREATE or step.live is None:
        return Drift.MISSING
    if step.action in (Action.PRUNE, Action.RELEASE):
        return Drift.EXTRA
    if step.action is Action.ADOPT:
        return Drift.UNOWNED
    if step.action is Action.TAKE_OVER:
        return Drift.FOREIGN
    if is_as_applied(step.live):
        return Drift.NOT_APPLIED
    # What was applied is known by its digest only, which tells whether the repository moved too.
    assert step.document is not None, "what is there and in no repository was answered above"
    ours = fingerprint(to_plain(step.document.envelope), step.key)
    return Drift.CHANGED if ours == applied_to(step.live) else Drift.BOTH


def _fields(step: Step) -> list[str]:
    live = step.live
    if live is None or step.document is None:
        owner = None if live is None else owner_of(live)
        return [] if owner is None else [f"owned by {owner}"]
    theirs = Object(_compared(live.as_written(), step.key))
    ours = Object(_compared(to_plain(step.document.envelope), step.key))
    found = [str(each) for each in differences(ours, theirs)]
    if step.action is Action.TAKE_OVER:
        found.insert(0, f"owned by {owner_of(live)}")
    if len(found) > _MOST_FIELDS:
        found[_MOST_FIELDS:] = [f"and {len(found) - _MOST_FIELDS} more fields"]
    return found


def _compared(document: dict[str, Any], key: Key) -> dict[str, Any]:
    parts = normal(document, key)
    metadata = {"name": key.name, "labels": parts["labels"], "annotations": parts["annotations"]}
    return {"kind": key.kind, "metadata": metadata, "spec": parts["spec"] or {}}


async def _told(client: Client, drifted: Drifted) -> Drifted:
    """Add who last wrote the object, when, and whether it was deleted rather than never there."""
    key = drifted.key
    last: Change | None = None
    try:
        async for each in client.history(
            key.kind, key.name, tenant=key.tenant, scope=key.scope, limit=1
        ):
            last = each
    except NotFound:
        last = None
    if last is None:
        return drifted
    what = drifted.what
    if what is Drift.MISSING and last.operation == "delete":
        what = Drift.DELETED
    by, at = await _who(client, key, last.revision)
    return Drifted(key, what, drifted.place, drifted.fields, by, at or drifted.at, last.revision)


async def _who(client: Client, key: Key, revision: int) -> tuple[str | None, datetime | None]:
    trail = client.audit(
        kind=key.kind, name=key.name, tenant=key.tenant, scope=key.scope, limit=100
    )
    try:
        async for each in trail:
            if each.revision == revision:
                return each.identity, each.at
            if each.revision is not None and each.revision < revision:
                break
    except Forbidden:
        return None, None
    return None, None
