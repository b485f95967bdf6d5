"""The hash of a node configuration, as a sum: a change costs its own terms, not the whole.

Every set, every member of a set and every rule has a term: a SHA-256 read as an integer.  A
rule's term covers the id of the rule before it, so that the sum knows their order (ids are unique
in a configuration).  Terms are added modulo 2^256, as in AdHash (Bellare and Micciancio,
EUROCRYPT 1997), and the hash is the SHA-256 of the sum with the rest.

It tells a configuration from what has become of it by accident.  It is no seal: whoever may write
both sides of a comparison could make sums meet, so what travels is protected by TLS.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

MODULUS: Final = 1 << 256


class Enforced(Protocol):
    """A rule, as far as its term goes."""

    @property
    def id(self) -> str: ...

    @property
    def enforced(self) -> str:
        """What of it a data plane enforces and can be asked back for, as one line of text."""
        ...


def text_term(text: str) -> int:
    """Return the term of one line of text; the caller sees to it that no two kinds share lines."""
    return _term(text)


def set_term(name: str) -> int:
    """Return the term of a set, whatever its members."""
    return _term(f"set {name}")


def member_term(name: str, cidr: str) -> int:
    """Return the term of a set's member."""
    return _term(f"member {name} {cidr}")


def rule_term(rule: Enforced, previous: str) -> int:
    """Return the term of a rule that follows the one with id `previous`; "" for the first."""
    return _term(f"rule {rule.enforced} after {previous}")


def members_total(name: str, cidrs: Iterable[str]) -> int:
    """Return the sum of the terms of a set's members."""
    return sum([member_term(name, cidr) for cidr in cidrs]) % MODULUS


def rules_total(rules: Sequence[Enforced], start: int = 0, stop: int | None = None) -> int:
    """Return the sum of the terms of `rules[start:stop]`."""
    end = len(rules) if stop is None else min(stop, len(rules))
    return (
        sum(
            rule_term(rules[place], rules[place - 1].id if place else "")
            for place in range(start, end)
        )
        % MODULUS
    )


def total(sets: Mapping[str, Iterable[str]], rules: Sequence[Enforced]) -> int:
    """Return the sum of all terms of a configuration."""
    found = rules_total(rules)
    for name, cidrs in sets.items():
        found += set_term(name) + members_total(name, cidrs)
    return found % MODULUS


def content_hash(default_action: str, addresses: Sequence[str], total_: int) -> str:
    """Return the SHA-256 (hex) of what is enforced, with the sum of its terms."""
    own = " ".join(addresses)
    text = f"hanse/node/2\ndefault {default_action}\nown {own}\ntotal {total_:064x}\n"
    return hashlib.sha256(text.encode()).hexdigest()


def counted_hash(enforced: str, staged: str | None) -> str:
    """Return the hash of what is enforced with that of what would be, if staged policies were.

    Without those (None, or the same) it is the first.
    """
    if staged is None or staged == enforced:
        return enforced
    return hashlib.sha256(f"hanse/node/2 staged\n{enforced}\n{staged}\n".encode()).hexdigest()


def _term(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
