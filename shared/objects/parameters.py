"""The parameters that routes of objects share: what they mean, and how they are read."""

from typing import Any, Final

from aiohttp import web

from shared.errors import Malformed
from shared.http.request import text
from shared.http.routes import Parameter
from shared.ids import COMMON, Key
from shared.model.kinds import DEFAULT_SCOPE, Home
from shared.model.source import CONTROL
from shared.objects.service import Applied

_FLAG: Final[dict[str, Any]] = {"type": "boolean", "default": False}


def _count(default: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


TENANT: Final = Parameter("tenant", "The object's tenant; common if left out.")
SCOPE: Final = Parameter(
    "scope", "The object's scope; federation on the FSM and site on an SDSP if left out."
)
ANY_TENANT: Final = Parameter("tenant", "Only objects of this tenant.")
ANY_SCOPE: Final = Parameter("scope", "Only objects with this scope.")
LABELS: Final = Parameter(
    "labelSelector", "As kubectl has it: env=prod,tier in (web,db),!old.", {"type": "string"}
)
FIELDS: Final = Parameter(
    "fieldSelector", "Fields of the document: metadata.name=web,spec.vlan!=110."
)
LIST_LIMIT: Final = Parameter("limit", "How many objects a page has at most.", _count(500, 1000))
LIMIT: Final = Parameter("limit", "How many entries come at most.", _count(100, 1000))
BEFORE_REVISION: Final = Parameter(
    "before", "Only changes before this revision.", {"type": "integer", "minimum": 1}
)
CONTINUE: Final = Parameter(
    "continue", "metadata.continue of the page before; the list is as of that page's revision."
)
DRY_RUN: Final = Parameter("dryRun", "Do everything but the commit.", _FLAG)
FORCE: Final = Parameter("force", "Pass what a person with the permission may pass.", _FLAG)
IF_MATCH: Final = Parameter(
    "If-Match", "The revision that must still stand.", {"type": "string"}, where="header"
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    "Only *: there must be no such object yet.",
    {"type": "string", "enum": ["*"]},
    where="header",
)
REQUEST_ID: Final = Parameter(
    "X-Request-Id",
    "Choose it, and the same request sent again within 24 hours counts once.",
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
    where="header",
)

WRITES: Final = (TENANT, SCOPE, DRY_RUN, FORCE, IF_MATCH, REQUEST_ID)
LISTS: Final = (ANY_TENANT, ANY_SCOPE, LABELS, FIELDS, LIST_LIMIT, CONTINUE)


def key_of(request: web.Request, kind: str, home: Home) -> Key:
    """Return the key that a path and its parameters name; Malformed if it can be no name."""
    name = request.match_info["name"]
    if CONTROL.search(name):
        # Some databases refuse such a text with an error of their own.
        raise Malformed("the name in the address has a control character")
    return Key(
        kind,
        text(request, "tenant") or COMMON,
        text(request, "scope") or DEFAULT_SCOPE[home],
        name,
    )


def warnings_of(applied: Applied) -> dict[str, str]:
    """Return the headers that tell of warnings (RFC 7234 §5.5) and of a replay."""
    headers: dict[str, str] = {}
    if applied.replayed:
        headers["X-Replayed"] = "true"
    texts = [_quoted(each.error.message) for each in applied.warnings[:20]]
    if texts:
        headers["Warning"] = ", ".join(f'299 hanse "{each}"' for each in texts)
    return headers


def _quoted(message: str) -> str:
    plain = "".join(each if 32 <= ord(each) < 127 else "?" for each in message[:200])
    return plain.replace("\\", "\\\\").replace('"', '\\"')
