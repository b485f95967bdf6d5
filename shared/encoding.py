"""JSON that is kept in memory."""

from typing import Any

import orjson


def encode_to_keep(document: Any, *, option: int | None = None) -> bytes:
    """Return a document's JSON in a block of memory of its own size.

    orjson leaves what it makes in the buffer that it wrote to: at least 4 KiB, and up to eight
    times what is in it, for as long as the bytes live (orjson 3.13; older ones, at least 1 KiB).
    What is sent and forgotten needs no copy.  TypeError as orjson.dumps().
    """
    # Of a single one join() would return the very same object.
    return b"".join((orjson.dumps(document, option=option), b""))
