"""`hanse logout` and what `hanse auth` does with logins, tokens and keys."""

import os
from collections.abc import Mapping

from shared.cli.answers import minute_of
from shared.cli.contexts import ContextsFile
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import client_of, print_note, session
from shared.errors import Unauthenticated


async def log_out(context: str | None) -> None:
    """End a context's login, and forget its tokens; Unreachable if they are only forgotten."""
    file = ContextsFile.of(os.environ)
    found = file.load().find(context)
    if found.token is None:
        print_note(f"you are not logged in to {found.name}")
        return
    try:
        async with client_of(found) as client:
            await client.logout()
    except Unauthenticated:
        # It had ended already.
        pass
    finally:
        file.renew(found.name, None, None, None)
    console().print(f"Logged out of {found.name}.", markup=False, soft_wrap=True)


async def list_sessions(context: str | None, user: str | None, form: Output) -> None:
    """Print the logins that count."""
    async with session(context) as opened:
        found = await opened.client.sessions(user=user)
    if form is Output.NAME:
        for each in found:
            print(each["id"])
        return
    if form in (Output.JSON, Output.YAML):
        print_data([*found], form)
        return
    columns = ["", "SESSION", "IDENTITY", "FROM", "SINCE", "UNTIL"]
    rows = [
        [
            "*" if each["current"] else "!" if each["emergency"] else "",
            each["id"],
            each["identity"],
            each["sourceAddress"] or "",
            minute_of(each["createdAt"]),
            minute_of(each["expiresAt"]),
            each["provider"],
            ", ".join(each["groups"]),
        ]
        for each in found
    ]
    if form is Output.WIDE:
        print_table([*columns, "PROVIDER", "GROUPS"], rows)
    else:
        print_table(columns, [row[:6] for row in rows])


async def revoke(context: str | None, what: Mapping[str, str], reason: str) -> None:
    """End what one of the names in `what` names (user, session, token, service_account)."""
    async with session(context) as opened:
        sessions, tokens = await opened.client.revoke(**what, reason=reason)
    logins = "1 login" if sessions == 1 else f"{sessions} logins"
    others = "1 token" if tokens == 1 else f"{tokens} tokens"
    console().print(f"Revoked: {logins}, {others}.", markup=False, soft_wrap=True)
    if "user" in what and opened.site is None:
        print_note("Counted at the FSM only; each site ends his logins there once it hears of it.")


async def create_token(
    context: str | None, account: str, options: Mapping[str, str], form: Output
) -> None:
    """Print a new token of a service account, once."""
    async with session(context) as opened:
        given = await opened.client.give_token(account, **options)
    if form in (Output.JSON, Output.YAML):
        print_data(dict(given), form)
        return
    until = minute_of(given["expiresAt"])
    print_note(f"The token {given['id']} of {given['serviceAccount']}, until {until}; shown once:")
    print(given["token"])


async def list_tokens(context: str | None, account: str, tenant: str, form: Output) -> None:
    """Print the tokens of a service account, without their secrets."""
    async with session(context) as opened:
        found = await opened.client.given_tokens(account, tenant=tenant)
    if form is Output.NAME:
        for each in found:
            print(each["id"])
        return
    if form in (Output.JSON, Output.YAML):
        print_data([*found], form)
        return
    rows = [
        [
            each["id"],
            each["description"],
            each["createdBy"],
            minute_of(each["createdAt"]),
            minute_of(each["expiresAt"]),
        ]
        for each in found
    ]
    print_table(["TOKEN", "FOR", "BY", "SINCE", "UNTIL"], rows)


async def rotate_keys(context: str | None, reason: str, form: Output, *, at_once: bool) -> None:
    """Have the server sign with a new key, and print its keys."""
    async with session(context) as opened:
        keys = await opened.client.rotate_keys(at_once=at_once, reason=reason)
    if form in (Output.JSON, Output.YAML):
        print_data([*keys], form)
        return
    rows = [[each["id"], minute_of(each["signsAt"]), minute_of(each["retiresAt"])] for each in keys]
    print_table(["KEY", "SIGNS FROM", "COUNTS UNTIL"], rows)
