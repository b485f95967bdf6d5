"""The routes of one kind each, made from the registry: /api/v1/KIND-PLURAL[/NAME]."""

from functools import cache, partial
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, Field, create_model

from shared.access.permissions import reading, writing
from shared.errors import FieldError, Invalid, Malformed, RevisionConflict
from shared.http.body import aside, read_json
from shared.http.request import (
    expected_revision,
    flag,
    is_dry_run,
    number,
    only_parameters,
    text,
)
from shared.http.response import change_document, is_secret, json_response, object_response
from shared.http.routes import Handler, Routes
from shared.ids import Key, Revision
from shared.model.base import API_VERSION, Envelope
from shared.model.documents import envelope_type, parse_value
from shared.model.kinds import KINDS, Home, Kind
from shared.objects import parameters
from shared.objects.call import call_of
from shared.objects.keys import ENCODED, OBJECTS, READER
from shared.objects.paging import Continue
from shared.objects.reader import LIMIT, MOST, Query
from shared.objects.rights import absent, check_labels, check_write
from shared.objects.selection import parse_field_selector, parse_label_selector
from shared.objects.service import Applied, Options, Write, merge_patch
from shared.store.contract import Stored

MERGE_PATCH: Final = "application/merge-patch+json"

# A patch without If-Match is applied anew when somebody else was faster.
_PATCH_TRIES: Final = 5

_NAMED: Final = ("tenant", "scope")


class ListMetadata(BaseModel):
    """Where a list was read."""

    revision: int = Field(description="The store's revision that all objects are as of.")
    incarnation: str = Field(description="Which life of the store this revision counts in.")
    goes_on: str | None = Field(
        None, alias="continue", description="Give it as `continue` for the next page."
    )


class HistoryEntry(BaseModel):
    """One change of an object."""

    operation: str = Field(description="put or delete")
    revision: int = Field(description="The store's revision that it took.")
    object: dict[str, Any] = Field(description="The object after it; deleted, as it last was.")


class History(BaseModel):
    """An object's changes, latest first."""

    items: list[HistoryEntry] = Field(description="Changes, latest first.")


@cache
def kind_routes(home: Home) -> Routes:
    """Return the routes of all kinds that live on a component; kinds that only the system
    writes can only be read.
    """
    routes = Routes("/api/v1", tag="objects")
    for kind in KINDS.values():
        if home in kind.lives_on:
            _add(routes, kind)
    return routes


def _add(routes: Routes, kind: Kind) -> None:
    envelope, read = envelope_type(kind.name), reading(kind.name)
    many, one = f"/{kind.plural}", f"/{kind.plural}/{{name}}"
    place = (parameters.TENANT, parameters.SCOPE)

    def declare(method: str, path: str, handler: Any, **described: Any) -> None:
        bound: Handler = partial(handler, kind=kind)
        permission = described.pop("permission", read)
        routes.route(
            method, path, permission=permission, tag=kind.name, description="", **described
        )(bound)

    declare(
        "GET",
        many,
        list_objects,
        summary=f"List objects of kind {kind.name}.",
        answer=_list_model(kind, envelope),
        parameters=parameters.LISTS,
    )
    declare(
        "GET",
        one,
        get_object,
        summary=f"Return one {kind.name}.",
        answer=envelope,
        parameters=place,
    )
    declare(
        "GET",
        f"{one}/history",
        object_history,
        summary=f"Return the changes of one {kind.name}, latest first.",
        answer=History,
        parameters=(*place, parameters.LIMIT, parameters.BEFORE_REVISION),
    )
    if kind.written_by == "system":
        return
    write = writing(kind.name)
    declare(
        "PUT",
        one,
        put_object,
        permission=write,
        summary=f"Create a {kind.name}, or replace it.",
        body=envelope,
        answer=envelope,
        parameters=(*parameters.WRITES, parameters.IF_NONE_MATCH),
        answers={"201": {"description": "Created."}},
    )
    declare(
        "PATCH",
        one,
        patch_object,
        permission=write,
        summary=f"Change a {kind.name} by a JSON merge patch (RFC 7396).",
        body=MergePatch,
        body_type=MERGE_PATCH,
        answer=envelope,
        parameters=parameters.WRITES,
    )
    declare(
        "DELETE",
        one,
        delete_object,
        permission=write,
        summary=f"Delete a {kind.name} and return its last version.",
        answer=envelope,
        parameters=parameters.WRITES,
    )


class MergePatch(BaseModel):
    """Parts of the document to set; null takes a field away."""

    metadata: dict[str, Any] = Field({}, description="labels and annotations may be changed.")
    spec: dict[str, Any] = Field({}, description="The fields of spec to change.")


def _list_model(kind: Kind, envelope: type[Envelope[Any]]) -> type[BaseModel]:
    return create_model(
        f"{kind.name}List",
        __doc__=f"A page of objects of kind {kind.name}.",
        apiVersion=(str, Field(description="hanse/v1")),
        kind=(str, Field(description=f"{kind.name}List")),
        metadata=(ListMetadata, Field(description="Where the list was read.")),
        items=(list[envelope], Field(description="Objects in the order of their keys.")),  # type: ignore[valid-type]  # made at run time
    )


async def list_objects(request: web.Request, *, kind: Kind) -> web.Response:
    only_parameters(request, *(each.name for each in parameters.LISTS))
    selector = parse_label_selector(text(request, "labelSelector"))
    goes_on = text(request, "continue")
    query = Query(
        kind=kind.name,
        tenant=text(request, "tenant"),
        scope=text(request, "scope"),
        labels=selector.matches if selector else None,
        fields=parse_field_selector(text(request, "fieldSelector")),
        limit=number(request, "limit", lowest=1, highest=MOST) or LIMIT,
        goes_on=Continue.parse(goes_on) if goes_on else None,
    )
    page = await request.app[READER].list(call_of(request), query)
    metadata: dict[str, Any] = {
        "revision": page.position.revision,
        "incarnation": page.position.incarnation,
    }
    if page.goes_on:
        metadata["continue"] = str(page.goes_on)
    return json_response(
        {
            "apiVersion": API_VERSION,
            "kind": f"{kind.name}List",
            "metadata": metadata,
            "items": [request.app[ENCODED].fragment(each) for each in page.items],
        }
    )


async def get_object(request: web.Request, *, kind: Kind) -> web.Response:
    only_parameters(request, *_NAMED)
    key = parameters.key_of(request, kind.name, request.app[OBJECTS].home)
    stored = await request.app[READER].get(call_of(request), key)
    return request.app[ENCODED].response(stored)


async def object_history(request: web.Request, *, kind: Kind) -> web.Response:
    only_parameters(request, *_NAMED, "limit", "before")
    before = number(request, "before", lowest=1)
    changes = await request.app[READER].history(
        call_of(request),
        parameters.key_of(request, kind.name, request.app[OBJECTS].home),
        before=Revision(before) if before else None,
        limit=number(request, "limit", lowest=1, highest=MOST) or 100,
    )
    return json_response({"items": [change_document(each) for each in changes]})


async def put_object(request: web.Request, *, kind: Kind) -> web.Response:
    options = _options(request)
    document = await read_json(request)
    metadata = document.get("metadata") if isinstance(document, dict) else None
    if isinstance(metadata, dict):
        # Without them the document says where it belongs; with them it must agree.
        for part in _NAMED:
            if (asked := text(request, part)) is not None:
                metadata.setdefault(part, asked)
    envelope = await aside(request, _parse, document)
    key = envelope.key(request.app[OBJECTS].default_scope)
    wanted = {"kind": kind.name, "name": request.match_info["name"]}
    wanted |= {part: asked for part in _NAMED if (asked := text(request, part)) is not None}
    _check_place(key, wanted)
    write = Write(key, envelope, expected_revision(request))
    return _answer(await request.app[OBJECTS].apply(call_of(request), [write], options))


async def patch_object(request: web.Request, *, kind: Kind) -> web.Response:
    options = _options(request)
    call, objects = call_of(request), request.app[OBJECTS]
    key = parameters.key_of(request, kind.name, objects.home)
    # Before it is read: who may not write it may not learn that it is there.
    check_write(call.caller, key)
    patch = await read_json(request)
    if not isinstance(patch, dict):
        raise Malformed("a merge patch of a document is a mapping")
    _check_patch(kind, patch)
    given = expected_revision(request)
    for attempt in range(_PATCH_TRIES):
        current = await objects.find(key)
        if current is None:
            raise absent(key)
        check_labels(call.caller, key, before=current.labels, after=None)
        envelope = await aside(request, _patched, current, patch)
        _check_place(envelope.key(objects.default_scope), key._asdict())
        write = Write(key, envelope, current.revision if given is None else given)
        try:
            return _answer(await objects.apply(call, [write], options))
        except RevisionConflict:
            if given is not None or attempt == _PATCH_TRIES - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


async def delete_object(request: web.Request, *, kind: Kind) -> web.Response:
    options = _options(request)
    key = parameters.key_of(request, kind.name, request.app[OBJECTS].home)
    write = Write(key, None, expected_revision(request))
    return _answer(await request.app[OBJECTS].apply(call_of(request), [write], options))


def _options(request: web.Request) -> Options:
    only_parameters(request, *_NAMED, "dryRun", "force")
    return Options(dry_run=is_dry_run(request), force=flag(request, "force"))


def _parse(document: Any) -> Envelope[Any]:
    envelope, faults = parse_value(document)
    if envelope is None or faults:
        message = faults[0].message if len(faults) == 1 else f"{len(faults)} faults"
        raise Invalid(f"the document is not valid: {message}", fields=faults)
    return envelope


def _patched(current: Stored, patch: dict[str, Any]) -> Envelope[Any]:
    return _parse(merge_patch(_plain(current), patch))


def _check_patch(kind: Kind, patch: dict[str, Any]) -> None:
    """Raise Invalid (`null`) if a patch would take a secret away, which would leave it as it is."""
    spec = patch.get("spec", {})
    if kind.secret and (
        spec is None or (isinstance(spec, dict) and spec.get("secret", "") is None)
    ):
        message = "a secret can be replaced, not taken away; delete the object"
        fault = FieldError("spec.secret", "null", message)
        raise Invalid(f"spec.secret: {message}", code="null", fields=[fault])


def _check_place(found: Key, wanted: dict[str, str]) -> None:
    """Raise Invalid (`path_mismatch`) unless a document is the one that the address names."""
    for part, value in wanted.items():
        said = getattr(found, part)
        if said != value:
            path = part if part == "kind" else f"metadata.{part}"
            message = f"the document says {said!r}, the address {value!r}"
            fault = FieldError(path, "path_mismatch", message)
            raise Invalid(f"{path}: {message}", code="path_mismatch", fields=[fault])


def _plain(stored: Stored) -> dict[str, Any]:
    """Return a document as its writer would have written it; a secret's content stays out of it,
    and is kept by being left out.
    """
    key = stored.key
    return {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "tenant": key.tenant,
            "scope": key.scope,
            "labels": dict(stored.labels),
            "annotations": dict(stored.annotations),
        },
        "spec": _plain_spec(stored),
    }


def _plain_spec(stored: Stored) -> dict[str, Any]:
    if is_secret(stored.key.kind):
        return {"use": stored.spec["use"]} if "use" in stored.spec else {}
    return dict(stored.spec)


def _answer(applied: Applied) -> web.Response:
    written = applied.written[0]
    status = 201 if written.created else 200
    return object_response(written.stored, status=status, headers=parameters.warnings_of(applied))
