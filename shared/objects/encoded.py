"""Objects as they are sent, made once for each version.

Only the bytes are kept: whether somebody may see them is asked of each request anew.
"""

from collections import OrderedDict
from typing import Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from shared.encoding import encode_to_keep
from shared.http.ready import Ready, ReadyResponse
from shared.http.response import JSON_HEADERS, envelope_of
from shared.ids import Key
from shared.store.contract import Stored

BYTES: Final = 64 << 20
"""Of answers kept; a guess: some 30,000 small objects."""
OVERHEAD: Final = 1500
"""Bytes that an answer counts besides its body."""


class EncodedObjects:
    """Bounded by bytes; whose answer was used longest ago goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[Stored, Ready]] = OrderedDict()
        self._bytes = 0

    def response(self, stored: Stored) -> web.Response:
        """Return the answer with one object, as shared.http.response.object_response does."""
        return ReadyResponse(self._ready(stored))

    def fragment(self, stored: Stored) -> orjson.Fragment:
        """Return an object's document, for orjson to put into a larger one as it is."""
        return orjson.Fragment(self._ready(stored).body)

    def _ready(self, stored: Stored) -> Ready:
        found = self._kept.get(stored.key)
        # The same version may have another status, but then it is another Stored.
        if found is None or found[0] is not stored:
            return self._encode(stored)
        self._kept.move_to_end(stored.key)
        return found[1]

    def _encode(self, stored: Stored) -> Ready:
        old = self._kept.pop(stored.key, None)
        if old is not None:
            self._bytes -= len(old[1].body) + OVERHEAD
        headers = CIMultiDict({**JSON_HEADERS, "ETag": f'"{stored.revision}"'})
        made = Ready(headers, encode_to_keep(envelope_of(stored)))
        self._kept[stored.key] = (stored, made)
        self._bytes += len(made.body) + OVERHEAD
        while self._bytes > BYTES:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= len(gone.body) + OVERHEAD
        return made
