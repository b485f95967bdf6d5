"""The kernel's rules over netlink: atomic batches, dumps, and the generation of all rules.

A process of nft takes longer to start than a small change takes to make, and nft reads a whole
table before it touches an element of it.  Formats: include/uapi/linux/netfilter/nfnetlink.h and
nf_tables.h.  Numbers in headers are the host's, those in attributes the network's.

The kernel numbers each state of a namespace's rules (`generation`): every batch that anybody
commits, to whichever table, makes it greater by one.  A batch may say from which generation it
starts and is refused if somebody has been faster.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from dsn.dataplane.contract import NoDataPlane, Refused

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 10 << 8  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN: Final = 16
_BATCH_END: Final = 17
_BATCH_GENERATION: Final = 1
_ERROR: Final = 2
_DONE: Final = 3

_REQUEST: Final = 0x1
_ACK: Final = 0x4
_DUMP: Final = 0x300
_DUMP_INTERRUPTED: Final = 0x10
CREATE: Final = 0x400
APPEND: Final = 0x800

_INET: Final = 1
_NESTED: Final = 0x8000
_TYPE_MASK: Final = 0x3FFF
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33

# enum nf_tables_msg_types
NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = 12, 13, 14
GET_GENERATION = 16
NEW_OBJECT, GET_OBJECT, DELETE_OBJECT = 18, 19, 20
GET_FLOW_TABLE = 23

_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.Struct(">BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CODE: Final = struct.Struct("=i")
_U32: Final = struct.Struct(">I")

_ERESTART: Final = 85

# The kernel fills up to 32 KiB a read, and more where a message asks for it.
_READ: Final = 1 << 20
_ATTEMPTS: Final = 20


class Outdated(Exception):
    """Somebody has changed the rules since the generation that a batch starts from."""


class Message(NamedTuple):
    """One command of a batch: what (NEW_RULE, …), flags beside "request", and attributes."""

    kind: int
    flags: int
    attributes: bytes


class Netfilter:
    """Speaks with the rules of the network namespace of the thread that makes it.  Blocks."""

    def __init__(self, *, timeout: float) -> None:
        """NoDataPlane if the kernel can't be asked; silence longer than `timeout` s is the same."""
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
            self._socket.settimeout(timeout)
            self._make_room(_SO_RCVBUFFORCE, socket.SO_RCVBUF, 1 << 22)
        except OSError as exc:
            raise NoDataPlane(f"can't speak with the kernel's rules: {exc}") from exc
        self._number = 0
        self._room = 0

    def close(self) -> None:
        self._socket.close()

    def generation(self) -> int:
        """Return the number of the present state of all rules in this namespace."""
        for payload in self._ask(GET_GENERATION, _REQUEST, b""):
            return _U32.unpack(attributes_of(payload)[1])[0]  # type: ignore[no-any-return] # struct
        raise NoDataPlane("the kernel doesn't say which generation its rules are")

    def commit(self, messages: Sequence[Message], *, generation: int | None = None) -> None:
        """Do all of it or nothing.

        Outdated, if `generation` is given and is not the present one; Refused, if the kernel
        doesn't take it; NoDataPlane, if it may not be asked.
        """
        begin = b"" if generation is None else attribute(_BATCH_GENERATION, _U32.pack(generation))
        first = self._next()
        parts = [_pack(_BATCH_BEGIN, _REQUEST, first, begin, resource=10, family=0)]
        for number, each in enumerate(messages):
            # What the last one answers, it answers after the whole has been done.
            flags = each.flags | _REQUEST | (_ACK if number == len(messages) - 1 else 0)
            parts.append(_pack(_SUBSYSTEM | each.kind, flags, self._next(), each.attributes))
        parts.append(_pack(_BATCH_END, _REQUEST, self._next(), b"", resource=10, family=0))
        self._send(b"".join(parts))
        self._await_commit(first, messages)

    def dump(self, kind: int, attributes: bytes = b"") -> list[bytes]:
        """Return the attributes of each thing of a kind (GET_RULE, …) that `attributes` select.

        Nothing, if what they name isn't there.
        """
        for _ in range(_ATTEMPTS):
            found, whole = self._dump(kind, attributes)
            if whole:
                return found
        raise NoDataPlane("the kernel's rules change faster than they can be listed")

    def get(self, kind: int, attributes: bytes) -> bytes | None:
        """Return the attributes of one thing, None if it isn't there."""
        for payload in self._ask(kind, _REQUEST, attributes):
            return payload
        return None

    def _dump(self, kind: int, attributes: bytes) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        whole = True
        number = self._next()
        self._send(_pack(_SUBSYSTEM | kind, _REQUEST | _DUMP, number, attributes))
        while True:
            data = self._receive()
            at, end = 0, len(data)
            while at < end:
                length, what, flags, answered, _ = _HEADER.unpack_from(data, at)
                if answered == number:
                    whole = whole and not flags & _DUMP_INTERRUPTED
                    if what == _DONE:
                        return found, whole
                    if what == _ERROR:
                        _raise_unless_absent(data, at)
                        return found, whole
                    found.append(data[at + 20 : at + length])
                at += (length + 3) & ~3

    def _ask(self, kind: int, flags: int, attributes: bytes) -> Iterator[bytes]:
        number = self._next()
        self._send(_pack(_SUBSYSTEM | kind, flags, number, attributes))
        while True:
            data = self._receive()
            length, what, _, answered, _ = _HEADER.unpack_from(data)
            if answered != number:
                continue
            if what == _ERROR:
                _raise_unless_absent(data, 0)
                return
            yield data[20:length]
            return

    def _await_commit(self, first: int, messages: Sequence[Message]) -> None:
        while True:
            data = self._receive()
            at = 0
            while at < len(data):
                length, what, _, number, _ = _HEADER.unpack_from(data, at)
                if what == _ERROR and first <= number <= self._number:
                    code = -_CODE.unpack_from(data, at + _HEADER.size)[0]
                    if code:
                        raise _refusal(code, number - first - 1, messages)
                    if number == self._number - 1:
                        return
                at += (length + 3) & ~3

    def _send(self, data: bytes) -> None:
        try:
            if len(data) > self._room:
                # A batch is one message to the socket, however long it is.
                self._room = 2 * len(data)
                self._make_room(_SO_SNDBUFFORCE, socket.SO_SNDBUF, self._room)
            self._socket.send(data)
        except OSError as exc:
            if exc.errno == errno.EMSGSIZE:
                raise Refused(
                    "the kernel takes no batch so long from here; raise net.core.wmem_max"
                ) from exc
            raise _no_access(exc.errno or 0) from exc

    def _make_room(self, forced: int, asked: int, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            # Root of a user namespace only: as much as the system lets everybody have.
            self._socket.setsockopt(socket.SOL_SOCKET, asked, size)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_READ)
        except OSError as exc:
            raise NoDataPlane(f"the kernel doesn't answer about its rules: {exc}") from exc

    def _next(self) -> int:
        self._number = (self._number + 1) & 0x7FFFFFFF
        return self._number


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, value: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return _ATTRIBUTE.pack(4 + len(value), kind | _NESTED) + value


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value & 0xFFFFFFFF))


def pairs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes in a piece of a message: type and content."""
    at, end = 0, len(data) - 4
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & _TYPE_MASK, data[at + 4 : at + length]
        # The kernel's lengths include the header; anything else would stand still.
        at += (length + 3) & ~3 or 4


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Return attributes by type."""
    found = {}
    at, end = 0, len(data) - 4
    while at <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & _TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3 or 4
    return found


def text_of(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def number_of(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _pack(
    kind: int,
    flags: int,
    number_: int,
    attributes: bytes,
    *,
    resource: int = 0,
    family: int = _INET,
) -> bytes:
    body = _FAMILY.pack(family, 0, resource) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number_, 0) + body


def _raise_unless_absent(data: bytes, at: int) -> None:
    code = -_CODE.unpack_from(data, at + _HEADER.size)[0]
    if code not in (0, errno.ENOENT):
        raise _no_access(code)


def _refusal(code: int, place: int, messages: Sequence[Message]) -> Exception:
    if code == _ERESTART:
        return Outdated()
    if code == errno.EPERM:
        return _no_access(code)
    which = f"command {place} of {len(messages)}"
    if 0 <= place < len(messages):
        which += f" (kind {messages[place].kind})"
    return Refused(
        "the kernel did not take the rules; those before are still enforced",
        detail=f"{os.strerror(code)} at {which}",
    )


def _no_access(code: int) -> NoDataPlane:
    if code == errno.EPERM:
        return NoDataPlane("the agent may not write or read rules here; run as root")
    return NoDataPlane(f"the kernel's rules can't be reached: {os.strerror(code)}")
