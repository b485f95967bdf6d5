"""The Linux data plane: one nftables table of ours, and connection tracking."""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from dsn.dataplane import batch, netlink
from dsn.dataplane.admissible import check
from dsn.dataplane.contract import DEFAULT, ENDED, INVALID, Count, NoDataPlane, ReadBack, Refused
from dsn.dataplane.ending import EndedKey, denied_entries, seen_by_rules
from dsn.dataplane.listing import Listing, parse_listing, read_back
from dsn.dataplane.netlink import Direction, Entry
from dsn.dataplane.nft import Nft
from dsn.dataplane.ruleset import (
    FAMILIES,
    RULE_COUNTER,
    TCP,
    Layout,
    Table,
    ended_set,
    render,
)
from shared.algebra.cidrs import Family, format_address
from shared.policy.nodeconfig import PORT_PROTOCOLS, Judge, NodeConfiguration

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_ElementKey = tuple[int, str, int, str, int]

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
        self._table = table
        self._layout = layout or Layout(log_group=LOG_GROUP)
        self._nft = Nft(timeout=timeout)
        self._turn = asyncio.Lock()
        # What is known to stand in the kernel, with its hash; None if it has to be looked up.
        self._standing: tuple[Table, str] | None = None
        # Whether connections may be remembered as ended; an earlier agent may have left some.
        self._remembers = True
        # Sockets and processes belong to the namespace of the thread that makes them.  Long lists
        # are worked through here as well, so that the loop stays free.
        self._thread = ThreadPoolExecutor(
            1,
            thread_name_prefix="dataplane",
            initializer=partial(netlink.enter_namespace, namespace) if namespace else None,
        )

    async def apply(self, configuration: NodeConfiguration) -> None:
        async with self._turn:
            await self._in_thread(check, configuration)
            want = await self._in_thread(render, configuration, self._layout)
            standing, self._standing = self._standing, None
            if standing is None or not await self._change(standing[0], want):
                await self._replace(want)
            self._standing = (want, configuration.hash())

    async def read_back(self) -> ReadBack:
        async with self._turn:
            listing = await self._listing()
            if listing is None:
                found = ReadBack(None)
            else:
                found = await self._in_thread(read_back, listing, self._layout)
            if self._standing and self._standing[1] != found.hash:
                # Someone else wrote here: the next apply() looks before it writes.
                self._standing = None
            return found

    async def counters(self) -> Mapping[str, Count]:
        async with self._turn:
            listed = await self._in_thread(self._nft.list_counters, self._table)
        return {
            _OWN_COUNTERS.get(name) or name.removeprefix(RULE_COUNTER): Count(
                each["packets"], each["bytes"]
            )
            for each in listed
            if (name := each["name"]) in _OWN_COUNTERS or name.startswith(RULE_COUNTER)
        }

    async def end_denied_connections(self, configuration: NodeConfiguration) -> int:
        async with self._turn:
            judge = await self._in_thread(Judge, configuration)
            if self._remembers:
                found = [await self._forget_allowed(family, judge) for family in FAMILIES]
                self._remembers = any(found)
            entries = await self._in_thread(netlink.list_entries)
            denied = await self._in_thread(denied_entries, entries, judge)
            if not denied:
                return 0
            # Remembered first: a packet between deletion and remembering would begin it anew.
            self._remembers = True
            for family in FAMILIES:
                await self._remember(family, [each for each in denied if each.family == family])
            return await self._in_thread(netlink.delete_entries, denied)

    async def clear(self) -> None:
        async with self._turn:
            self._standing = None
            await self._in_thread(self._nft.load, batch.remove(self._table))

    async def close(self) -> None:
        self._thread.shutdown(wait=False)

    async def _change(self, have: Table, want: Table) -> bool:
        """Write the difference; return False if that didn't work and nothing was changed."""
        commands = await self._in_thread(batch.change, self._table, have, want)
        if not commands:
            return True
        try:
            await self._in_thread(self._nft.load, commands)
        except Refused as exc:
            log.info("change did not fit, replacing the table", extra={"detail": exc.detail})
            return False
        return True

    async def _replace(self, want: Table) -> None:
        have = await self._listing()
        await self._in_thread(
            self._nft.load, await self._in_thread(batch.replace, self._table, have, want)
        )

    async def _listing(self) -> Listing | None:
        objects = await self._in_thread(self._nft.list_table, self._table)
        return None if objects is None else await self._in_thread(parse_listing, objects)

    async def _remember(self, family: Family, denied: Iterable[Entry]) -> None:
        keys: dict[int, list[_ElementKey]] = {_TCP_ENDED_SECONDS: [], _OTHER_ENDED_SECONDS: []}
        for entry in denied:
            protocol = entry.original.protocol
            if protocol in PORT_PROTOCOLS:
                seconds = _TCP_ENDED_SECONDS if protocol == TCP else _OTHER_ENDED_SECONDS
                keys[seconds].append(_element_key(family, seen_by_rules(entry)))
        for seconds, each in keys.items():
            if not each:
                continue
            try:
                await self._in_thread(
                    self._nft.load,
                    batch.remember_ended(self._table, ended_set(family), each, seconds),
                )
            except Refused as exc:
                # They are ended all the same; their later packets are judged by the rules alone.
                log.warning(
                    "can't remember ended connections",
                    extra={"connections": len(each), "detail": exc.detail},
                )

    async def _forget_allowed(self, family: Family, judge: Judge) -> bool:
        """Forget ended connections that are allowed again; return whether any were remembered."""
        name = ended_set(family)
        remembered = await self._in_thread(self._nft.list_set, self._table, name)
        keys = [
            key
            for element in remembered
            if _is_allowed(judge, _ended_key(family, key := _listed_key(element)))
        ]
        if not keys:
            return bool(remembered)
        try:
            await self._in_thread(self._nft.load, batch.forget_ended(self._table, name, keys))
        except Refused as exc:
            # One of them timed out meanwhile; the next generation tries again.
            log.info("ended connections stay remembered", extra={"detail": exc.detail})
        return True

    async def _in_thread(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, function, *arguments)
        except BrokenExecutor as exc:
            raise NoDataPlane("the data plane's network namespace can't be entered") from exc


def _is_allowed(judge: Judge, key: EndedKey) -> bool:
    judgement = judge.judge(key.packet())
    return judgement is None or judgement.verdict == "allow"


def _element_key(family: Family, direction: Direction) -> _ElementKey:
    return (
        direction.protocol,
        format_address(family, direction.source),
        direction.source_port,
        format_address(family, direction.destination),
        direction.port,
    )


def _listed_key(element: Mapping[str, Any]) -> _ElementKey:
    protocol, source, source_port, destination, port = element["elem"]["val"]["concat"]
    return protocol, source, source_port, destination, port


def _ended_key(family: Family, key: _ElementKey) -> EndedKey:
    protocol, source, source_port, destination, port = key
    return EndedKey(
        family,
        Direction(
            int(ipaddress.ip_address(source)),
            int(ipaddress.ip_address(destination)),
            protocol,
            source_port,
            port,
        ),
    )
