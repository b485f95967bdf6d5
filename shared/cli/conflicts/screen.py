"""Conflicts on a screen: a list of them, and one with its versions side by side.

Nothing is wider than the screen but the commands, which are there to be copied.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shared.cli.answers import minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.conflicts.case import Case
from shared.cli.conflicts.sides import Row, changes, rows
from shared.cli.conflicts.telling import effect, impact, meanwhile, packet, question, remedy, what
from shared.model.documents import dump_line
from shared.policy.merging import exempted

_INDENT: Final = 2
_GAP: Final = 2
_NARROWEST: Final = 12

# Changes of a proposal that a person still reads.
_MANY: Final = 12

# Characters of a field that a person still reads.
_LONG: Final = 700

_CHANGED: Final = {
    "both": "changed on both sides",
    "alike": "changed on both sides, alike",
    "local": "changed here",
    "global": "changed upstream",
}
_STYLES: Final = {"immediate": "bold red", "both": "bold red", "deferrable": "dim"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where it is shown, when, and with what options commands reach the same server again."""

    to: Console
    now: datetime
    options: Sequence[str] = ()

    def command(self, *words: str) -> str:
        """Return a command of `hanse conflicts` as one types it."""
        return shlex.join(["hanse", "conflicts", *words, *self.options])

    def command_line(self, *words: str) -> None:
        """Show a command of `hanse` as one types it."""
        self.show(Text(f"    {shlex.join(['hanse', *words, *self.options])}"), soft_wrap=True)

    def text(self, text: str) -> None:
        self.show(Text(text))

    def show(self, *parts: RenderableType, soft_wrap: bool = False) -> None:
        if self.to.is_terminal:
            self.to.print(*parts, soft_wrap=soft_wrap)
            return
        with self.to.capture() as captured:
            self.to.print(*parts, soft_wrap=soft_wrap)
        # What fills a line up to the width means nothing in a file.
        for line in captured.get().splitlines():
            print(line.rstrip(), file=self.to.file)


def show_list(cases: Sequence[Case], screen: Screen, *, wide: bool) -> None:
    """Show conflicts, a line each."""
    table = Table(box=None, pad_edge=False)
    columns = ["NAME", "ABOUT", "URGENCY", "STATE", "DUE"]
    columns += ["TYPE", "TARGET", "DEADLINE", "FOUND"] if wide else []
    for each in columns:
        # A name is there to be copied.
        table.add_column(each, overflow="fold", header_style="bold", no_wrap=each == "NAME")
    for case in cases:
        cells = [case.name, case.about, case.urgency, _state(case), _due(case, screen.now)]
        if wide:
            found = age_text(case.found.created_at, screen.now)
            cells += [case.type, case.target, minute_of(case.deadline), f"{found} ago"]
        style = _STYLES.get(case.urgency, "") if case.state == "open" else ""
        table.add_row(*(Text(cell) for cell in cells), style=style)
    screen.show(table)


def show_case(case: Case, screen: Screen) -> None:
    """Show one conflict: what it is, what counts meanwhile, the versions, and how to decide."""
    style = _STYLES.get(case.urgency, "") if case.state == "open" else ""
    screen.show(Text.assemble((case.name, "bold"), ": ", (_standing(case, screen.now), style)))
    screen.show()
    for sentence in _story(case):
        screen.show(Text(sentence))
    if case.versions:
        screen.show()
        show_versions(case.versions, screen)
    if case.state != "resolved":
        screen.show()
        _show_ways_out(case, screen)
    elif case.found.spec.get("decision"):
        screen.show()
        screen.show(Text("To take the decision back, until it is superseded:", style="bold"))
        command = screen.command("undo", case.name, "--reason", "WHY")
        screen.show(Text(f"    {command}"), soft_wrap=True)


def show_choice(case: Case, proposal: str, screen: Screen) -> None:
    """Show what choosing a proposal would do."""
    screen.show(Text(what(case)))
    _show_proposal(case, proposal, screen)


def _story(case: Case) -> Iterator[str]:
    yield what(case)
    if case.state != "resolved" and (counts := meanwhile(case)):
        yield counts
    if reason := case.facts.get("reason"):
        yield f"The override's reason: {dump_line(reason)}"
    if example := packet(case.facts.get("example")):
        yield f"Such a packet: {example}"
    spec = case.found.spec
    if closed := spec.get("closed"):
        yield f"It closed itself at {minute_of(closed.get('at'))}: {closed.get('why')}."
    if decision := spec.get("decision"):
        yield (
            f"{decision.get('by')} chose {decision.get('proposal')} at "
            f"{minute_of(decision.get('at'))}: {dump_line(decision.get('reason'))}"
        )
    if undone := spec.get("undone"):
        yield (
            f"{undone.get('by')} took {undone.get('proposal')} back at "
            f"{minute_of(undone.get('at'))}: {dump_line(undone.get('reason'))}"
        )
    if deferred := spec.get("deferred"):
        yield (
            f"{deferred.get('by')} put it off until {minute_of(deferred.get('until'))}: "
            f"{dump_line(deferred.get('reason'))}"
        )
    yield from question(case)


def _standing(case: Case, now: datetime) -> str:
    words = [_state(case), case.urgency]
    if case.state != "resolved" and case.deadline is not None:
        words.append(f"to be decided by {minute_of(case.deadline)} ({_until(case.deadline, now)})")
    return ", ".join(words)


def _state(case: Case) -> str:
    return "asked" if case.is_waiting else case.state


def _due(case: Case, now: datetime) -> str:
    moment = case.deferred_until if case.state == "deferred" else case.deadline
    return "" if moment is None or case.state == "resolved" else _until(moment, now)


def _until(moment: datetime, now: datetime) -> str:
    if moment < now:
        return f"{age_text(moment, now)} late"
    return f"in {age_text(now, moment)}"


def show_versions(
    versions: Mapping[str, Mapping[str, Any]],
    screen: Screen,
    *,
    titles: Mapping[str, str] | None = None,
    words: Mapping[str, str] = _CHANGED,
) -> None:
    """Show the fields in which versions differ, side by side.

    `titles` name the sides, `words` say who changed a field; both have those of conflicts.
    """
    sides = list(versions)
    found = rows(versions)
    if not found:
        screen.show(Text("The versions say the same."))
        return
    heads = [(titles or {}).get(each, each.upper()) for each in sides]
    width = _width_of(heads, found, screen.to.width)
    screen.show(_line([(each,) for each in heads], width, style="bold"))
    for row in found:
        told = words.get(row.changed)
        screen.show(
            Text.assemble(
                (row.path if row.path != "rules" else "rules (order)", "bold"),
                f": {told}" if told else "",
                style=_STYLES.get(row.changed, ""),
            )
        )
        screen.show(_line(row.cells, width))
    if len(sides) > 1:
        screen.show(Text("All else is the same."))


def _width_of(titles: Sequence[str], found: Sequence[Row], screen: int) -> int:
    """Return the width of each column: of its longest line, or what the screen has for it."""
    room = (screen - _INDENT - _GAP * (len(titles) - 1)) // len(titles)
    texts = [*titles, *(line for row in found for cell in row.cells for line in cell)]
    return min(max(room, _NARROWEST), max(Text(each).cell_len for each in texts))


def _line(cells: Iterable[Sequence[str]], width: int, *, style: str = "") -> RenderableType:
    table = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    texts = [Text("\n".join(lines), style=style) for lines in cells]
    for _ in texts:
        table.add_column(width=width, overflow="fold")
    table.add_row(*texts)
    return Padding(table, (0, 0, 0, _INDENT))


def _show_ways_out(case: Case, screen: Screen) -> None:
    if case.proposals:
        screen.show(Text("What you may choose:", style="bold"))
        for each in case.proposals:
            name = str(each.get("name", ""))
            if name == "askFederation" and case.is_waiting:
                continue
            _show_proposal(case, name, screen)
            if each.get("notOffered"):
                continue
            words = ["decide", case.name, "--proposal", name, "--reason", "WHY"]
            if ends := each.get("suggestedExpiresAt"):
                words += ["--expires", _span(ends, screen.now)]
            screen.show(Text(f"    {screen.command(*words)}"), soft_wrap=True)
    else:
        screen.show(Text(remedy(case)))
    if case.state == "open":
        screen.show(Text("Or put it off:", style="bold"))
        command = screen.command("defer", case.name, "--until", "1d", "--reason", "WHY")
        screen.show(Text(f"    {command}"), soft_wrap=True)


def _show_proposal(case: Case, name: str, screen: Screen) -> None:
    told = effect(case, name)
    proposal = case.proposal(name) or {}
    if barred := proposal.get("notOffered"):
        told = f"is not offered here: {barred}"
    screen.show(_indented(Text.assemble((name, "bold"), f": {told}" if told else ""), 2))
    if barred:
        return
    for mark, line in _consequences(case, proposal):
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(width=1)
        table.add_column(overflow="fold")
        table.add_row(Text(mark), Text(line))
        screen.show(Padding(table, (0, 0, 0, 4)))


def _consequences(case: Case, proposal: Any) -> Iterator[tuple[str, str]]:
    """Yield what a proposal would change of what runs now: a mark, and what it is."""
    if proposal.get("name") == "askFederation":
        yield from _asked_for(case, proposal)
        return
    yield from (("", line) for line in impact(proposal))
    changed = _changed(case, proposal)
    if changed is None:
        yield "", "nothing else changes"
        return
    yield from _marked(changed)
    if not changed:
        yield "", "what runs now goes on"


def _asked_for(case: Case, proposal: Any) -> Iterator[tuple[str, str]]:
    """Yield what the federation is asked for; here nothing changes by asking."""
    asked = changes(case.versions.get("global", {}), proposal.get("spec") or {})
    yield "", "if it is accepted, what is inherited changes, here and elsewhere:"
    yield from _marked(asked)


def _marked(changed: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    for path, old, new in changed[:_MANY]:
        before, after = _shortened(old), _shortened(new)
        if not before:
            yield "+", f"{path}: {after}"
        elif not after:
            yield "-", f"{path}: {before}"
        else:
            yield "~", f"{path}: {before} → {after}"
    if len(changed) > _MANY:
        yield "", f"and {len(changed) - _MANY} more fields"


def _changed(case: Case, proposal: Any) -> list[tuple[str, str, str]] | None:
    """Return the fields that a proposal changes; None if nobody says.

    Of what runs now, or, where that is of several objects, of each object that is written.
    """
    running = case.running
    if running is not None:
        return changes(running, proposal.get("spec") or {})
    if "writes" not in proposal:
        return None
    found = []
    for each in proposal["writes"]:
        if each.get("replaces") is not None:
            found += changes(_inner(each["replaces"]), _inner(each.get("spec") or {}))
    return found


def _inner(spec: Any) -> Any:
    """Return the spec that an object gives: an exception's is that which it holds."""
    return exempted(spec["spec"]) if "target" in spec and "spec" in spec else exempted(spec)


def _span(ends: str, now: datetime) -> str:
    """Return how far off a time is, as --expires takes it."""
    seconds = (moment_of(ends) or now).timestamp() - now.timestamp()
    return f"{max(1, round(seconds / 86400))}d"


def _shortened(text: str) -> str:
    if len(text) <= _LONG:
        return text
    return f"{text[:_LONG]}… ({len(text) - _LONG:,} more characters: -o yaml)"


def _indented(text: Text, columns: int) -> RenderableType:
    return Padding(text, (0, 0, 0, columns))
