"""The public facts of trust: roots that a joiner, or a person, may compare, and their links."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from shared.enrolment.joining import LINKS_PATH, ROOT_PATH
from shared.http.routes import PUBLIC, Routes

PEM_TYPE: Final = "application/x-pem-file"

JOIN_LIMIT: Final = 32 * 1024
"""Bytes of a join's body, which anybody may send: a token and a signing request."""

ROOTS: web.AppKey[Callable[[], str]] = web.AppKey("roots")
"""Returns the trusted roots of now, in PEM form."""

LINKS: web.AppKey[Callable[[], str]] = web.AppKey("links")
"""Returns what vouches for roots that came after others, in PEM form."""

routes = Routes("", tag="trust")


@routes.get(ROOT_PATH, permission=PUBLIC, media_type=PEM_TYPE)
async def roots(request: web.Request) -> web.Response:
    """Return the federation's root certificates.

    Whoever fetches them over a connection that nothing vouches for compares their SHA-256 with the
    one in a join token, or with the one that `hanse fsm init` printed, before believing them.
    """
    return web.Response(body=request.app[ROOTS]().encode("ascii"), content_type=PEM_TYPE)


@routes.get(LINKS_PATH, permission=PUBLIC, media_type=PEM_TYPE)
async def links(request: web.Request) -> web.Response:
    """Return the keys of newer roots, signed by the older ones.

    Whoever trusts an older root believes a newer one because of them, and of nothing else.
    """
    return web.Response(body=request.app[LINKS]().encode("ascii"), content_type=PEM_TYPE)
