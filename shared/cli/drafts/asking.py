"""`hanse diff --impact`: ask the sites what a draft would do there, and show it as it comes."""

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from shared.cli.answers import Base, Delete, Put
from shared.cli.drafts.telling import of_site, totals
from shared.cli.output import console
from shared.cli.session import Session
from shared.errors import Unreachable

JSON = Mapping[str, Any]

# A line is no longer than this on any screen: sentences are read, not scanned.
_WIDEST: Final = 100
_STYLES: Final = {"ok": "bold", "timeout": "bold red", "unreachable": "bold red"}


@dataclass(frozen=True, slots=True)
class Question:
    """Which sites are asked, for how long, and whether all must answer."""

    sites: str | None = None
    deadline: float = 10.0
    require_all: bool = False
    max_boxes: int = 100
    force: bool = False


@dataclass(slots=True)
class Found:
    """All that sites have said of a draft."""

    base: Base | None = None
    sites: list[JSON] = field(default_factory=list)
    end: JSON = field(default_factory=dict)

    def check(self) -> None:
        """Unreachable (`no_site_answered`) if sites are concerned, and none could be asked."""
        if self.end.get("asked") and not self.end.get("answered"):
            raise Unreachable(
                "no site that this concerns has answered, so nobody knows what it would do",
                code="no_site_answered",
            )

    def to_json(self) -> dict[str, Any]:
        kept = {name: each for name, each in self.end.items() if name not in ("type", "base")}
        sites = sorted(self.sites, key=lambda each: str(each.get("site")))
        return {
            **kept,
            "sites": [{k: v for k, v in each.items() if k != "type"} for each in sites],
        }


async def ask(
    opened: Session, operations: Sequence[Put | Delete], asked: Question, *, show: bool
) -> Found:
    """Ask, and show each site's answer as it comes; NotFound (`asks_the_fsm`); Unavailable."""
    opened.require_fsm("hanse diff --impact")
    found = Found()
    answers = opened.client.impact(
        operations,
        sites=asked.sites,
        deadline=asked.deadline,
        require_all=asked.require_all,
        max_boxes=asked.max_boxes,
        force=asked.force,
    )
    to = console(stderr=True)
    with to.status("asking the sites …") as progress:
        async with aclosing(answers) as lines:
            async for line in lines:
                kind = line.get("type")
                if kind == "begun":
                    found.base = Base.of(line["base"])
                    progress.update(f"asking {len(line.get('sites') or ())} sites …")
                elif kind == "site":
                    found.sites.append(line)
                    if show:
                        show_site(line, console())
                elif kind == "waiting":
                    progress.update(escape(f"waiting for {', '.join(line.get('sites') or ())} …"))
                elif kind == "end":
                    found.end = line
    if show:
        show_totals(found.end, console())
    return found


def show_site(line: JSON, to: Console) -> None:
    """Show what one site has said."""
    style = _STYLES.get(str(line.get("outcome")), "bold yellow")
    to.print(f"[{style}]{escape(str(line.get('site')))}[/]")
    for sentence in of_site(line):
        _print(sentence, to, indent="  ")


def show_totals(end: JSON, to: Console) -> None:
    for sentence in totals(end):
        _print(sentence, to)


def _print(text: str, to: Console, *, indent: str = "") -> None:
    """Print a sentence folded to the screen; in a file it stays one line."""
    width = min(to.width, _WIDEST) if to.is_terminal else 10_000
    hanging = f"{indent}  " if indent else ""
    folded = textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=hanging, break_on_hyphens=False
    )
    to.print(folded, markup=False, soft_wrap=True)
