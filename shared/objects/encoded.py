"""Objects as they are sent, made once for each version.

Only the bytes are kept: whether somebody may see them is asked of each request anew.
"""

from collections import OrderedDict
from typing import Final

import orjson
from aiohttp import web

from shared.http.response import JSON_HEADERS, envelope_of
from shared.ids import Key
from shared.store.contract import Stored

BYTES: Final = 64 << 20
"""Of answers kept; a guess: some 60,000 small objects."""
OVERHEAD: Final = 400
"""Bytes that an answer counts besides its body."""


class EncodedObjects:
    """Bounded by bytes; whose answer was used longest ago goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[Stored, bytes, str]] = OrderedDict()
        self._bytes = 0

    def response(self, stored: Stored) -> web.Response:
        """Return the answer with one object, as shared.http.response.object_response does."""
        found = self._kept.get(stored.key)
        # The same version may have another status, but then it is another Stored.
        if found is None or found[0] is not stored:
            found = self._encode(stored)
        else:
            self._kept.move_to_end(stored.key)
        _, body, tag = found
        response = web.Response(body=body, headers=JSON_HEADERS)
        response.headers["ETag"] = tag
        return response

    def _encode(self, stored: Stored) -> tuple[Stored, bytes, str]:
        old = self._kept.pop(stored.key, None)
        if old is not None:
            self._bytes -= len(old[1]) + OVERHEAD
        made = (stored, orjson.dumps(envelope_of(stored)), f'"{stored.revision}"')
        self._kept[stored.key] = made
        self._bytes += len(made[1]) + OVERHEAD
        while self._bytes > BYTES:
            _, (_, body, _) = self._kept.popitem(last=False)
            self._bytes -= len(body) + OVERHEAD
        return made
