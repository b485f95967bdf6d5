"""The OpenAPI 3.1 document, made from the routes themselves and served at /openapi.json."""

import asyncio
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from shared.http.keys import READERS
from shared.http.response import json_response
from shared.http.routes import PUBLIC, Access, Parameter, Route, Routes
from shared.http.statuses import STATUS


class Description:
    """The document of an application, made when somebody first asks for it.

    That takes a third of a second, which a server that starts in an incident has better uses for.
    """

    def __init__(self, table: dict[web.AbstractRoute, Route], *, title: str) -> None:
        """`table` may still be filled, until the first request."""
        self._table = table
        self._title = title
        self._document: dict[str, Any] | None = None

    async def document(self, request: web.Request) -> dict[str, Any]:
        if self._document is None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(request.app[READERS], self._made)
        return self._document

    def _made(self) -> dict[str, Any]:
        # In the one thread of READERS, so that many who ask at once have it made once.
        if self._document is None:
            self._document = describe(self._table.values(), title=self._title)
        return self._document


DESCRIPTION: web.AppKey[Description] = web.AppKey("openapi", Description)

routes = Routes(tag="description")

_PLACEHOLDER: Final = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_REF: Final = "#/components/schemas/{model}"
_REASONS: Final = {
    400: "The request can't be read.",
    401: "Nobody is logged in, or the token or certificate is not good.",
    403: "The caller may not do this.",
    404: "There is none, or the caller may not know that there is one.",
    409: "It doesn't fit the present state; with revision_conflict someone else wrote first.",
    410: "This position can't be resumed; list again.",
    413: "More bytes than allowed.",
    422: "Understood and refused; nothing was written.",
    429: "Too many attempts; Retry-After says when to try again.",
    503: "Something that this needs is out; try again later.",
    507: "The disk is full; reading still works.",
}

_ENVELOPE: Final = re.compile(r"\bEnvelope_(\w+?)_(?!\w)")
_DESCRIPTIONS: Final = {
    "JsonValue": "Any JSON value.",
}

_PARAMETERS: Final = {
    "name": "The object's name.",
    "site": "The site's name.",
    "node": "The node's name.",
}


class FieldProblem(BaseModel):
    """One fault in one place of what was sent."""

    path: str = Field(description="The field, such as spec.rules[2].from[0].network.")
    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="What is wrong and what to do, for people.")
    file: str | None = Field(None, description="The file that it stands in, if it came from one.")
    line: int | None = Field(None, description="The line in that file, from 1.")


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Always about:blank; see code.")
    title: str = Field(description="What is wrong and what to do, in a sentence for people.")
    status: int = Field(description="The HTTP status.")
    code: str = Field(description="A stable word for programs, such as revision_conflict.")
    errors: list[FieldProblem] = Field(description="The faults of single fields.")
    requestId: str = Field(  # noqa: N815 - its name in JSON
        description="The same as in X-Request-Id, the server's logs and the audit trail."
    )


@routes.get("/openapi.json", permission=PUBLIC)
async def openapi(request: web.Request) -> web.Response:
    """Return this description, in OpenAPI 3.1."""
    return json_response(await request.app[DESCRIPTION].document(request))


def describe(table: Iterable[Route], *, title: str, version: str = "v1") -> dict[str, Any]:
    """Return the OpenAPI document of some routes."""
    known = list(table)
    models = {model for route in known for model in (route.body, route.answer) if model}
    ordered = sorted(models | {Problem}, key=lambda model: model.__name__)
    refs, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_REF
    )
    schemas = {model: _renamed(refs[model, "validation"]) for model in ordered}
    paths: dict[str, dict[str, Any]] = {}
    for route in known:
        path = _PLACEHOLDER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Errors are application/problem+json; see Problem.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _described(_renamed(definitions.get("$defs", {}))),
            "responses": {
                str(status): {
                    "description": reason,
                    "content": {"application/problem+json": {"schema": schemas[Problem]}},
                }
                for status, reason in _REASONS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }
    _drop_unused(document)
    return document


def _drop_unused(document: dict[str, Any]) -> None:
    """Take out models that are written as something else, such as text, wherever they stand."""
    schemas = document["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    for name in set(schemas) - used:
        del schemas[name]


def _renamed(value: Any) -> Any:
    """Call an object of a kind `NetworkObject`, not pydantic's `Envelope_Network_`."""
    if isinstance(value, dict):
        return {_ENVELOPE.sub(r"\1Object", key): _renamed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each) for each in value]
    return _ENVELOPE.sub(r"\1Object", value) if isinstance(value, str) else value


def _described(schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe what the models leave to their names: objects, and fields that are one model."""
    for name, schema in schemas.items():
        if name.endswith("Object") and "spec" in schema.get("properties", {}):
            schema["title"] = name
            schema.setdefault("description", f"A document of kind {name.removesuffix('Object')}.")
        schema.setdefault("description", _DESCRIPTIONS.get(name, ""))
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            refs = [field, *field.get("anyOf", ())]
            target = next((each["$ref"] for each in refs if "$ref" in each), "")
            inner = schemas.get(target.rpartition("/")[2], {})
            if "description" in inner:
                field.setdefault("description", inner["description"])
    return schemas


def _operation(route: Route, schemas: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schemas[route.answer]} if route.answer else {}
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": _description(route),
        "tags": [route.tag],
        "security": _security(route),
        "parameters": [*_path_parameters(route), *map(_parameter, route.parameters)],
        "responses": {
            str(route.status): {
                "description": "Done.",
                "content": {route.media_type: content},
            },
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted(set(STATUS.values()))
            },
            **route.answers,
        },
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {route.body_type: {"schema": schemas[route.body]}},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/api/v1/"))
    return "_".join([route.method.lower(), *words])


def _description(route: Route) -> str:
    if isinstance(route.permission, Access):
        needs = {
            Access.PUBLIC: "Open to everyone.",
            Access.AUTHENTICATED: "Needs a known identity.",
            Access.PEER: f"Needs the certificate of: {', '.join(sorted(route.peers))}.",
        }[route.permission]
    else:
        needs = f"Needs the permission `{route.permission.value}`."
    return f"{route.description}\n\n{needs}".strip()


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.permission is Access.PUBLIC:
        return []
    return [{"certificate": []}] if route.permission is Access.PEER else [{"bearer": []}]


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PARAMETERS.get(name, f"The {name}."),
            "schema": {"type": "string"},
        }
        for name in _PLACEHOLDER.findall(route.path)
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }
