"""What waits in a server's connections to be sent."""

import gc

from shared.http.connections import Connections


class Buffers:
    """Those of the servers that run when it is made.

    Going through all of Python's objects takes seconds in a process that has run a thousand tests,
    so it is done once.
    """

    def __init__(self) -> None:
        self._all = [each for each in gc.get_objects() if isinstance(each, Connections)]

    def sizes(self) -> list[int]:
        """Return the bytes that wait in each open connection."""
        return [
            connection._transport.get_write_buffer_size()
            for each in self._all
            for connection in each._open
            if connection._transport is not None
        ]
