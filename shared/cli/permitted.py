"""`hanse auth can-i`: whether one may, by which role and binding, and what one may at all."""

from dataclasses import dataclass
from typing import Any

import typer

from shared.cli.kinds import kind_called
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import session


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to do; None: left out."""

    verb: str
    kind: str | None
    tenant: str | None
    scope: str | None
    name: str | None


async def ask(context: str | None, question: Question, form: Output) -> None:
    """Print the server's answer; exit with 1 if it is no."""
    async with session(context) as opened:
        answer = await opened.client.may_i(
            question.verb,
            _kind(question.kind),
            tenant=question.tenant,
            scope=question.scope,
            name=question.name,
        )
    if form in (Output.JSON, Output.YAML):
        print_data(answer, form)
    elif answer["allowed"]:
        console().print(f"yes, by {_by(answer)}", markup=False, soft_wrap=True)
    else:
        console().print(f"no: {answer['reason']}", markup=False, soft_wrap=True)
    if not answer["allowed"]:
        raise typer.Exit(1)


async def list_all(context: str | None, form: Output) -> None:
    """Print all that one may do."""
    async with session(context) as opened:
        found = await opened.client.permissions()
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [*found]}, form)
        return
    rows = [
        [
            permission,
            _listed(each["tenants"]),
            _listed(each["scopes"]),
            each["selector"] or "",
            _by(each),
        ]
        for each in found
        for permission in each["permissions"]
    ]
    if form is Output.NAME:
        for name in sorted({row[0] for row in rows}):
            print(name)
        return
    print_table(["PERMISSION", "TENANTS", "SCOPES", "LABELS", "BY"], sorted(rows))


def _kind(word: str | None) -> str | None:
    """Return a kind's name for whatever it may be called; the server knows words beyond kinds."""
    known = None if word is None else kind_called(word)
    return word if known is None else known.name


def _by(answer: Any) -> str:
    role, binding = answer["role"], answer["binding"]
    return f"role {role} ({binding})" if binding else f"role {role}"


def _listed(names: list[str] | None) -> str:
    return "*" if names is None else ", ".join(names)
