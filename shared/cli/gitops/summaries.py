"""Summaries for a pull request: what changes, what drifts, which faults, which tests.  Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from shared.cli.gitops import markdown as md
from shared.cli.gitops.plan import Action, Plan
from shared.errors import FieldError
from shared.ids import Key

_COLUMNS: Final[Mapping[str, tuple[Action, ...]]] = {
    "create": (Action.CREATE,),
    "change": (Action.UPDATE, Action.ADOPT, Action.TAKE_OVER, Action.RELEASE),
    "delete": (Action.PRUNE,),
    "same": (Action.KEEP,),
}
# Each diff folded; more than these are only listed.
_MOST_DIFFS: Final = 100


def diff_summary(plan: Plan, server: str, texts: Mapping[Key, str]) -> str:
    """Return what an apply would change: counts per kind, each object, and the diffs folded."""
    return md.page("Hanse: what changes", _diff_blocks(plan, server, texts))


def _diff_blocks(plan: Plan, server: str, texts: Mapping[Key, str]) -> Iterator[str]:
    changed = plan.differences
    if not changed:
        yield f"Nothing changes on {md.code(server)}: {len(plan.steps)} objects are the same."
        return
    pruned = len(plan.of(Action.PRUNE))
    deletes = f", **{pruned} of them deleted**" if pruned else ""
    yield f"{_count(len(changed), 'object')} would change on {md.code(server)}{deletes}."
    kinds = dict.fromkeys(each.key.kind for each in plan.steps)
    counts = Counter((each.key.kind, each.action) for each in plan.steps)
    yield md.table(
        ["Kind", *_COLUMNS],
        [
            [
                md.code(kind),
                *(str(sum(counts[kind, each] for each in of)) for of in _COLUMNS.values()),
            ]
            for kind in kinds
        ],
    )
    yield md.table(
        ["Object", "What", "Where"],
        [
            [
                md.code(f"{each.key.kind.lower()}/{each.key.name}"),
                f"**{each.action.value}**" if each.written is None else each.action.value,
                md.code(each.place) if each.document else "",
            ]
            for each in changed
        ],
    )
    for each in changed[:_MOST_DIFFS]:
        name = md.code(f"{each.key.kind.lower()}/{each.key.name}")
        yield md.folded(name, md.fenced(texts.get(each.key, ""), "diff"))


def drift_summary(rows: Sequence[Sequence[str]], manifest: str, server: str) -> str:
    """Return a table of what drifted: object, how, who, when, which fields."""
    where = f"{md.code(server)} and repository {md.code(manifest)}"
    if not rows:
        return md.page("Hanse: no drift", [f"{where} agree."])
    cells = ([*map(md.code, row)] for row in rows)
    columns = ["Object", "Drift", "Who", "When (UTC)", "What"]
    return md.page("Hanse: drift", [f"{where} have parted.", md.table(columns, cells)])


def validate_summary(errors: Sequence[FieldError], warnings: Sequence[FieldError]) -> str:
    """Return the faults of a repository with their places."""
    if not errors and not warnings:
        return md.page("Hanse: no faults", ["The repository is sound."])
    counts = f"{_count(len(errors), 'error')}, {_count(len(warnings), 'warning')}."
    mark = "Hanse: faults" if errors else "Hanse: warnings"
    rows = [*_fault_rows("error", errors), *_fault_rows("warning", warnings)]
    blocks = [
        md.table(["", "Where", "Field", "What is wrong", "Code"], part) for part in _lots(rows)
    ]
    return md.page(mark, [counts, *blocks])


def _fault_rows(label: str, faults: Iterable[FieldError]) -> Iterator[list[str]]:
    for each in faults:
        place = f"{each.file or ''}:{each.line}" if each.line else each.file or ""
        yield [label, *map(md.code, (place, each.path, each.message, each.code))]


def _lots(rows: Sequence[list[str]]) -> Iterator[Sequence[list[str]]]:
    """Yield rows in tables small enough that the page can be cut between them."""
    for start in range(0, len(rows), 50):
        yield rows[start : start + 50]


def flows_summary(
    tests: int, flows: int, failures: Sequence[tuple[str, str, Sequence[str]]]
) -> str:
    """Return which flows failed: each a test, a place, and the lines that tell why."""
    counts = f"{_count(tests, 'test')}, {_count(flows, 'flow')}, {len(failures)} failed."
    if not failures:
        return md.page("Hanse: policy tests pass", [counts])
    rows = [
        [md.code(test), md.code(place), "<br>".join(map(md.code, lines))]
        for test, place, lines in failures
    ]
    blocks = [md.table(["Test", "Where", "Why"], part) for part in _lots(rows)]
    return md.page("Hanse: policy tests fail", [counts, *blocks])


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
