"""Changes as JSON, serialised once however many watch."""

from collections import OrderedDict
from typing import Final

import orjson

from shared.encoding import encode_to_keep
from shared.http.response import change_document
from shared.ids import Key, Revision
from shared.store.contract import Change

# A thousand ordinary changes; watchers that are further apart than that serialise anew.
_BYTES: Final = 16 * 1024 * 1024


class RenderedChanges:
    """Keeps the JSON of the latest changes, at most 16 MiB of it."""

    def __init__(self, *, limit: int = _BYTES) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[tuple[Revision, Key], tuple[orjson.Fragment, int]] = OrderedDict()

    def render(self, change: Change) -> orjson.Fragment:
        """Return a change's document, for orjson to put into a larger one as it is."""
        place = (change.revision, change.key)
        if kept := self._kept.get(place):
            return kept[0]
        data = encode_to_keep(change_document(change))
        fragment = orjson.Fragment(data)
        self._kept[place] = (fragment, len(data))
        self._size += len(data)
        while self._size > self._limit:
            _, (_, size) = self._kept.popitem(last=False)
            self._size -= size
        return fragment
