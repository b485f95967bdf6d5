"""Permission for what belongs to no tenant: the server, its sites, its nodes, their trust.

A route asks whether somebody holds its permission anywhere.  Where no object's own tenant is asked
about afterwards, this must be: who looks after one tenant has no say about what all rest on.
"""

from aiohttp import web

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.errors import Forbidden
from shared.http.request import caller_of
from shared.ids import COMMON


def check_common(request: web.Request, permission: Permission, *, scope: str) -> None:
    """Raise Forbidden unless the caller holds a permission in tenant common."""
    decision = authorize(caller_of(request), permission, tenant=COMMON, scope=scope)
    if not decision.allowed:
        raise Forbidden(decision.reason)
