"""Which backend a connection goes to: the same on every node and in every data plane.

A balancer has a fixed number of slots, and each slot one backend; a connection falls into a slot
by a hash of its source address, or at random.  So a change of backends changes what slots hold and
nothing else.

hash: each slot's backend is the one that ranks highest for it (rendezvous hashing: Thaler and
Ravishankar, 1998).  When a backend goes, only its own slots are given to others; when one comes, it
takes slots and no other pair of backends exchanges any.  random: slots are dealt out in turn.
"""

import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from hashlib import shake_256
from typing import Final

SLOTS: Final = 1024
"""Enough that the shares of a few dozen backends are alike: with three they differ by some 5 %."""

_WORD: Final = 0xFFFFFFFF
_INITIAL: Final = 0xDEADBEEF
_RANKS: Final = struct.Struct(f">{SLOTS}Q")


@lru_cache(1 << 10)
def slots_of(algorithm: str, backends: tuple[str, ...]) -> tuple[str, ...]:
    """Return the backend of each slot; none, if there are no backends."""
    if not backends:
        return ()
    if algorithm != "hash":
        return tuple(backends[slot % len(backends)] for slot in range(SLOTS))
    ranked = [_ranks(each) for each in backends]
    # Of equal ranks, which SHAKE won't give, the lower place counts.
    return tuple(
        backends[max(range(len(backends)), key=lambda place: (column[place], -place))]
        for column in zip(*ranked, strict=True)
    )


def slot_of(source: bytes, seed: int) -> int:
    """Return the slot of a source address (in the network's order), as `jhash` of nftables."""
    return jhash(source, seed) * SLOTS >> 32


def seed_of(identity: str) -> int:
    """Return the seed of the balancer with that id: two balancers spread a client differently."""
    # The kernel takes 0 for a wish to choose one.
    return int(identity[:8], 16) | 1


def jhash(key: bytes, initial: int) -> int:
    """Return Jenkins' lookup3 of a key of a whole number of words, as include/linux/jhash.h."""
    a = b = c = (_INITIAL + len(key) + initial) & _WORD
    words = [int.from_bytes(key[at : at + 4], sys.byteorder) for at in range(0, len(key), 4)]
    while len(words) > 3:
        a, b, c = _mix((a + words[0]) & _WORD, (b + words[1]) & _WORD, (c + words[2]) & _WORD)
        words = words[3:]
    # The kernel reads the rest byte by byte, lowest first, whatever the machine's order.
    rest = key[len(key) - 4 * len(words) :]
    tail = [int.from_bytes(rest[at : at + 4], "little") for at in range(0, len(rest), 4)]
    tail += [0] * (3 - len(tail))
    if not words:
        return c
    return _final((a + tail[0]) & _WORD, (b + tail[1]) & _WORD, (c + tail[2]) & _WORD)


@lru_cache(1 << 12)
def _ranks(backend: str) -> Sequence[int]:
    """Return a backend's rank for each slot."""
    return _RANKS.unpack(shake_256(backend.encode()).digest(_RANKS.size))


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _WORD) ^ _turned(c, turn)
        c = (c + b) & _WORD
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, turn)) & _WORD
        a, b, c = b, c, a
    # Seven steps leave the last one that was made in b.
    return b


def _turned(word: int, by: int) -> int:
    return ((word << by) | (word >> (32 - by))) & _WORD
