"""`hanse get` and `hanse describe`: objects as they stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.cli.answers import Object
from shared.cli.columns import age_text, columns_of, labels_text, rows_of
from shared.cli.kinds import find_kind
from shared.cli.output import Output, print_json, print_table
from shared.cli.session import Session, print_note, session
from shared.cli.trails import print_changes
from shared.clock import Clock, SystemClock
from shared.errors import Invalid
from shared.ids import COMMON
from shared.model.documents import dump_yaml
from shared.model.kinds import Kind

# The last changes that `describe` tells.
_RECENT = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects: kinds with commas between, names, and what a list is narrowed by.

    `subject` may be KIND/NAME too.
    """

    subject: str
    names: Sequence[str] = ()
    tenant: str | None = None
    scope: str | None = None
    labels: str | None = None
    fields: str | None = None

    def kinds(self) -> tuple[list[Kind], tuple[str, ...]]:
        """Return the kinds and names asked for; Invalid if they contradict each other."""
        subject, slash, name = self.subject.partition("/")
        kinds = [find_kind(each) for each in subject.split(",")]
        names = ((name,) if slash else ()) + tuple(self.names)
        if names and len(kinds) > 1:
            raise Invalid("with names, give one kind", code="invalid_arguments")
        if names and (self.labels or self.fields):
            raise Invalid("give either names or selectors", code="invalid_arguments")
        return kinds, names


async def get(
    context: str | None, wanted: Wanted, form: Output, *, clock: Clock | None = None
) -> None:
    """Print objects: a table for each kind, or documents."""
    kinds, names = wanted.kinds()
    found: dict[str, list[Object]] = {}
    async with session(context) as opened:
        for kind in kinds:
            found[kind.name] = await _fetch(opened, kind, names, wanted)
    objects = [each for some in found.values() for each in some]
    alone = len(names) == 1
    if form is Output.JSON:
        documents = [each.document for each in objects]
        print_json(documents[0] if alone else {"items": documents})
    elif form is Output.YAML:
        print(yaml_text(objects), end="")
    elif form is Output.NAME:
        for each in objects:
            print(f"{each.kind.lower()}/{each.name}")
    else:
        _print_tables(found, form, clock or SystemClock())


async def _fetch(opened: Session, kind: Kind, names: Sequence[str], wanted: Wanted) -> list[Object]:
    opened.require_home(kind)
    client = opened.client
    if names:
        tenant = wanted.tenant or COMMON
        return [
            await client.get(kind.name, name, tenant=tenant, scope=wanted.scope) for name in names
        ]
    return [
        each
        async for each in client.list(
            kind.name,
            tenant=wanted.tenant,
            scope=wanted.scope,
            labels=wanted.labels,
            fields=wanted.fields,
        )
    ]


def _print_tables(found: dict[str, list[Object]], form: Output, clock: Clock) -> None:
    now = clock.now()
    for kind, objects in found.items():
        if not objects:
            print_note(f"no {find_kind(kind).plural} found")
            continue
        columns = columns_of(kind, objects, wide=form is Output.WIDE, now=now)
        title = kind if len(found) > 1 else ""
        print_table([name for name, _ in columns], rows_of(columns, objects), title=title)


def yaml_text(objects: Sequence[Object]) -> str:
    """Write objects as YAML that `hanse apply` takes back.

    Status, which isn't theirs to write, follows each as a comment.
    """
    parts = []
    for each in objects:
        metadata = {name: value for name, value in each.metadata.items() if value not in ({}, None)}
        document = {**each.document, "metadata": metadata}
        status = document.pop("status", None)
        text = dump_yaml(document)
        if status:
            comment = dump_yaml({"status": status}).splitlines()
            text += "".join(f"# {line}\n" for line in comment)
        parts.append(text)
    return "---\n".join(parts)


async def describe(context: str | None, wanted: Wanted, *, clock: Clock | None = None) -> None:
    """Print all that is known of objects, with their latest changes."""
    kinds, names = wanted.kinds()
    if len(kinds) != 1:
        raise Invalid("describe one kind at a time", code="invalid_arguments")
    async with session(context) as opened:
        objects = await _fetch(opened, kinds[0], names, wanted)
        if not objects:
            print_note(f"no {kinds[0].plural} found")
        for number, each in enumerate(objects):
            if number:
                print()
            _describe(each, clock or SystemClock())
            print()
            await print_changes(opened.client, each.key, limit=_RECENT, title="Latest changes")


def _describe(each: Object, clock: Clock) -> None:
    now = clock.now()
    metadata = each.metadata
    facts: list[tuple[str, Any]] = [
        ("Kind", each.kind),
        ("Name", each.name),
        ("Tenant", each.tenant),
        ("Scope", each.scope),
        ("Origin", each.origin),
        ("Labels", labels_text(each.labels)),
        ("Annotations", labels_text(metadata.get("annotations") or {})),
        ("Revision", f"{each.revision} (generation {each.generation})"),
        ("Created", _moment(metadata.get("createdAt"), age_text(each.created_at, now))),
        ("Changed", _moment(metadata.get("updatedAt"), age_text(each.updated_at, now))),
        ("Uid", metadata.get("uid")),
    ]
    for label, value in facts:
        if value:
            print(f"{label + ':':<13}{value}")
    _print_section("Spec", each.spec)
    _print_section("Status", each.status)


def _moment(text: Any, age: str) -> str:
    return f"{text} ({age} ago)" if text else ""


def _print_section(title: str, data: Any) -> None:
    if not data:
        return
    print(f"{title}:")
    _print_indented(dump_yaml(dict(data)).splitlines())


def _print_indented(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"  {line}")
