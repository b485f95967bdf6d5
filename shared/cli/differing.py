"""`hanse diff`: what an apply would change, as a unified diff of YAML; and what that would do."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.markup import escape

from shared.cli.answers import Base
from shared.cli.drafts.asking import Found, Question, ask
from shared.cli.gitops import markdown as md
from shared.cli.gitops.comparing import Owning, compare
from shared.cli.gitops.ownership import normal, owner_of
from shared.cli.gitops.plan import Action, Plan, Step
from shared.cli.gitops.summaries import diff_summary
from shared.cli.output import Plain, console, print_data
from shared.cli.session import Session, print_note, session
from shared.cli.sources import Sources, read_sources
from shared.ids import COMMON, Key
from shared.model.documents import dump_yaml, to_plain
from shared.model.kinds import KINDS

_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}
_NOTES: Final = {
    Action.ADOPT: "nobody owns it, and the manifest would",
    Action.UPDATE: "only the record of what was applied would be written",
    Action.RELEASE: "it would stay without an owner",
}


@dataclass(frozen=True, slots=True)
class DiffArguments:
    """How it is compared and shown; with a question, the sites are asked as well."""

    owning: Owning | None = None
    markdown: Path | None = None
    question: Question | None = None
    form: Plain = Plain.TABLE


@dataclass(frozen=True, slots=True)
class Compared:
    """How live objects and files differ, as of a revision, and what the sites said of it."""

    sources: Sources
    plan: Plan
    base: Base
    found: Found | None

    @property
    def differs(self) -> bool:
        return bool(self.plan.differences)


async def diff(context: str | None, files: Sequence[str], how: DiffArguments) -> bool:
    """Print how live objects and files differ; return whether they do.

    Unreachable (`no_site_answered`) if the sites were to be asked, and none could be.
    """
    async with session(context) as opened:
        compared = await show(opened, files, how)
        server = opened.context.name
    plan = compared.plan
    if how.markdown is not None:
        md.write(how.markdown, diff_summary(plan, server, _texts(plan)))
    if how.form is not Plain.TABLE:
        print_data(_data(compared), how.form)
    elif plan.differences:
        print_note(
            f"judged against {compared.base}; hanse apply --base {compared.base} holds to it"
        )
    if compared.found is not None:
        compared.found.check()
    return compared.differs


async def show(opened: Session, files: Sequence[str], how: DiffArguments) -> Compared:
    """Compare, and show it unless it is for programs."""
    sources = read_sources(files, opened)
    # Before anything is looked at: what changes while it is read counts as changed.
    base = await opened.client.base(_kind_to_list(sources))
    plan = await compare(opened, files, how.owning, sources=sources)
    shown = how.form is Plain.TABLE
    if shown:
        for step in plan.differences:
            for line in difference(step):
                print_line(line)
    found = None
    if how.question is not None:
        operations = [each.operation() for each in plan.differences if not _is_secret(each)]
        found = Found()
        if operations:
            if shown:
                print()
            found = await ask(opened, operations, how.question, show=shown)
    return Compared(sources, plan, base, found)


def _kind_to_list(sources: Sources) -> str:
    """Return a kind of the draft's, rather one that many may read."""
    kinds = [key.kind for key in sources.keys]
    return next((each for each in kinds if not KINDS[each].secret), kinds[0])


def _is_secret(step: Step) -> bool:
    """Return whether no site ever gets it."""
    return KINDS[step.key.kind].secret


def _texts(plan: Plan) -> dict[Key, str]:
    return {each.key: "\n".join(difference(each)) for each in plan.differences}


def _data(compared: Compared) -> dict[str, Any]:
    texts = _texts(compared.plan)
    data: dict[str, Any] = {
        "base": str(compared.base),
        "differences": [
            {**each.key._asdict(), "action": str(each.action), "diff": texts[each.key]}
            for each in compared.plan.differences
        ],
    }
    if compared.found is not None:
        data["impact"] = compared.found.to_json()
    return data


def difference(step: Step) -> Iterator[str]:
    """Yield the lines of a unified diff; for one where only the owner changes, a line on that."""
    key, live = step.key, step.live
    before = [] if live is None else lines_of(live.as_written(), key)
    name = f"{KINDS[key.kind].plural}/{key.name}"
    old = "/dev/null" if live is None else f"live/{name} (revision {live.revision})"
    if step.action is Action.TAKE_OVER and live is not None:
        yield f"# {key} is manifest {owner_of(live)}'s"
    if step.document is None:
        if step.action is Action.RELEASE:
            yield f"# {key}: {_NOTES[step.action]}"
            return
        yield from difflib.unified_diff(before, [], old, "/dev/null", lineterm="")
        return
    after = lines_of(to_plain(step.document.envelope), key)
    place = f"{step.document.file}:{step.document.line}"
    lines = list(difflib.unified_diff(before, after, old, place, lineterm=""))
    if not lines and step.action in _NOTES:
        yield f"# {key} ({place}): {_NOTES[step.action]}"
    yield from lines


def lines_of(document: dict[str, Any], key: Key) -> list[str]:
    """Write a document with everything in one order and nothing that goes without saying."""
    parts = normal(document, key)
    metadata: dict[str, Any] = {"name": key.name}
    if key.tenant != COMMON:
        metadata["tenant"] = key.tenant
    metadata["scope"] = key.scope
    for part in ("labels", "annotations"):
        if ours := parts[part]:
            metadata[part] = {name: ours[name] for name in sorted(ours)}
    spec = "not compared: it is secret" if parts["spec"] is None else _sorted(parts["spec"])
    return dump_yaml({"kind": key.kind, "metadata": metadata, "spec": spec}).splitlines()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list | tuple) else value


def print_line(line: str, *, stderr: bool = False) -> None:
    """Print a line of a unified diff."""
    colour = _COLOURS.get(line[:1])
    text = escape(line)
    console(stderr=stderr).print(f"[{colour}]{text}[/]" if colour else text, soft_wrap=True)
