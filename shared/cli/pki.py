"""`hanse pki`: what is issued, what counts no longer, and how CAs are exchanged."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import typer

from shared.cli.answers import moment_of
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import print_note, session
from shared.errors import Conflict, Invalid

JSON = Mapping[str, Any]

_COLUMNS: Final = ("KIND", "IDENTITY", "SERIAL", "UNTIL", "STATE")


async def print_certificates(context: str | None, form: Output, *, revoked: bool) -> None:
    """Print what the server has issued and shows."""
    async with session(context) as opened:
        items = await opened.client.certificates()
    if not revoked:
        items = [each for each in items if each["state"] != "revoked"]
    if form in (Output.JSON, Output.YAML):
        print_data({"items": items}, form)
    elif form is Output.NAME:
        for each in items:
            print(each["serial"])
    else:
        columns = [*_COLUMNS, *(["SINCE", "ISSUER"] if form is Output.WIDE else [])]
        print_table(columns, [_row(each, wide=form is Output.WIDE) for each in items])


def _row(each: JSON, *, wide: bool) -> list[object]:
    state = f"{each['state']}, in use" if each["own"] else each["state"]
    row: list[object] = [
        each["kind"],
        each["identity"],
        each["serial"],
        _minute(each["notAfter"]),
        state,
    ]
    return [*row, _minute(each["notBefore"]), each["issuer"] or ""] if wide else row


def _minute(text: str | None) -> str:
    moment = moment_of(text)
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


async def revoke(
    context: str | None, target: str, form: Output, *, reason: str, confirmed: bool
) -> None:
    """Revoke; ask first if it is the server's own, or somebody's last."""
    async with session(context) as opened:
        client = opened.client
        try:
            found = await client.revoke_certificate(target, reason=reason, confirmed=confirmed)
        except Conflict as exc:
            if exc.code != "confirmation_needed":
                raise
            _ask(exc.message)
            found = await client.revoke_certificate(target, reason=reason, confirmed=True)
    if form in (Output.JSON, Output.YAML):
        print_data({"revoked": found}, form)
        return
    for each in found:
        console().print(
            f"Revoked {each['serial']} of {each['identity']}.", markup=False, soft_wrap=True
        )


async def rotate(
    context: str | None, what: str, step: str, form: Output, *, force: bool, confirmed: bool
) -> None:
    """Exchange, and print how far everybody is."""
    async with session(context) as opened:
        if step == "finish" and not confirmed:
            _ask(
                "The old one will count nowhere any more; contexts of people who have run no "
                "command since it was exchanged must be told the new root by them"
                if what == "root"
                else "The old one will count no longer"
            )
        standing = await opened.client.rotate_certificate(what, step=step, force=force)
    if form in (Output.JSON, Output.YAML):
        print_data(standing, form)
        return
    console().print(f"{what}: {standing['phase']}", markup=False, soft_wrap=True)
    for each in standing["behind"]:
        console().print(f"  not followed yet: {each}", markup=False, soft_wrap=True)
    print_note(standing["message"])


def _ask(what: str) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Invalid(
            f"{what}. Nobody is here to confirm it; pass --yes if that is meant",
            code="not_confirmed",
        )
    print_note(f"{what}.")
    if not typer.confirm("Go on?", default=False, err=True):
        raise Invalid("not confirmed; nothing was changed", code="not_confirmed")
