"""`hanse auth test` and `hanse user password`."""

import getpass
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cli.answers import Put
from shared.cli.output import Output, print_data, print_table
from shared.cli.session import Session, print_note, session
from shared.cli.sources import read_sources
from shared.errors import Invalid, NotFound
from shared.ids import COMMON, parse_name
from shared.model.base import API_VERSION

KIND = "AuthenticationPolicy"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `hanse auth test` was called with."""

    file: Path
    user: str
    password_file: str | None


@dataclass(frozen=True, slots=True)
class PasswordWanted:
    """What `hanse user password` was called with."""

    name: str
    password_file: str | None
    create: bool = False
    reason: str | None = None


async def try_login(context: str | None, wanted: Wanted, form: Output) -> int:
    """Let the server try a policy; return the exit status."""
    async with session(context) as opened:
        spec = _policy(wanted.file, opened)
        password = read_password(wanted.password_file, f"Password of {wanted.user}: ")
        found = await opened.client.test_login(spec, wanted.user, password)
    if form in (Output.JSON, Output.YAML):
        print_data(dict(found), form)
    else:
        _print(found)
    return 0 if found["outcome"] == "ok" else 1


async def set_password(context: str | None, wanted: PasswordWanted) -> None:
    """Write a password's Credential, and let the User name it."""
    name = parse_name(wanted.name)
    async with session(context) as opened:
        current = await _user(opened, name)
        if current is None and not wanted.create:
            raise NotFound(f"there is no User {name}; --create makes one")
        spec = dict(current.spec) if current else {}
        credential = spec.get("credential") or f"user-{name}"
        password = read_password(wanted.password_file, f"New password of {name}: ", twice=True)
        operations = [
            Put(_document("Credential", credential, {"secret": password, "use": "password"}))
        ]
        if spec.get("credential") != credential:
            metadata = {"labels": dict(current.labels)} if current else {}
            document = _document("User", name, {**spec, "credential": credential}, metadata)
            operations.append(Put(document, current.revision if current else 0))
        await opened.client.transaction(operations, reason=wanted.reason)
    print(f"The password of {name} is set; only its hash is kept (Credential {credential}).")


def read_password(file: str | None, prompt: str, *, twice: bool = False) -> str:
    """Return a password: of a file's first line, of stdin (`-`), or typed; Invalid."""
    if file is not None:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text("utf-8")
        found = text.split("\n")[0].removesuffix("\r")
        if not found:
            raise Invalid("the password is empty", code="no_password")
        return found
    if not sys.stdin.isatty():
        raise Invalid(
            "there is no terminal to ask for the password: give --password-file, - for stdin",
            code="no_password",
        )
    found = getpass.getpass(prompt)
    if twice and getpass.getpass("Again: ") != found:
        raise Invalid("the two passwords differ", code="wrong_password")
    return found


def _policy(file: Path, opened: Session) -> Mapping[str, Any]:
    """Return the spec of the one AuthenticationPolicy in a file."""
    found = [
        each.envelope
        for each in read_sources([str(file)], opened).documents
        if each.envelope.kind == KIND
    ]
    if len(found) != 1:
        raise Invalid(
            f"{file} holds {len(found)} documents of kind {KIND}; give one with exactly one",
            code="invalid_documents",
        )
    return dict(found[0].spec.to_json())


async def _user(opened: Session, name: str) -> Any:
    try:
        return await opened.client.get("User", name)
    except NotFound:
        return None


def _document(
    kind: str, name: str, spec: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "tenant": COMMON, **(metadata or {})},
        "spec": dict(spec),
    }


def _print(found: Mapping[str, Any]) -> None:
    rows = [
        [
            each["provider"],
            each["answer"],
            each.get("displayName") or "",
            ", ".join(each.get("groups") or ()),
            each.get("reason") or "",
        ]
        for each in found["providers"]
    ]
    print_table(["PROVIDER", "ANSWER", "NAME", "GROUPS", "WHY"], rows)
    print()
    if found["outcome"] == "ok":
        roles = ", ".join(found["roles"]) or "none: nothing would be allowed"
        print(f"{found['username']} would be logged in. Roles by the bindings of now: {roles}")
    else:
        print(f"The login would be answered with {found['outcome']}.")
    if found.get("wouldLockYouOut"):
        print_note(f"you yourself: {found['wouldLockYouOut']}")
