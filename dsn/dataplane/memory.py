"""The simulated data plane: packets are handed to it, and it says what becomes of them.

For sites without a kernel of their own to write to: demos, simulations of thousands of nodes, and
tests, which may make it fail.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Final, Literal, NamedTuple

from dsn.dataplane.admissible import check
from dsn.dataplane.balance.memory import Translations, Unserved
from dsn.dataplane.contract import DEFAULT, ENDED, INVALID, Count, ReadBack, Refused
from shared.algebra.cidrs import Family
from shared.policy.nodeconfig import PORT_PROTOCOLS, Judge, NodeConfiguration, Packet, Verdict
from shared.policy.nodestaged import StagedJudge, counter_name, counters_of

TCP: Final = 6

Reason = Literal["rule", "default", "established", "ended", "invalid", "untouched", "unserved"]


class Handled(NamedTuple):
    """What became of a packet: why, and by which rule if one decided.

    `to` is the packet as it went on, if a balancer has led it elsewhere.
    """

    verdict: Verdict
    reason: Reason
    rule: str | None = None
    to: Packet | None = None


class _Ends(NamedTuple):
    """A connection, as its first packet had it."""

    family: Family
    protocol: int
    source: int
    source_port: int
    destination: int
    port: int


class MemoryDataPlane:
    """Enforces on packets that `handle` is given.

    As a kernel does, it tracks the connections of all packets that pass, its own or not; the
    longest unheard of is forgotten when there are more than `connections`.
    """

    name = "memory"

    def __init__(self, *, connections: int = 65536, random: Random | None = None) -> None:
        """`random` chooses backends for balancers that spread at random."""
        self._most = connections
        self._standing: NodeConfiguration | None = None
        self._judge: Judge | None = None
        self._would: StagedJudge | None = None
        self._counters: dict[str, Count] = {}
        self._tracked: OrderedDict[_Ends, Packet] = OrderedDict()
        self._ended: OrderedDict[_Ends, Packet] = OrderedDict()
        chance = random or Random()  # noqa: S311 - which backend is no secret
        self._translations = Translations(most=connections, random=chance)
        self._refusals: list[Refused] = []

    async def apply(self, configuration: NodeConfiguration) -> None:
        check(configuration)
        if self._refusals:
            raise self._refusals.pop(0)
        names = [DEFAULT, INVALID, ENDED, *(rule.id for rule in configuration.rules)]
        if configuration.staged is not None:
            names += counters_of(configuration, configuration.staged)
        self._counters = {name: self._counters.get(name, Count(0, 0)) for name in names}
        self._stand(configuration)

    async def read_back(
        self,
        *,
        whole: bool = False,  # noqa: ARG002 - there is only the whole
    ) -> ReadBack:
        return ReadBack(None if self._standing is None else self._standing.hash())

    async def counters(self) -> Mapping[str, Count]:
        return dict(self._counters)

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        judge = Judge(configuration)
        for ends, packet in list(self._ended.items()):
            if not _is_denied(judge, packet):
                del self._ended[ends]
        denied = [ends for ends, packet in self._tracked.items() if _is_denied(judge, packet)]
        for ends in denied:
            packet = self._tracked.pop(ends)
            if packet.protocol in PORT_PROTOCOLS:
                self._remember(self._ended, ends, packet)
        misled = [_ends(each) for each in self._translations.end_misled(configuration)]
        left = [ends for ends in misled if self._tracked.pop(ends, None) is not None]
        return len(denied) + len(left)

    async def clear(self) -> None:
        self._standing = None
        self._judge = self._would = None
        self._counters = {}
        self._ended.clear()
        self._translations.clear()

    async def close(self) -> None:
        """Nothing is held."""

    def handle(
        self,
        packet: Packet,
        *,
        opening: bool = True,
        related_to: Packet | None = None,
        size: int = 0,
    ) -> Handled:
        """Return what becomes of a packet of `size` bytes, and count and track it.

        `opening` is False for a TCP packet without SYN.  `related_to` makes it an ICMP error about
        that packet.
        """
        if related_to is not None:
            return self._handle_error(packet, related_to, size)
        try:
            to = self._translations.lead(packet, self._is_tracked)
        except Unserved:
            return Handled("reject", "unserved")
        handled = self._handle(to, opening, size)
        if to is packet:
            return handled
        if handled.verdict == "allow":
            self._translations.remember(packet, to)
        return handled._replace(to=to)

    def refuse_next(self, message: str = "the data plane was told to refuse") -> None:
        """Fault: let the next apply() of a sound configuration fail."""
        self._refusals.append(Refused(message))

    def lose_rule(self, number: str) -> None:
        """Fault: forget the rule of that id, as if someone had deleted it by hand."""
        if self._standing is None:
            return
        rules = tuple(rule for rule in self._standing.rules if rule.id != number)
        self._stand(replace(self._standing, rules=rules))

    def lose_balancers(self) -> None:
        """Fault: forget all balancers, as if someone had deleted them by hand."""
        if self._standing is not None:
            self._stand(replace(self._standing, balancers=None))

    def _handle(self, packet: Packet, opening: bool, size: int) -> Handled:
        ends, back = _ends(packet), _ends(_reversed(packet))
        for each in (ends, back):
            if each in self._tracked:
                self._tracked.move_to_end(each)
                return Handled("allow", "established")
        if self._judge is None or not self._judge.concerns(packet):
            self._remember(self._tracked, ends, packet)
            return Handled("allow", "untouched")
        asks_anew = packet.protocol == TCP and opening
        if not asks_anew and (ends in self._ended or back in self._ended):
            self._count(ENDED, size)
            return Handled("deny", "ended")
        return self._decide(self._judge, packet, size)

    def _is_tracked(self, packet: Packet) -> bool:
        return _ends(packet) in self._tracked or _ends(_reversed(packet)) in self._tracked

    def _stand(self, configuration: NodeConfiguration) -> None:
        self._standing = configuration
        self._judge = Judge(configuration)
        staged = configuration.staged
        self._would = None if staged is None else StagedJudge(configuration, staged)
        self._translations.stand(configuration)

    def _decide(self, judge: Judge, packet: Packet, size: int) -> Handled:
        judgement = judge.judge(packet)
        if judgement is None:
            return Handled("allow", "untouched")
        difference = self._would.difference(packet) if self._would is not None else None
        if difference is not None:
            self._count(counter_name(*difference), size)
        for each in judgement.passed:
            self._count(each.id, size)
        rule = judgement.rule
        self._count(rule.id if rule else DEFAULT, size)
        if judgement.verdict == "allow":
            self._remember(self._tracked, _ends(packet), packet)
        if rule is None:
            return Handled(judgement.verdict, "default")
        return Handled(judgement.verdict, "rule", rule.id)

    def _handle_error(self, packet: Packet, about: Packet, size: int) -> Handled:
        if _ends(about) in self._tracked or _ends(_reversed(about)) in self._tracked:
            return Handled("allow", "established")
        if self._judge is None or not self._judge.concerns(packet):
            return Handled("allow", "untouched")
        self._count(INVALID, size)
        return Handled("deny", "invalid")

    def _count(self, name: str, size: int) -> None:
        before = self._counters.get(name, Count(0, 0))
        self._counters[name] = Count(before.packets + 1, before.bytes + size)

    def _remember(self, where: OrderedDict[_Ends, Packet], ends: _Ends, packet: Packet) -> None:
        where[ends] = packet
        where.move_to_end(ends)
        if len(where) > self._most:
            where.popitem(last=False)


def _ends(packet: Packet) -> _Ends:
    return _Ends(
        packet.family,
        packet.protocol,
        packet.source,
        packet.source_port,
        packet.destination,
        packet.port,
    )


def _reversed(packet: Packet) -> Packet:
    return Packet(
        packet.family,
        packet.destination,
        packet.source,
        packet.protocol,
        packet.port,
        packet.source_port,
    )


def _is_denied(judge: Judge, packet: Packet) -> bool:
    judgement = judge.judge(packet)
    return judgement is not None and judgement.verdict != "allow"
