"""`hanse diff`: what an apply would change, as a unified diff of YAML."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.markup import escape

from shared.cli.gitops import markdown as md
from shared.cli.gitops.comparing import Owning, compare
from shared.cli.gitops.ownership import normal, owner_of
from shared.cli.gitops.plan import Action, Plan, Step
from shared.cli.gitops.summaries import diff_summary
from shared.cli.output import console
from shared.cli.session import session
from shared.ids import COMMON, Key
from shared.model.documents import dump_yaml, to_plain
from shared.model.kinds import KINDS

_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}
_NOTES: Final = {
    Action.ADOPT: "nobody owns it, and the manifest would",
    Action.UPDATE: "only the record of what was applied would be written",
    Action.RELEASE: "it would stay without an owner",
}


async def diff(
    context: str | None,
    files: Sequence[str],
    owning: Owning | None = None,
    *,
    markdown: Path | None = None,
) -> bool:
    """Print how live objects and files differ; return whether they do."""
    async with session(context) as opened:
        plan = await compare(opened, files, owning)
        server = opened.context.name
    for step in plan.differences:
        for line in difference(step):
            print_line(line)
    if markdown is not None:
        md.write(markdown, diff_summary(plan, server, _texts(plan)))
    return bool(plan.differences)


def _texts(plan: Plan) -> dict[Key, str]:
    return {each.key: "\n".join(difference(each)) for each in plan.differences}


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
