"""People who write all the time, and a ledger of what they were told."""

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import HanseError, Malformed, Unavailable
from shared.http.trace import new_request_id
from tests.chaos.federation import Federation, Server, document
from tests.chaos.network import FSM, SitePlace

Name = tuple[str, str]
"""Kind and name of an object that a writer owns."""

NAMES = 6
"""Objects of each kind that a writer owns."""


@dataclass(frozen=True)
class Acknowledged:
    """One write that was answered: by which request, at which revision, of what."""

    request_id: str
    revision: int
    content: Mapping[Name, Mapping[str, Any] | None]
    attempts: int


@dataclass
class Ledger:
    """What one server has told its writers."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    content: dict[Name, Mapping[str, Any] | None] = field(default_factory=dict)
    """What each object was last written to be; None if it was deleted."""
    refused: int = 0
    repeated: int = 0
    """Writes whose first answer never came."""
    highest: int = 0

    def note(self, each: Acknowledged) -> None:
        self.acknowledged.append(each)
        self.content |= each.content
        self.highest = max(self.highest, each.revision)
        self.repeated += each.attempts > 1


class Writer:
    """One person at one server, who alone writes certain objects, one request after another."""

    def __init__(
        self,
        server: Server,
        ledger: Ledger,
        *,
        draw: Callable[[random.Random, int], dict[str, Any]],
        source: random.Random,
        pause: float,
        up: asyncio.Event,
        stop: asyncio.Event,
    ) -> None:
        """`draw` makes a document of one of this writer's names, with a number in it that never
        comes again; between two writes it waits at most `pause` seconds.
        """
        self._server = server
        self._ledger = ledger
        self._draw = draw
        self._source = source
        self._pause = pause
        self._up = up
        self._stop = stop
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        while not self._stop.is_set():
            await self._write()
            await asyncio.sleep(self._source.uniform(0.0, self._pause))

    async def _write(self) -> None:
        operations, content = self._operations()
        request_id = new_request_id()
        for attempt in itertools.count(1):
            await self._up.wait()
            try:
                answer = await self._server.connection.call(
                    "POST",
                    "/api/v1/transactions",
                    body={"operations": operations},
                    request_id=request_id,
                )
                revision = int(answer.json()["revision"])
            except (Unavailable, Malformed):
                # Perhaps it is there, perhaps it isn't: the same request id asks again.
                await asyncio.sleep(0.05)
                continue
            except HanseError:
                self._ledger.refused += 1
                return
            self._ledger.note(Acknowledged(request_id, revision, content, attempt))
            return

    def _operations(self) -> tuple[list[dict[str, Any]], dict[Name, Mapping[str, Any] | None]]:
        operations = []
        content: dict[Name, Mapping[str, Any] | None] = {}
        for _ in range(self._source.choice((1, 1, 1, 3))):
            drawn = self._draw(self._source, next(self._numbers))
            name = (drawn["kind"], drawn["metadata"]["name"])
            if name in content:
                continue
            delete = self._ledger.content.get(name) is not None and self._source.random() < 0.15
            content[name] = None if delete else said_of(drawn)
            operations.append({"operation": "delete" if delete else "put", "object": drawn})
        return operations, content


def said_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an object says, whoever wrote it when."""
    return {"spec": document["spec"], "labels": dict(document["metadata"].get("labels") or {})}


@dataclass
class Load:
    """All writers of a run."""

    federation: Federation
    source: random.Random
    pause: float
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    up: dict[str, asyncio.Event] = field(default_factory=dict)
    """Set while a server should answer: writers wait instead of knocking at a closed door."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for name in self.federation.servers:
            self.ledgers[name] = Ledger()
            self.up[name] = asyncio.Event()
            self.up[name].set()

    def writers(self, each: int) -> list[Writer]:
        """Return `each` writers at every server."""
        sites = self.federation.sites
        above = [self._writer(FSM, _global(number)) for number in range(each)]
        below = [
            self._writer(site.name, _local(site, number))
            for site in sites
            for number in range(each)
        ]
        return above + below

    @property
    def carried(self) -> int:
        """How many changes were acknowledged."""
        return sum(
            len(each.content) for ledger in self.ledgers.values() for each in ledger.acknowledged
        )

    def _writer(self, server: str, draw: Callable[[random.Random, int], dict[str, Any]]) -> Writer:
        return Writer(
            self.federation.servers[server],
            self.ledgers[server],
            draw=draw,
            source=random.Random(self.source.random()),
            pause=self.pause,
            up=self.up[server],
            stop=self.stop,
        )


def _rule(ports: Sequence[str], **ends: Any) -> dict[str, Any]:
    services = [{"protocol": "tcp", "ports": list(ports)}]
    return {"name": "r", "action": "allow", "services": services, **ends}


def _priority(number: int) -> int:
    """Return one that is not the default, which objects don't keep."""
    return number % 499 + 1


def _global(writer: int) -> Callable[[random.Random, int], dict[str, Any]]:
    """Networks of addresses outside, and policies that let them in at TCP ports."""
    group = f"g{writer}"

    def draw(source: random.Random, number: int) -> dict[str, Any]:
        name = f"{group}-{source.randrange(NAMES)}"
        if source.random() < 0.5:
            subnet = f"203.{writer}.{number // 256 % 256}.{number % 256}/32"
            return document("Network", name, {"subnets": [subnet]}, load=group)
        peers = [{"networks": {"matchLabels": {"load": group}}}]
        rule = _rule([str(1000 + number % 50_000)], **{"from": peers, "to": [{"network": "A"}]})
        spec: dict[str, Any] = {"priority": _priority(number), "rules": [rule]}
        if source.random() < 0.2:
            # For no site there is: sites hear only that the revision has moved on.
            spec["sites"] = {"matchLabels": {"env": "nowhere"}}
        return document("SecurityPolicy", name, spec)

    return draw


def _local(site: SitePlace, writer: int) -> Callable[[random.Random, int], dict[str, Any]]:
    """More workloads behind the site's nodes, and policies of the site's own."""

    def draw(source: random.Random, number: int) -> dict[str, Any]:
        name = f"l{writer}-{source.randrange(NAMES)}"
        if source.random() < 0.7:
            node = source.choice(site.nodes)
            each, turn = number % 32, number // 32 % 2
            # Two addresses for each workload, which nobody else has, in turns.
            address = f"{node.subnet.removesuffix('.0/24')}.{60 + writer * 64 + each * 2 + turn}"
            workload = {"addresses": [address], "node": node.name}
            return document("Workload", f"l{writer}-{each}", workload, number=str(number))
        ends = {"from": [{"cidr": f"192.0.2.{number % 256}/32"}], "to": [{"network": "A"}]}
        spec = {
            "priority": _priority(number),
            "rules": [_rule([str(1000 + number % 50_000)], **ends)],
        }
        return document("SecurityPolicy", name, spec)

    return draw
