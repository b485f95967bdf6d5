"""The Linux data plane: one nftables table of ours, and connection tracking.

Rules are written and read over netlink (nfnetlink, writing, standing).  Where a kernel refuses a
whole table written that way, the program nft has a try: it knows kernels that we don't.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from dsn.dataplane import batch, counting, netlink, reading, writing
from dsn.dataplane.admissible import check
from dsn.dataplane.balance.kernel import Balance
from dsn.dataplane.contract import DEFAULT, ENDED, INVALID, Count, NoDataPlane, ReadBack, Refused
from dsn.dataplane.ending import Affected, EndedKey, denied_entries, seen_by_rules
from dsn.dataplane.expected import Expected, expect
from dsn.dataplane.listing import parse_listing
from dsn.dataplane.netlink import Direction, Entry
from dsn.dataplane.nfnetlink import Message, Netfilter, Outdated
from dsn.dataplane.nft import Nft
from dsn.dataplane.ruleset import FAMILIES, RULE_COUNTER, TCP, Layout, ended_set
from dsn.dataplane.standing import Reader, Standing, Surprise
from dsn.dataplane.writing import Touched
from shared.algebra.cidrs import BITS, Family
from shared.policy.nodeconfig import PORT_PROTOCOLS, Judge, NodeConfiguration

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_ATTEMPTS: Final = 20

LOG_GROUP: Final = 4740
"""The NFLOG group of logging rules' packets; chosen not to be one that others document."""

# An idle TCP connection may speak again as long as the kernel would have tracked it
# (nf_conntrack_tcp_timeout_established, 5 days); an idle UDP or SCTP one far less long (120 s
# and 210 s by default).
_TCP_ENDED_SECONDS: Final = 432_000
_OTHER_ENDED_SECONDS: Final = 240

_OWN_COUNTERS: Final = {"h_default": DEFAULT, "h_invalid": INVALID, "h_ended": ENDED}


class NftablesDataPlane:
    """Enforces in the kernel: of the calling process's network namespace, or of a named one."""

    name = "nftables"

    def __init__(
        self,
        *,
        table: str = "hanse",
        namespace: str | None = None,
        layout: Layout | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Use the `inet` table of that name; nothing else in the kernel is written.

        A run of nft that takes longer than `timeout` seconds is stopped and changes nothing.
        """
        self._kernel = _Kernel(table, layout or Layout(log_group=LOG_GROUP), timeout)
        self._turn = asyncio.Lock()
        # Sockets and processes belong to the namespace of the thread that makes them.  Long lists
        # are worked through here as well, so that the loop stays free.
        self._thread = ThreadPoolExecutor(
            1,
            thread_name_prefix="dataplane",
            initializer=partial(netlink.enter_namespace, namespace) if namespace else None,
        )

    async def apply(self, configuration: NodeConfiguration) -> None:
        await self._do(self._kernel.apply, configuration)

    async def read_back(self, *, whole: bool = False) -> ReadBack:
        return await self._do(self._kernel.read_back, whole)

    async def counters(self) -> Mapping[str, Count]:
        return await self._do(self._kernel.counters)

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        return await self._do(self._kernel.end_denied_connections, configuration)

    async def clear(self) -> None:
        await self._do(self._kernel.clear)

    async def close(self) -> None:
        with suppress(BrokenExecutor):
            self._thread.submit(self._kernel.close)
        self._thread.shutdown(wait=False)

    async def _do(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        loop = asyncio.get_running_loop()
        async with self._turn:
            try:
                return await loop.run_in_executor(self._thread, function, *arguments)
            except BrokenExecutor as exc:
                raise NoDataPlane("the data plane's network namespace can't be entered") from exc


class _Kernel:
    """What the data plane does, in its one thread.  Blocks."""

    def __init__(self, table: str, layout: Layout, timeout: float) -> None:
        self._table = table
        self._layout = layout
        self._timeout = timeout
        self._nft = Nft(timeout=timeout)
        self._conntrack = netlink.Conntrack()
        self._opened: tuple[Netfilter, Reader] | None = None
        # What was applied last, with what was read back of it; None where that has to be looked
        # up.  Touched is what has been written since it was read, and the generation that the
        # kernel's rules have then, if nobody else has written.
        self._applied: NodeConfiguration | None = None
        self._standing: Standing | None = None
        self._touched = Touched()
        self._generation: int | None = None
        # What a whole table that was written has to be read back as.  Of what is staged the kernel
        # says too little to work it out: such a table is always held beside what was written.
        self._expected: Expected | None = None
        # Whether connections may be remembered as ended; an earlier agent may have left some.
        self._remembers = True
        # By which configuration all open connections have been judged.
        self._judged: tuple[NodeConfiguration, Judge] | None = None
        self._balance = Balance(table)

    def apply(self, configuration: NodeConfiguration) -> None:
        before = self._applied
        check(configuration, known=before)
        if before is None or not self._change(before, configuration):
            self._applied = self._standing = None
            self._replace(configuration)
        self._applied = configuration

    def read_back(self, whole: bool) -> ReadBack:
        expected = self._expected
        counts = expected is not None and expected.configuration.staged is not None
        standing = None if whole or counts else self._read_again()
        if not counts:
            self._expected = None
        if standing is None:
            standing = self._read_whole(expected)
            self._touched = Touched()
            self._generation = standing.generation if standing else None
        answer = self._balance.with_rules(standing) if standing else ReadBack(None)
        self._standing = None if answer.faults else standing
        if self._applied and self._applied.hash() != answer.hash:
            # Someone else wrote here: the next apply() looks before it writes, and connections
            # may have come in that have to be judged by all rules.
            self._applied = self._judged = None
        return answer

    def counters(self) -> Mapping[str, Count]:
        netfilter, _ = self._open()
        return {
            reported: count
            for name, count in reading.read_counters(netfilter, self._table).items()
            if (reported := _reported_name(name)) is not None
        }

    def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        judge, affected = Judge(configuration), None
        if self._judged is not None:
            judge = self._judged[1].after(configuration)
            affected = Affected(*self._judged, configuration, judge)
        self._judged = None
        if self._remembers:
            found = [self._forget_allowed(family, judge, affected) for family in FAMILIES]
            self._remembers = any(found)
        entries = self._conntrack.list_entries()
        denied = denied_entries(entries, judge, affected)
        ended = self._conntrack.delete_entries(self._balance.misled(entries, configuration))
        if denied:
            # Remembered first: a packet between deletion and remembering would begin it anew.
            self._remembers = True
            for family in FAMILIES:
                self._remember(family, [each for each in denied if each.family == family])
            ended += self._conntrack.delete_entries(denied)
        self._judged = configuration, judge
        return ended

    def clear(self) -> None:
        self._applied = self._standing = self._judged = None
        netfilter, _ = self._open()
        self._commit([*writing.remove(self._table), *self._balance.removing(netfilter)])

    def close(self) -> None:
        self._conntrack.close()
        if self._opened is not None:
            self._opened[0].close()

    def _open(self) -> tuple[Netfilter, Reader]:
        if self._opened is None:
            netfilter = Netfilter(timeout=self._timeout)
            reader = Reader(netfilter=netfilter, table=self._table, layout=self._layout)
            self._opened = netfilter, reader
        return self._opened

    def _change(self, have: NodeConfiguration, want: NodeConfiguration) -> bool:
        """Write the difference; return False if that didn't work and nothing was changed.

        It works only from what has been read back and nobody has touched since, and where nothing
        is staged: the chains that count for that follow from all of the rules.
        """
        if have.default_action != want.default_action or have.staged or want.staged:
            return False
        if self._standing is None or self._generation is None or self._touched != Touched():
            self.read_back(whole=False)
        standing = self._standing
        if standing is None or self._balance.with_rules(standing).hash != have.hash():
            return False
        change = writing.change(
            self._table,
            have,
            want,
            groups=standing.groups,
            port_sets_there=standing.ports,
            layout=self._layout,
        )
        messages = [*change.messages, *self._balance.changing(have, want)]
        if not messages:
            return True
        try:
            self._commit(messages, generation=self._generation)
        except Outdated:
            log.info("the kernel's rules were changed by others, looking at all of ours")
            return False
        except Refused as exc:
            log.info("change did not fit, replacing the table", extra={"detail": exc.detail})
            return False
        self._touched = change.touched
        return True

    def _read_again(self) -> Standing | None:
        standing, generation = self._standing, self._generation
        if standing is None or generation is None:
            return None
        netfilter, reader = self._open()
        touched, self._touched = self._touched, Touched()
        self._standing = None
        try:
            reader.again(standing, touched, generation)
        except Surprise:
            return None
        return standing if self._balance.read(netfilter, generation) else None

    def _read_whole(self, expected: Expected | None) -> Standing | None:
        netfilter, reader = self._open()
        for _ in range(_ATTEMPTS):
            standing = reader.whole(expected)
            if standing is None or self._balance.read(netfilter, standing.generation, whole=True):
                return standing
        raise NoDataPlane("the kernel's rules change faster than they can be read back")

    def _replace(self, configuration: NodeConfiguration) -> None:
        netfilter, reader = self._open()
        self._generation = None
        balancing = self._balance.making(netfilter, configuration)
        want = counting.render(configuration, self._layout)
        written = writing.replace(self._table, reader.listing(), want)
        self._expected = expect(configuration, want, written)
        try:
            self._commit([*written.messages, *balancing])
        except Refused as exc:
            if balancing:
                # nft could write the rules only, and not both at once.
                raise
            log.warning("the kernel refuses a table, trying nft", extra={"detail": exc.detail})
            objects = self._nft.list_table(self._table)
            have = None if objects is None else parse_listing(objects)
            self._nft.load(batch.replace(self._table, have, want))

    def _commit(self, messages: list[Message], generation: int | None = None) -> None:
        """Do all of it; with `generation` only if the kernel's rules are still that one."""
        netfilter, _ = self._open()
        netfilter.commit(messages, generation=generation)
        self._generation = None if generation is None else _next(generation)

    def _write_ended(self, messages: list[Message]) -> None:
        try:
            self._commit(messages, generation=self._generation)
        except Outdated:
            self._commit(messages)

    def _remember(self, family: Family, denied: Iterable[Entry]) -> None:
        keys: dict[int, list[bytes]] = {_TCP_ENDED_SECONDS: [], _OTHER_ENDED_SECONDS: []}
        for entry in denied:
            protocol = entry.original.protocol
            if protocol in PORT_PROTOCOLS:
                seconds = _TCP_ENDED_SECONDS if protocol == TCP else _OTHER_ENDED_SECONDS
                keys[seconds].append(_key(family, seen_by_rules(entry)))
        for seconds, each in keys.items():
            if not each:
                continue
            try:
                self._write_ended(writing.remember(self._table, ended_set(family), each, seconds))
            except Refused as exc:
                # They are ended all the same; their later packets are judged by the rules alone.
                log.warning(
                    "can't remember ended connections",
                    extra={"connections": len(each), "detail": exc.detail},
                )

    def _forget_allowed(self, family: Family, judge: Judge, affected: Affected | None) -> bool:
        """Forget ended connections that are allowed again; return whether any were remembered."""
        netfilter, _ = self._open()
        name = ended_set(family)
        remembered = reading.read_keys(netfilter, self._table, name)
        keys = [key for key in remembered if _is_allowed(judge, affected, _ended(family, key))]
        if not keys:
            return bool(remembered)
        try:
            self._write_ended(writing.forget(self._table, name, keys))
        except Refused as exc:
            # One of them timed out meanwhile; the next generation tries again.
            log.info("ended connections stay remembered", extra={"detail": exc.detail})
        return True


def _reported_name(counter: str) -> str | None:
    if counter.startswith(RULE_COUNTER):
        return counter.removeprefix(RULE_COUNTER)
    return _OWN_COUNTERS.get(counter) or counting.reported_name(counter)


def _is_allowed(judge: Judge, affected: Affected | None, key: EndedKey) -> bool:
    packet = key.packet()
    if affected is not None and not affected.may_be(packet):
        return False
    judgement = judge.judge(packet)
    return judgement is None or judgement.verdict == "allow"


def _next(generation: int) -> int:
    # The kernel counts in 32 bits and leaves 0 out.
    return (generation + 1) & 0xFFFFFFFF or 1


def _key(family: Family, direction: Direction) -> bytes:
    """Return a connection as a key of the set of ended ones: each part padded to words."""
    width = BITS[family] // 8
    parts = (
        bytes([direction.protocol]),
        direction.source.to_bytes(width, "big"),
        direction.source_port.to_bytes(2, "big"),
        direction.destination.to_bytes(width, "big"),
        direction.port.to_bytes(2, "big"),
    )
    return b"".join(part + bytes(-len(part) % 4) for part in parts)


def _ended(family: Family, key: bytes) -> EndedKey:
    width = BITS[family] // 8
    source_port, destination, port = 4 + width, 8 + width, 8 + 2 * width
    return EndedKey(
        family,
        Direction(
            int.from_bytes(key[4:source_port], "big"),
            int.from_bytes(key[destination:port], "big"),
            key[0],
            int.from_bytes(key[source_port : source_port + 2], "big"),
            int.from_bytes(key[port : port + 2], "big"),
        ),
    )
