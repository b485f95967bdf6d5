"""`hanse login` and `hanse context`: whom to trust, who one is, and where that is kept."""

import getpass
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from yarl import URL

from shared.cli.client import Client
from shared.cli.contexts import Context, ContextsFile, Saved
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import print_note, session
from shared.cli.trust import (
    fingerprints,
    identify,
    offered_roots,
    parse_fingerprint,
    read_roots,
    server_url,
)
from shared.enrolment.joining import fetch_root
from shared.errors import Forbidden, Invalid, Unauthenticated
from shared.ids import parse_dns_label
from shared.pki.authority import trust_domain_of
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import SpiffeId

PASSWORD_VARIABLE: Final = "HANSE_PASSWORD"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class LoginArguments:
    """What `hanse login` was called with."""

    server: str
    user: str | None
    ca: Path | None
    fingerprint: str | None
    site: str | None
    password_file: str | None
    name: str | None


async def log_in(arguments: LoginArguments, environ: Mapping[str, str]) -> None:
    """Trust the server, trade the password for a token, and save the context."""
    file = ContextsFile.of(environ)
    saved = file.load()
    server = server_url(arguments.server)
    known = _known(saved, server, arguments.name)
    pem = await _roots(arguments, server, known)
    who = await _check_server(server, pem, arguments, known)
    user = _user(arguments, known)
    password = _password(arguments, user, environ)
    async with Client(server, ca=pem, identity=str(who)) as client:
        login = await client.login(user, password)
    context = Context(
        name=arguments.name or (known.name if known else _new_name(saved, who, server)),
        server=server,
        identity=str(who),
        ca=pem,
        user=user,
        token=login.token.text,
        refresh_token=login.refresh,
        expires_at=login.ends_at,
    )
    file.put(context)
    until = f" until {login.ends_at:%Y-%m-%d %H:%M} UTC" if login.ends_at else ""
    place = f"site {who.site}" if who.site else "the FSM"
    console().print(
        f"Logged in to {place} ({server}) as {user}{until}; context {context.name}.",
        markup=False,
        soft_wrap=True,
    )


def _known(saved: Saved, server: str, name: str | None) -> Context | None:
    if name is not None:
        found = saved.named(name)
        return found if found and found.server == server else None
    matching = [each for each in saved.contexts if each.server == server]
    return next((each for each in matching if each.name == saved.current_context), None) or next(
        iter(matching), None
    )


async def _roots(arguments: LoginArguments, server: str, known: Context | None) -> str:
    """Return the PEM of the roots to trust: given, known from before, or confirmed by a person."""
    if arguments.ca is not None:
        return certificates_to_pem(read_roots(arguments.ca))
    if arguments.fingerprint is not None:
        digest = parse_fingerprint(arguments.fingerprint)
        try:
            return certificates_to_pem([await fetch_root(server, digest)])
        except Unauthenticated as exc:
            raise Unauthenticated(
                f"{server} has another root than the one with this fingerprint: it is of another "
                "federation, or somebody stands between; nothing was sent",
                code=exc.code,
            ) from exc
    if known is not None:
        return known.ca
    return _confirmed(server, await offered_roots(server))


def _confirmed(server: str, pem: str) -> str:
    shown = "\n".join(f"  SHA-256 {each}" for each in fingerprints(read_roots(pem)))
    if not _is_interactive():
        raise Invalid(
            f"{server} is not known yet, and nobody is here to compare its root's fingerprint; "
            "pass --ca FILE, or --fingerprint SHA256 with the one that the FSM showed when it was "
            "made",
            code="unknown_server",
        )
    print_note(f"{server} is not known yet. It says that its federation's root is\n{shown}")
    if not typer.confirm("Is this the fingerprint that the FSM showed?", default=False, err=True):
        raise Invalid("the root was not confirmed; nothing was sent", code="not_confirmed")
    return pem


async def _check_server(
    server: str, pem: str, arguments: LoginArguments, known: Context | None
) -> SpiffeId:
    """Return who answers, if it is whom the caller means: named, as before, or by its host."""
    roots = read_roots(pem)
    found = await identify(server, roots)
    expected: str | None = known.identity if known else None
    if arguments.site is not None:
        domain = trust_domain_of(roots[0])
        expected = str(SpiffeId.sdsp(domain, parse_dns_label(arguments.site)))
    if expected is not None:
        if str(found.id) != expected:
            remedy = f"pass --site {found.id.site}" if found.id.site else "leave --site out"
            if known is not None and arguments.site is None and found.id.site is None:
                remedy = f"first: hanse context delete {known.name}"
            raise Forbidden(
                f"{server} is {found.id}, and {expected} is expected there; if that is meant, "
                f"{remedy}",
                code="wrong_identity",
            )
    elif found.id.site is not None and not found.is_made_for_host:
        _confirm_site(server, found.id.site)
    return found.id


def _confirm_site(server: str, site: str) -> None:
    what = f"{server} is the SDSP of site {site}; its certificate says nothing of that host"
    if not _is_interactive():
        raise Forbidden(f"{what}. If that is whom you mean, pass --site {site}", code="wrong_host")
    print_note(f"{what}.")
    if not typer.confirm(f"Do you mean site {site}?", default=False, err=True):
        raise Forbidden("another server was meant; nothing was sent", code="wrong_host")


def _user(arguments: LoginArguments, known: Context | None) -> str:
    user = arguments.user or (known.user if known else None)
    if user is not None:
        return user
    if not _is_interactive():
        raise Invalid("say who logs in: pass --user NAME", code="no_user")
    answer: str = typer.prompt("User name", err=True)
    return answer


def _password(arguments: LoginArguments, user: str, environ: Mapping[str, str]) -> str:
    if (file := arguments.password_file) is not None:
        password = _first_line(file)
    elif given := environ.get(PASSWORD_VARIABLE):
        password = given
    elif _is_interactive():
        password = getpass.getpass(f"Password of {user}: ")
    else:
        raise Invalid(
            f"there is no terminal to ask for the password: pass --password-file FILE, or set "
            f"{PASSWORD_VARIABLE}",
            code="no_password",
        )
    if not password:
        raise Invalid("the password is empty", code="no_password")
    return password


def _first_line(file: str) -> str:
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Invalid(f"the password file {file} can't be read: {exc}", code="unreadable") from exc
    return text.partition("\n")[0].rstrip("\r")


def _new_name(saved: Saved, who: SpiffeId, server: str) -> str:
    """Name a context after what it is: `fsm` or the site, with more where that is taken."""
    short = who.site or "fsm"
    names = (short, f"{short}@{who.trust_domain}", f"{short}@{URL(server).authority}")
    return next((each for each in names if saved.named(each) is None), names[-1])


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def list_contexts(form: Output) -> None:
    """Print the contexts, without their tokens."""
    saved = ContextsFile.of(os.environ).load()
    if form is Output.NAME:
        for each in saved.contexts:
            print(each.name)
        return
    if form in (Output.JSON, Output.YAML):
        contexts = [_shown(each, saved) for each in saved.contexts]
        print_data({"currentContext": saved.current_context, "contexts": contexts}, form)
        return
    if not saved.contexts:
        print_note("no contexts yet: hanse login https://HOST:PORT")
        return
    rows = []
    for each in saved.contexts:
        mark = "*" if each.name == saved.current_context else ""
        until = f"{each.expires_at:%Y-%m-%d %H:%M} UTC" if each.expires_at else ""
        row = [mark, each.name, each.server, each.user or "", until]
        rows.append([*row, each.identity] if form is Output.WIDE else row)
    columns = ["CURRENT", "NAME", "SERVER", "USER", "LOGGED IN UNTIL"]
    print_table([*columns, "IDENTITY"] if form is Output.WIDE else columns, rows)


def _shown(context: Context, saved: Saved) -> dict[str, object]:
    data = context.model_dump(mode="json", by_alias=True, exclude={"token", "refresh_token", "ca"})
    return {**data, "current": context.name == saved.current_context}


def use_context(name: str) -> None:
    """Make a context the current one."""
    context = ContextsFile.of(os.environ).use(name)
    console().print(f"Now at {context.name} ({context.server}).", markup=False, soft_wrap=True)


def delete_context(name: str) -> None:
    """Forget a context and its token."""
    ContextsFile.of(os.environ).delete(name)
    console().print(f"Context {name} is deleted.", markup=False, soft_wrap=True)


async def print_identity(context: str | None, form: Output) -> None:
    """Print who one is to the server."""
    async with session(context) as opened:
        who = await opened.client.whoami()
    data = {
        "identity": who.identity,
        "displayName": who.display_name,
        "server": opened.context.server,
        "roles": list(who.roles),
        "bindings": [{"role": role, "binding": binding} for role, binding in who.bindings],
        "tenants": None if who.tenants is None else list(who.tenants),
        "permissions": list(who.permissions),
        "session": who.session,
        "credential": who.credential,
        "emergency": who.is_emergency,
    }
    if form in (Output.JSON, Output.YAML):
        print_data(data, form)
        return
    tenants = "all tenants" if who.tenants is None else f"tenants {', '.join(who.tenants)}"
    given = {role: [b for r, b in who.bindings if r == role] for role in who.roles}
    roles = ", ".join(f"{role} (by {', '.join(by)})" if by else role for role, by in given.items())
    roles = roles or "no role"
    mark = " (the emergency account)" if who.is_emergency else ""
    console().print(f"{who.identity}{mark}: {roles}, in {tenants}", markup=False, soft_wrap=True)
