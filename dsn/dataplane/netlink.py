"""Connection tracking over netlink: list what is tracked, delete entries.

The conntrack program deletes one entry a run; the kernel takes thousands in a message.  Formats:
include/uapi/linux/netlink.h, netfilter/nfnetlink.h, netfilter/nfnetlink_conntrack.h.  Numbers in
headers are the host's, those in attributes the network's.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dsn.dataplane.contract import NoDataPlane
from shared.algebra.cidrs import Family

_NETLINK_NETFILTER: Final = 12
_GET: Final = (1 << 8) | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_DELETE: Final = (1 << 8) | 2
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_REQUEST: Final = 0x1
_ACK: Final = 0x4
_DUMP: Final = 0x300
_DUMP_INTERRUPTED: Final = 0x10
_CLONE_NEWNET: Final = 0x40000000
_ENOENT: Final = 2

_TUPLE_ORIG: Final = 1
_TUPLE_REPLY: Final = 2
_ID: Final = 12
_TUPLE_MASTER: Final = 14
_ZONE: Final = 18
_TYPE_MASK: Final = 0x3FFF
_NESTED: Final = 0x8000

_HEADER: Final = struct.Struct("=IHHII")
_FAMILY: Final = struct.Struct("=BBH")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")

# Large enough that a dump comes in few reads; the kernel fills up to 32 KiB a read.
_READ: Final = 1 << 18
# Deletions are sent in lots that fit a socket's default send buffer.
_LOT: Final = 200

_ADDRESS_FAMILY: Final[dict[int, Family]] = {socket.AF_INET: 4, socket.AF_INET6: 6}


@dataclass(frozen=True, slots=True)
class Direction:
    """Who speaks to whom.  Ports are 0 where the protocol has none."""

    source: int
    destination: int
    protocol: int
    source_port: int
    port: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One tracked connection.

    `master` is the connection that this is part of, as its first packet stood.  `handle` are the
    attributes by which the kernel finds this very entry again.
    """

    family: Family
    original: Direction
    reply: Direction
    master: Direction | None
    handle: bytes


def enter_namespace(name: str) -> None:
    """Move the calling thread into a named network namespace.  NoDataPlane if there is none."""
    # os.setns is there from Python 3.12 on.
    try:
        handle = os.open(Path("/run/netns") / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise NoDataPlane(f"there is no network namespace {name!r}") from exc
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise NoDataPlane(f"can't enter network namespace {name!r}: {reason}")
    finally:
        os.close(handle)


class Conntrack:
    """Speaks with connection tracking, in the network namespace of the thread that uses it first.

    Blocks.  Its socket stays open, for to close one takes the kernel longer than a small change.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def list_entries(self) -> list[Entry]:
        """Return all tracked connections.  NoDataPlane."""
        with self._channel() as channel:
            while True:
                channel.send(_message(_GET, _REQUEST | _DUMP, 0, b""))
                entries, whole = _read_dump(channel)
                # A table that changed shape meanwhile may have hidden entries: ask again.
                if whole:
                    return entries

    def delete_entries(self, entries: Iterable[Entry]) -> int:
        """Delete connections; return how many were still there.  NoDataPlane."""
        waiting = list(entries)
        deleted = 0
        with self._channel() as channel:
            for start in range(0, len(waiting), _LOT):
                lot = waiting[start : start + _LOT]
                messages = [
                    _message(_DELETE, _REQUEST | _ACK, number, each.handle, family=each.family)
                    for number, each in enumerate(lot)
                ]
                channel.send(b"".join(messages))
                answers = 0
                while answers < len(lot):
                    for kind, _, payload in _messages(channel.recv(_READ)):
                        if kind != _NLMSG_ERROR:
                            continue
                        answers += 1
                        (code,) = _ERROR.unpack_from(payload)
                        if code not in (0, -_ENOENT):
                            raise NoDataPlane(f"can't end a connection: {os.strerror(-code)}")
                        deleted += code == 0
        return deleted

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @contextmanager
    def _channel(self) -> Iterator[socket.socket]:
        if self._socket is None:
            self._socket = _open()
        try:
            yield self._socket
        except OSError as exc:
            # What it might still answer must not be taken for the answer to the next question.
            self.close()
            raise NoDataPlane(f"can't speak with connection tracking: {exc}") from exc
        except NoDataPlane:
            self.close()
            raise


def _open() -> socket.socket:
    try:
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    except OSError as exc:
        raise NoDataPlane(f"can't speak with connection tracking: {exc}") from exc
    # A kernel without connection tracking answers with an error; silence would be a bug.
    channel.settimeout(10)
    return channel


def _read_dump(channel: socket.socket) -> tuple[list[Entry], bool]:
    entries: list[Entry] = []
    whole = True
    while True:
        for kind, flags, payload in _messages(channel.recv(_READ)):
            whole = whole and not flags & _DUMP_INTERRUPTED
            if kind == _NLMSG_DONE:
                return entries, whole
            if kind == _NLMSG_ERROR:
                (code,) = _ERROR.unpack_from(payload)
                raise NoDataPlane(f"can't list tracked connections: {os.strerror(-code)}")
            if entry := _parse_entry(payload):
                entries.append(entry)


def _message(
    kind: int, flags: int, number: int, attributes: bytes, *, family: Family | None = None
) -> bytes:
    code = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    body = _FAMILY.pack(code, 0, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, at)
        yield kind, flags, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    result = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        result[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return result


def _parse_entry(payload: bytes) -> Entry | None:
    family = _ADDRESS_FAMILY.get(payload[0])
    found = _attributes(payload[_FAMILY.size :])
    if family is None or _TUPLE_ORIG not in found or _TUPLE_REPLY not in found:
        return None
    handle = [_attribute(_TUPLE_ORIG | _NESTED, found[_TUPLE_ORIG])]
    handle += [_attribute(kind, found[kind]) for kind in (_ID, _ZONE) if kind in found]
    return Entry(
        family,
        _parse_direction(found[_TUPLE_ORIG]),
        _parse_direction(found[_TUPLE_REPLY]),
        _parse_direction(found[_TUPLE_MASTER]) if _TUPLE_MASTER in found else None,
        b"".join(handle),
    )


def _parse_direction(data: bytes) -> Direction:
    # CTA_TUPLE_IP: 1, 2 for IPv4, 3, 4 for IPv6; CTA_TUPLE_PROTO: number 1, ports 2 and 3.
    parts = _attributes(data)
    ends, protocol = _attributes(parts[1]), _attributes(parts[2])
    return Direction(
        int.from_bytes(ends.get(1) or ends.get(3) or b"", "big"),
        int.from_bytes(ends.get(2) or ends.get(4) or b"", "big"),
        protocol[1][0],
        int.from_bytes(protocol.get(2, b""), "big"),
        int.from_bytes(protocol.get(3, b""), "big"),
    )


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)
