"""`hanse explain`: what a kind or one of its fields means, from the models' own descriptions."""

from typing import Annotated

import typer

from shared.cli.output import Plain


def explain(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND[.FIELD...]]",
            help="A kind, or a field of one, as SecurityPolicy.spec.rules.from; none: all kinds.",
        ),
    ] = None,
    output: Annotated[
        Plain, typer.Option("--output", "-o", help="The form of the answer.")
    ] = Plain.TABLE,
) -> None:
    """Say what a kind of object or a field means."""
    from shared.cli.explaining import explain_kinds, explain_subject

    if subject is None:
        explain_kinds(output)
    else:
        explain_subject(subject, output)


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(rich_help_panel="Objects")(explain)
