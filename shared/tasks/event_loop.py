"""uvloop's event loop, made safe against sockets that outlive their descriptors.

uvloop 0.23 takes over a connected socket's descriptor at once but the socket object a turn later.
When the other end resets the connection in between, the descriptor is closed and the object still
names it; whenever that is collected, whoever has got the number since loses his connection, or
another's bytes are written to it.  Seen here as a site that cut its nodes off and then ended.
(MagicStack/uvloop issues 645, 653 and 738 are of the same family; 0.23 mends another of its cases.)
"""

import socket
from typing import Any

import uvloop


class EventLoop(uvloop.Loop):
    """uvloop's loop, whose connections leave no socket object behind that names a descriptor."""

    async def create_connection(
        self, *where: Any, sock: socket.socket | None = None, **options: Any
    ) -> Any:
        """Connect, or take over `sock`, which is the loop's from then on, whatever comes of it."""
        lives = False
        try:
            made: Any = await super().create_connection(*where, sock=sock, **options)
            lives = not made[0].is_closing()
        finally:
            # The loop has closed the descriptor or is about to: it needs no help from the object.
            if sock is not None and not lives:
                sock.detach()
        return made


def new_event_loop() -> EventLoop:
    return EventLoop()
