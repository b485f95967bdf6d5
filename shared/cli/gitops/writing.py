"""`hanse apply --prune`: make a server have what a repository says, and nothing of it else."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import typer

from shared.cli.answers import Applied, Result
from shared.cli.applying import WriteArguments, outcome_of, place_text
from shared.cli.gitops.comparing import Owning, compare
from shared.cli.gitops.plan import (
    OUTCOMES,
    Action,
    Limit,
    Plan,
    Step,
    refuse_foreign,
    refuse_many,
)
from shared.cli.output import Output, print_data, print_faults
from shared.cli.session import Session, print_note, session
from shared.errors import FieldError, HanseError, Invalid, RevisionConflict, TooLarge
from shared.ids import Key
from shared.model.kinds import KINDS

MOST_BYTES: Final = 8 * 1024 * 1024 - 64 * 1024
"""What one transaction may have, less room for what surrounds its operations."""
MOST_OPERATIONS: Final = 10_000

# What others name comes first, and is deleted last.
_FIRST: Final = ("Tenant", "Region", "Site", "Network", "Service", "NodeGroup", "Node", "Workload")

_PREFIX: Final = "operations["
_OBJECT: Final = "].object"


@dataclass(frozen=True, slots=True)
class PruneArguments:
    """How a repository takes the server over."""

    owning: Owning
    limit: Limit | None
    take_over: bool
    yes: bool
    in_parts: bool


async def apply_and_prune(
    context: str | None, files: Sequence[str], how: WriteArguments, prune: PruneArguments
) -> None:
    """Write what differs, and delete what the manifest owns and the repository has no longer."""
    async with session(context) as opened:
        plan = await compare(opened, files, prune.owning)
        if not prune.take_over:
            refuse_foreign(plan)
        refuse_many(plan, prune.limit)
        parts = list(in_transactions(plan, in_parts=prune.in_parts))
        if not how.dry_run:
            _confirm(plan, yes=prune.yes)
        applied = await send(opened, plan, parts, how)
    _print(plan, applied, how)


def _confirm(plan: Plan, *, yes: bool) -> None:
    """Ask a person before anything is deleted; Invalid if there is nobody to ask."""
    pruned = plan.of(Action.PRUNE)
    if yes or not pruned:
        return
    if not sys.stdin.isatty():
        raise Invalid(
            f"this deletes {len(pruned)} objects; say --yes where nobody can be asked, or look "
            "first with --dry-run",
            code="needs_confirmation",
        )
    for each in pruned:
        print_note(f"would delete {each.key}")
    typer.confirm(f"Delete these {len(pruned)}?", abort=True, err=True)


def in_transactions(plan: Plan, *, in_parts: bool) -> Iterator[list[Step]]:
    """Yield the steps of each transaction: one, unless that is too large and parts are allowed.

    Several go in an order in which what is named exists before it is named, and until after.
    """
    changes = list(plan.changes)
    pieces = list(_pieces(changes))
    if len(pieces) > 1 and not in_parts:
        raise TooLarge(
            f"{len(changes)} changes are more than one transaction takes (8 MiB, "
            f"{MOST_OPERATIONS} operations), so they can't be all or nothing: give --in-parts to "
            "write them in several, each all or nothing, or apply the repository in steps"
        )
    if len(pieces) > 1:
        pieces = list(_pieces(sorted(changes, key=_order)))
    yield from pieces


def _pieces(steps: Sequence[Step]) -> Iterator[list[Step]]:
    piece: list[Step] = []
    size = 0
    for each in steps:
        own = len(json.dumps(each.operation().to_json()).encode()) + 1
        if piece and (size + own > MOST_BYTES or len(piece) == MOST_OPERATIONS):
            yield piece
            piece, size = [], 0
        piece.append(each)
        size += own
    if piece:
        yield piece


def _order(step: Step) -> tuple[bool, int]:
    place = _FIRST.index(step.key.kind) if step.key.kind in _FIRST else len(_FIRST)
    is_deletion = step.written is None
    return is_deletion, -place if is_deletion else place


async def send(
    opened: Session, plan: Plan, parts: Sequence[Sequence[Step]], how: WriteArguments
) -> list[tuple[Sequence[Step], Applied]]:
    """Write the steps of each transaction; an error's fields say which document or object.

    RevisionConflict if anything has changed since it was compared: then nothing of that
    transaction is written.
    """
    done: list[tuple[Sequence[Step], Applied]] = []
    name = "" if plan.manifest is None else plan.manifest.manifest
    reason = how.reason or f"manifest {name}"
    for number, part in enumerate(parts):
        if how.dry_run and number:
            # It may name what the parts before it would have written.
            print_note(f"the server was only asked about part 1 of {len(parts)}")
            break
        try:
            applied = await opened.client.transaction(
                [each.operation() for each in part],
                dry_run=how.dry_run,
                force=how.force,
                reason=reason,
            )
        except HanseError as exc:
            exc.fields = tuple(_located(each, part) for each in exc.fields)
            if isinstance(exc, RevisionConflict):
                exc.add_note(
                    "somebody has changed it since it was compared; run this again, it compares "
                    "anew"
                )
            if number:
                exc.add_note(
                    f"parts 1 to {number} of {len(parts)} are written, this one and the rest are "
                    "not; the same command goes on from there"
                )
            raise
        done.append((part, applied))
    return done


def _located(fault: FieldError, steps: Sequence[Step]) -> FieldError:
    """Return a server's fault with the file and line, or the object, that it is about."""
    path, index = fault.path, 0
    if path.startswith(_PREFIX):
        number, found, rest = path.removeprefix(_PREFIX).partition(_OBJECT)
        if not found or not number.isdecimal():
            return fault
        path, index = rest.removeprefix("."), int(number)
    elif len(steps) != 1:
        return fault
    if index >= len(steps):
        return fault
    step = steps[index]
    if step.document is None:
        return replace(fault, path="", message=f"{step.place}: {fault.message}")
    line = step.document.line_of(path)
    return replace(fault, path=path, file=step.document.file, line=line)


def _outcomes(
    plan: Plan, applied: Sequence[tuple[Sequence[Step], Applied]]
) -> Iterator[tuple[Step, str, Result | None]]:
    """Yield each step, what became of it, and what the server said of it."""
    results: dict[Key, Result] = {
        step.key: result
        for part, answer in applied
        for step, result in zip(part, answer.results, strict=True)
    }
    for step in plan.steps:
        result = results.get(step.key)
        outcome = OUTCOMES[step.action]
        if result is not None and KINDS[step.key.kind].secret and step.action is Action.KEEP:
            outcome = outcome_of(result)
        yield step, outcome, result


def _print(
    plan: Plan, applied: Sequence[tuple[Sequence[Step], Applied]], how: WriteArguments
) -> None:
    for part, answer in applied:
        warnings = (each.error for each in answer.warnings)
        print_faults((_located(each, part) for each in warnings), label="warning")
    outcomes = list(_outcomes(plan, applied))
    if how.form in (Output.JSON, Output.YAML):
        print_data(_data(plan, outcomes, applied, dry_run=how.dry_run), how.form)
        return
    dry = " (dry run)" if how.dry_run else ""
    counts: Counter[str] = Counter()
    for step, outcome, _ in outcomes:
        counts[outcome] += 1
        if outcome == OUTCOMES[Action.KEEP]:
            continue
        name = f"{step.key.kind.lower()}/{step.key.name}"
        place = "" if step.live is None else place_text(step.live)
        print(name if how.form is Output.NAME else f"{name}{place} {outcome}{dry}")
    if how.form is not Output.NAME:
        words = [f"{counts[each]} {each}" for each in OUTCOMES.values() if counts[each]]
        print(f"{', '.join(words) or 'nothing to do'}{dry}")


def _data(
    plan: Plan,
    outcomes: Sequence[tuple[Step, str, Result | None]],
    applied: Sequence[tuple[Sequence[Step], Applied]],
    *,
    dry_run: bool,
) -> dict[str, Any]:
    return {
        "manifest": None if plan.manifest is None else plan.manifest.manifest,
        "revision": applied[-1][1].revision if applied else None,
        "transactions": len(applied),
        "dryRun": dry_run,
        "results": [{**step.key._asdict(), "outcome": outcome} for step, outcome, _ in outcomes],
        "warnings": [
            {"path": each.path, "code": each.code, "message": each.message}
            for part, answer in applied
            for each in (_located(warned.error, part) for warned in answer.warnings)
        ],
    }
