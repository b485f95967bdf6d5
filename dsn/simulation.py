"""A listener that asks the simulated data plane what becomes of a packet.

For demos and simulations, on loopback only.  One JSON object a line:

    {"from": "10.1.10.5", "to": "10.1.20.5", "protocol": "tcp", "port": 5432, "sourcePort": 40000}
    {"verdict": "allow", "reason": "rule", "rule": "0123456789abcdef"}

`protocol` is a name or a number, ports are left out where there are none; `opening` false makes it
a packet in the middle of a connection.  A line that can't be read is answered with `error`.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, Final

import orjson

from dsn.dataplane.memory import MemoryDataPlane
from shared.algebra.cidrs import format_address, parse_address
from shared.policy.nodeconfig import PORT_PROTOCOLS, Packet

log = logging.getLogger(__name__)

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
_HOST: Final = "127.0.0.1"
_LONGEST_LINE: Final = 4096
_MOST_CONNECTIONS: Final = 64


class Simulation:
    """Serves until cancelled."""

    def __init__(self, *, plane: MemoryDataPlane, port: int, file: Path) -> None:
        """Listen at `port` (0: any free one) and write `{"host", "port"}` to `file`."""
        self._plane = plane
        self._port = port
        self._file = file
        self._open = 0

    async def run(self) -> None:
        server = await asyncio.start_server(self._serve, _HOST, self._port, limit=_LONGEST_LINE)
        port = server.sockets[0].getsockname()[1]
        temporary = self._file.with_name(f".{self._file.name}.new")
        temporary.write_bytes(orjson.dumps({"host": _HOST, "port": port}))
        temporary.replace(self._file)
        log.info("simulated packets are judged", extra={"host": _HOST, "port": port})
        try:
            async with server:
                await server.serve_forever()
        finally:
            self._file.unlink(missing_ok=True)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to one line."""
        try:
            document = json.loads(line)
            packet = parse_packet(document)
            opening = bool(document.get("opening", True))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            return {"error": f"this is no packet: {exc}"}
        handled = self._plane.handle(packet, opening=opening)
        answer = {"verdict": handled.verdict, "reason": handled.reason, "rule": handled.rule}
        if handled.to is None:
            return answer
        to = format_address(handled.to.family, handled.to.destination)
        return {**answer, "to": to, "port": handled.to.port}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > _MOST_CONNECTIONS:
                return
            while line := await reader.readline():
                writer.write(orjson.dumps(self.answer(line), option=orjson.OPT_APPEND_NEWLINE))
                await writer.drain()
        except (OSError, ValueError):
            # Gone, or a line without an end.
            pass
        finally:
            self._open -= 1
            writer.close()


def parse_packet(document: Any) -> Packet:
    """Return the packet of a line; KeyError, TypeError or ValueError if it is none."""
    family, source = parse_address(document["from"])
    other, destination = parse_address(document["to"])
    if other != family:
        raise ValueError("from and to are of two families")
    named = document["protocol"]
    protocol = PROTOCOLS[named] if isinstance(named, str) and named in PROTOCOLS else int(named)
    if not 0 <= protocol <= 255:
        raise ValueError("a protocol is 0 to 255")
    if protocol not in PORT_PROTOCOLS:
        return Packet(family, source, destination, protocol)
    port, source_port = int(document["port"]), int(document.get("sourcePort", 49152))
    if not (0 <= port <= 65535 and 0 <= source_port <= 65535):
        raise ValueError("a port is 0 to 65535")
    return Packet(family, source, destination, protocol, source_port, port)
