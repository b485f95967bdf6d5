"""`hanse apply --confirm`: show what would change, ask, and write just what was looked at."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import typer

from shared.cli.applying import WriteArguments, print_applied, write
from shared.cli.differing import DiffArguments, show
from shared.cli.drafts.asking import Question
from shared.cli.session import print_note, session
from shared.errors import Invalid


async def apply_confirmed(
    context: str | None,
    files: Sequence[str],
    how: WriteArguments,
    question: Question | None,
    *,
    yes: bool,
) -> None:
    """Write the documents if somebody says yes to what they change.

    Conflict (`base_moved`) if what he was shown has changed meanwhile; Invalid
    (`needs_confirmation`) if nobody can be asked.
    """
    if not yes and not how.dry_run and not sys.stdin.isatty():
        raise Invalid(
            "there is nobody to ask; say --yes where nobody can be asked, or look first with "
            "hanse diff and apply with --base",
            code="needs_confirmation",
        )
    async with session(context) as opened:
        compared = await show(opened, files, DiffArguments(question=question))
        if compared.found is not None:
            compared.found.check()
        if not compared.differs:
            print_note("nothing to do")
            return
        if not yes and not how.dry_run:
            typer.confirm("Apply this?", abort=True, err=True)
        applied = await write(
            opened, compared.sources, replace(how, base=how.base or compared.base)
        )
    print_applied(applied, how, compared.sources)
