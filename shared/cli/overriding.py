"""`hanse override`: a site's exceptions to what it inherits: list, draft, change the end, end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.cli.answers import Delete, Object, Put, minute_of, moment_of
from shared.cli.columns import age_text
from shared.cli.conflicts.deciding import moment_ahead
from shared.cli.output import Output, console, print_data, print_table
from shared.cli.session import Session, print_note, session
from shared.clock import Clock, SystemClock
from shared.errors import Invalid, NotFound
from shared.ids import COMMON
from shared.model.base import API_VERSION
from shared.model.documents import dump_yaml
from shared.policy.inputs import is_inherited_scope
from shared.policy.merging import exempted

KIND: Final = "Override"


@dataclass(frozen=True, slots=True)
class Named:
    """An Override by its name; tenant and scope are looked for where they aren't given."""

    context: str | None
    name: str
    tenant: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What an exception is to be made of, and how; `origin` tells inherited namesakes apart."""

    kind: str
    target: str
    tenant: str
    origin: str | None
    name: str | None
    scope: str
    reason: str
    expires: str | None


async def list_overrides(context: str | None, tenant: str | None, form: Output) -> None:
    """Print the site's exceptions, the first to end first."""
    async with session(context) as opened:
        opened.require_site("hanse override")
        found = [each async for each in opened.client.list(KIND, tenant=tenant)]
    found.sort(key=lambda each: (str(each.spec.get("expiresAt", "~")), each.key))
    if form in (Output.JSON, Output.YAML):
        print_data({"items": [each.document for each in found]}, form)
    elif form is Output.NAME:
        for each in found:
            print(f"override/{each.name}")
    elif found:
        clock = SystemClock()
        columns = ["NAME", "OF", "SCOPE", "UNTIL", "REASON"]
        print_table(columns, [_row(each, clock) for each in found])
    else:
        print_note("this site makes no exceptions")


async def draft(context: str | None, wish: Wish) -> None:
    """Print an exception that says just what is inherited now, to be edited and applied."""
    async with session(context) as opened:
        opened.require_site("hanse override")
        inherited = await _inherited(opened, wish)
    target: dict[str, Any] = {"kind": wish.kind, "name": wish.target}
    if wish.tenant != COMMON:
        target["tenant"] = wish.tenant
    metadata: dict[str, Any] = {"name": wish.name or f"{wish.target}-exception"}
    if wish.tenant != COMMON:
        metadata["tenant"] = wish.tenant
    if wish.scope != "site":
        metadata["scope"] = wish.scope
    spec: dict[str, Any] = {"target": target, "reason": wish.reason}
    if wish.expires is not None:
        spec["expiresAt"] = moment_ahead(wish.expires).isoformat()
    spec["spec"] = exempted(inherited.spec)
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    print(dump_yaml(document), end="")


async def expire(named: Named, at: str, reason: str) -> None:
    """Give an exception another end."""
    until = moment_ahead(at)
    async with session(named.context) as opened:
        found = await _find(opened, named)
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": _own(found),
            "spec": {**found.spec, "expiresAt": until.isoformat()},
        }
        await opened.client.transaction([Put(document, found.revision)], reason=reason)
    _print(f"Override {found.name} counts until {minute_of(until)}.")


async def end(named: Named, reason: str) -> None:
    """End an exception: what is inherited counts."""
    async with session(named.context) as opened:
        found = await _find(opened, named)
        operation = Delete(KIND, found.name, found.tenant, found.scope, found.revision)
        await opened.client.transaction([operation], reason=reason)
    target = found.spec["target"]
    _print(f"Override {found.name} has ended: {target['kind']} {target['name']} counts as it is.")


def _row(found: Object, clock: Clock) -> Sequence[object]:
    target, until = found.spec["target"], moment_of(found.spec.get("expiresAt"))
    return [
        found.name,
        f"{target['kind']} {target['name']}",
        found.scope,
        _until(until, clock),
        found.spec["reason"],
    ]


def _until(until: datetime | None, clock: Clock) -> str:
    if until is None:
        return "no end"
    now = clock.now()
    return "expired" if until <= now else f"{until:%Y-%m-%d} (in {age_text(now, until)})"


def _own(found: Object) -> dict[str, Any]:
    """Return of an object's metadata what people write."""
    written = ("name", "tenant", "scope", "labels", "annotations")
    return {name: found.metadata[name] for name in written if found.metadata.get(name)}


async def _find(opened: Session, named: Named) -> Object:
    opened.require_site("hanse override")
    fields = f"metadata.name={named.name}"
    listed = opened.client.list(KIND, tenant=named.tenant, scope=named.scope, fields=fields)
    found = [each async for each in listed]
    if not found:
        raise NotFound(f"there is no Override {named.name}; hanse override list shows all")
    if len(found) > 1:
        places = ", ".join(f"{each.tenant}, {each.scope}" for each in found)
        raise Invalid(
            f"several Overrides are called {named.name} ({places}): give --tenant and --scope",
            code="ambiguous",
        )
    return found[0]


async def _inherited(opened: Session, wish: Wish) -> Object:
    fields = f"metadata.name={wish.target}"
    listed = opened.client.list(wish.kind, tenant=wish.tenant, fields=fields)
    found = [each async for each in listed if is_inherited_scope(each.scope)]
    if wish.origin is not None:
        found = [each for each in found if each.scope == wish.origin]
    if not found:
        raise NotFound(
            f"no {wish.kind} {wish.target} is inherited here; hanse get {wish.kind.lower()} shows "
            "what there is"
        )
    if len(found) > 1:
        scopes = ", ".join(each.scope for each in found)
        raise Invalid(
            f"{wish.kind} {wish.target} is inherited from several places ({scopes}): say which is "
            "in force here with --from",
            code="ambiguous",
        )
    return found[0]


def _print(text: str) -> None:
    console().print(text, markup=False, soft_wrap=True)
