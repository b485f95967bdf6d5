"""Raw packets for the kernel's data plane: made from a Packet, and known again on the other side.

Every frame carries a 32-bit tag where an answer repeats it: TCP's sequence number, ICMP's
identifier and sequence, else the first bytes behind the header.
"""

import ipaddress
import struct
from typing import Literal, NamedTuple

from shared.algebra.cidrs import Family
from shared.policy.nodeconfig import Packet

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
IPV4, IPV6 = 0x0800, 0x86DD

SYN, RST, ACK, PUSH_ACK = 0x02, 0x04, 0x10, 0x18


class Seen(NamedTuple):
    """What a frame that came out says about the tagged one that went in."""

    tag: int
    outcome: Literal["passed", "rejected"]
    protocol: int


def frame(packet: Packet, tag: int, *, target: bytes, flags: int = SYN) -> bytes:
    """Return an Ethernet frame for the interface with MAC `target`."""
    kind = IPV4 if packet.family == 4 else IPV6
    return target + bytes(5) + b"\x02" + struct.pack("!H", kind) + datagram(packet, tag, flags)


def datagram(packet: Packet, tag: int, flags: int = SYN) -> bytes:
    if packet.family == 4:
        source = packet.source.to_bytes(4, "big")
        destination = packet.destination.to_bytes(4, "big")
        body = _body(packet, tag, flags, source + destination)
        head = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(body), tag & 0xFFFF, 0, 64, packet.protocol, 0
        )
        check = checksum(head + source + destination)
        return head[:10] + struct.pack("!H", check) + source + destination + body
    source = packet.source.to_bytes(16, "big")
    destination = packet.destination.to_bytes(16, "big")
    body = _body(packet, tag, flags, source + destination)
    head = struct.pack("!IHBB", 6 << 28, len(body), packet.protocol, 64)
    return head + source + destination + body


def read(data: bytes) -> Seen | None:
    """Return what an Ethernet frame says; None if it is none of ours."""
    (kind,) = struct.unpack_from("!H", data, 12)
    if kind not in (IPV4, IPV6):
        return None
    family: Family = 4 if kind == IPV4 else 6
    protocol, body = _unwrap(family, data[14:])
    if protocol == TCP and body[13] & RST:
        (acknowledged,) = struct.unpack_from("!I", body, 8)
        return Seen((acknowledged - 1) & 0xFFFFFFFF, "rejected", TCP)
    if (family, protocol) in ((4, ICMP), (6, ICMPV6)) and _is_prohibited(family, body):
        inner, rest = _unwrap(family, body[8:])
        tag = _tag(inner, rest)
        return None if tag is None else Seen(tag, "rejected", inner)
    tag = _tag(protocol, body)
    return None if tag is None else Seen(tag, "passed", protocol)


def checksum(data: bytes) -> int:
    """Return the Internet checksum: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def make_packet(
    source: str, destination: str, protocol: int, port: int = 0, sport: int = 0
) -> Packet:
    """Return a Packet between addresses given as text."""
    first, second = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    family: Family = 4 if first.version == 4 else 6
    return Packet(family, int(first), int(second), protocol, sport, port)


def _is_prohibited(family: Family, body: bytes) -> bool:
    return (body[0], body[1]) == ((3, 13) if family == 4 else (1, 1))


def _unwrap(family: Family, data: bytes) -> tuple[int, bytes]:
    if family == 4:
        return data[9], data[(data[0] & 15) * 4 :]
    return data[6], data[40:]


def _tag(protocol: int, body: bytes) -> int | None:
    place = {TCP: 4, UDP: 8, SCTP: 16, ICMP: 4, ICMPV6: 4, 47: 4}.get(protocol, 0)
    if len(body) < place + 4:
        return None
    return int(struct.unpack_from("!I", body, place)[0])


def _body(packet: Packet, tag: int, flags: int, ends: bytes) -> bytes:
    ports = struct.pack("!HH", packet.source_port, packet.port)
    match packet.protocol:
        case 6:
            body = ports + struct.pack("!IIBBHHH", tag, 0, 0x50, flags, 64240, 0, 0)
            return _with_checksum(body, 16, ends, TCP)
        case 17:
            return _with_checksum(ports + struct.pack("!HHI", 12, 0, tag), 6, ends, UDP)
        case 132:
            # An INIT chunk: RFC 9260 section 3.3.2.
            chunk = struct.pack("!BBHIIHHI", 1, 0, 20, tag, 65536, 1, 1, tag)
            body = ports + bytes(8) + chunk
            return body[:8] + struct.pack("<I", crc32c(body)) + body[12:]
        case 1:
            return _with_checksum(struct.pack("!BBHI", 8, 0, 0, tag), 2, b"", None)
        case 58:
            return _with_checksum(struct.pack("!BBHI", 128, 0, 0, tag), 2, ends, ICMPV6)
        case 47:
            # A GRE header with its optional checksum absent: RFC 2784.
            return struct.pack("!HHI", 0, 0x0800, tag)
    # The kernel refuses with an answer only what carries a right checksum over the whole.
    body = struct.pack("!II", tag, 0)
    return _with_checksum(
        body, 4, *((b"", None) if packet.family == 4 else (ends, packet.protocol))
    )


def _with_checksum(body: bytes, place: int, ends: bytes, pseudo: int | None) -> bytes:
    covered = body if pseudo is None else ends + struct.pack("!II", len(body), pseudo) + body
    value = checksum(covered) or 0xFFFF
    return body[:place] + struct.pack("!H", value) + body[place + 2 :]


def _crc_table() -> list[int]:
    table = []
    for each in range(256):
        value = each
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """Return SCTP's checksum: RFC 9260 appendix A."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
