"""`hanse watch`: changes as they happen, until Ctrl-C."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from shared.cli.answers import Change, Object, StatusChange
from shared.cli.applying import place_text
from shared.cli.changes import differences
from shared.cli.output import Output
from shared.cli.session import print_note, session
from shared.errors import HanseError
from shared.ids import Key
from shared.model.documents import dump_yaml


@dataclass(frozen=True, slots=True)
class WatchArguments:
    """What is watched."""

    kinds: Sequence[str]
    tenant: str | None
    labels: str | None
    after: int | None
    status: bool


async def watch(context: str | None, wanted: WatchArguments, form: Output) -> None:
    """Print changes until interrupted; a connection that breaks is made anew."""
    printer = _Printer(form)
    async with session(context) as opened:
        if wanted.status:
            statuses = opened.client.watch_status(
                wanted.kinds, after=wanted.after, tenant=wanted.tenant, on_lost=_lost
            )
            async with aclosing(statuses):
                async for status in statuses:
                    printer.print_status(status)
            return
        commits = opened.client.watch(
            wanted.kinds,
            after=wanted.after,
            tenant=wanted.tenant,
            labels=wanted.labels,
            on_lost=_lost,
        )
        async with aclosing(commits):
            async for commit in commits:
                for change in commit:
                    printer.print_change(change)


def _lost(error: HanseError) -> None:
    print_note(f"{error.message}; trying again")


class _Printer:
    """Prints changes; remembers what it saw, to say what is different."""

    def __init__(self, form: Output) -> None:
        self._form = form
        self._seen: dict[Key, Object] = {}

    def print_change(self, change: Change) -> None:
        if self._form in (Output.JSON, Output.YAML):
            self._print_data(
                {
                    "operation": change.operation,
                    "revision": change.revision,
                    **({"reason": change.reason} if change.reason else {}),
                    "object": change.object.document,
                }
            )
            return
        found = change.object
        self._print_line(change.revision, found, self._words(change), self._what(change))

    def print_status(self, change: StatusChange) -> None:
        if self._form in (Output.JSON, Output.YAML):
            self._print_data({"sequence": change.sequence, "object": change.object.document})
            return
        status = json.dumps(change.object.status, ensure_ascii=False)
        self._print_line(change.sequence, change.object, "status", [status])

    def _words(self, change: Change) -> str:
        if change.operation == "delete":
            return change.reason or "deleted"
        is_new = change.object.generation == 1 and change.object.key not in self._seen
        return "created" if is_new else "changed"

    def _what(self, change: Change) -> Sequence[str]:
        key = change.object.key
        before = self._seen.pop(key, None)
        if change.operation == "delete":
            return ()
        self._seen[key] = change.object
        return [str(each) for each in differences(before, change.object)] if before else ()

    def _print_line(self, position: int, found: Object, word: str, what: Iterable[str]) -> None:
        name = f"{found.kind.lower()}/{found.name}"
        if self._form is Output.NAME:
            _out(name)
            return
        _out(f"{position:>8}  {name}{place_text(found)} {word}")
        for each in what:
            _out(f"{'':>10}{each}")

    def _print_data(self, data: dict[str, Any]) -> None:
        if self._form is Output.JSON:
            _out(json.dumps(data, ensure_ascii=False))
        else:
            _out(f"---\n{dump_yaml(data)}".rstrip("\n"))


def _out(text: str) -> None:
    print(text)
    # Whoever reads a pipe wants each change when it happens.
    sys.stdout.flush()
