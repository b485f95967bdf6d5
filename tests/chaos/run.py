"""One run: a federation under load, and everything that is done to it."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from shared.failpoints import FAILPOINTS
from shared.tasks.group import Group
from tests.chaos import judge
from tests.chaos.federation import Federation, document
from tests.chaos.load import Load
from tests.chaos.network import FSM, Network, SitePlace
from tests.chaos.programs import Program, Wrong
from tests.chaos.recorder import Recorder
from tests.chaos.sentry import Sentries

REACH_SECONDS = 60.0
"""Within which an armed failpoint must have been reached."""
NOTICE_SECONDS = 120.0
"""Within which both ends of a wire must have noticed; 20 to 30 s on a quiet machine."""
LEAST_CHANGES = 5
"""Acknowledged for each thing that was done; a run that carried less proves nothing."""

# By the first word of a failpoint's name, in which programs it is reached under load.
_FSM, _SITE, _NODE = "FSM", "SDSP", "agent"
_WHERE = {
    "store": (_FSM, _SITE),
    "objects": (_FSM, _SITE),
    "fsm": (_FSM,),
    "feed": (_SITE,),
    "sdsp": (_SITE,),
    "dsn": (_NODE,),
    "pki": (_FSM,),
}
_RARE = (
    "dsn.identity.",
    "dsn.revocations.",
    "fsm.exchange.",
    "store.compact.",
    # tests/integration/road/test_asked_killed.py
    "fsm.request.",
    "sdsp.request.",
    "sdsp.answer.",
    # tests/integration/fsm/test_rollouts_killed.py
    "fsm.rollout.",
)
# Reached when something is set up, joins or is backed up: tests/faults/test_kill_9_of_any_process.py.
ELSEWHERE = frozenset(
    name
    for name in FAILPOINTS
    if name.partition(".")[0] not in _WHERE
    or name.startswith(_RARE)
    or name in ("fsm.join.before_answer", "sdsp.join.before_answer", "fsm.root.written")
)
# Reached only while a site lists anew.
_LISTING = frozenset({"sdsp.replace.before", "sdsp.replace.after"})
# Reached only while nothing comes that concerns the site.
_QUIET = frozenset({"sdsp.advance.before", "sdsp.advance.after"})
_BOOKMARK_SECONDS = 6.0
"""A little more than the time between two bookmarks."""


@dataclass(frozen=True)
class Wishes:
    """What is to be done: so many random kills, cuts and stalls, and which failpoints."""

    seed: int
    kills: int = 200
    cuts: int = 10
    stalls: int = 5
    silences: int = 2
    """Cuts of a site's wire that last until both ends show that it is cut."""
    failpoints: int | None = None
    """So many of them, drawn by the seed; None for all."""
    only: str = "*"
    """Those whose name matches this pattern."""
    writers: int = 2
    """At each server."""
    pause: float = 0.03
    """Seconds between two writes of one writer, at most."""
    minutes: float | None = None
    """After which nothing more is begun, and what was done is judged."""


@dataclass
class Report:
    """What a run did and carried, and what was wrong."""

    done: Counter[str] = field(default_factory=Counter)
    carried: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds from a start to readiness, at most."""

    def lines(self) -> list[str]:
        done = ", ".join(f"{count:,} {what}" for what, count in self.done.items())
        carried = ", ".join(f"{count:,} {what}" for what, count in self.carried.items())
        return [
            f"done: {done}",
            f"carried: {carried}",
            f"ready again after {self.slowest:.1f} s at the slowest",
            *(f"WRONG: {each}" for each in self.faults),
        ]

    @property
    def is_valid(self) -> bool:
        """Whether there was load enough for the result to mean anything."""
        return (
            self.carried["changes acknowledged"] >= LEAST_CHANGES * self.done.total()
            and self.carried["packets let through"] > 0
            and self.carried["watch resumptions"] > 0
        )


def targets(
    names: Sequence[str], programs: Sequence[Program], network: Network
) -> list[tuple[str, Program]]:
    """Return each failpoint with each kind of program in which it is reached, one of a kind."""
    sites = {site.name for site in network.sites}
    kinds = {_FSM: [], _SITE: [], _NODE: []}  # type: dict[str, list[Program]]
    for program in programs:
        kind = _FSM if program.name == FSM else _SITE if program.name in sites else _NODE
        kinds[kind].append(program)
    return [
        (name, kinds[kind][index % len(kinds[kind])])
        for index, name in enumerate(names)
        for kind in _WHERE[name.partition(".")[0]]
    ]


class Run:
    """Does what is wished to a federation that has begun."""

    def __init__(
        self,
        federation: Federation,
        wishes: Wishes,
        *,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.report = Report()
        self._federation = federation
        self._wishes = wishes
        self._folder = folder
        self._say = say
        self._source = random.Random(wishes.seed)
        self._began = time.monotonic()
        self._load = Load(federation, random.Random(wishes.seed), wishes.pause)

    async def run(self) -> Report:
        """Do everything, let it settle, and judge."""
        federation = self._federation
        await judge.until_settled(federation)
        sentries = Sentries(federation.network, federation.nodes)
        begins = {
            name: int((await server.get("/api/v1/status"))["revision"])
            for name, server in federation.servers.items()
        }
        recorders = [
            Recorder(server, kinds=_kinds(name), after=begins[name])
            for name, server in federation.servers.items()
        ]
        try:
            async with Group() as group:
                for number, writer in enumerate(self._load.writers(self._wishes.writers)):
                    group.start(writer.run(), name=f"writer {number}")
                for recorder in recorders:
                    group.start(recorder.run(), name=f"watch {recorder.server.name}")
                await self._everything()
                self._load.stop.set()
                await judge.until_settled(federation)
                await self._until_recorded(recorders)
        finally:
            sentries.stop()
        await self._judge(sentries, recorders, begins)
        return self.report

    async def _everything(self) -> None:
        for name, program in self._failpoints():
            if self._is_late():
                break
            await self._at_failpoint(name, program)
            await self._check(f"{name} in {program.name}")
        works = [
            *[self._kill] * self._wishes.kills,
            *[self._cut] * self._wishes.cuts,
            *[self._stall] * self._wishes.stalls,
            *[self._silence] * self._wishes.silences,
        ]
        self._source.shuffle(works)
        for number, work in enumerate(works, start=1):
            if self._is_late():
                break
            await asyncio.sleep(self._source.uniform(0.05, 0.8))
            said = await work()
            if number % 10 == 0:
                await self._check(f"{number} of {len(works)}, {said}")

    def _is_late(self) -> bool:
        minutes = self._wishes.minutes
        return minutes is not None and time.monotonic() > self._began + 60 * minutes

    def _failpoints(self) -> list[tuple[str, Program]]:
        reached = FAILPOINTS.keys() - ELSEWHERE
        names = sorted(name for name in reached if fnmatchcase(name, self._wishes.only))
        found = targets(names, list(self._federation.programs()), self._federation.network)
        if self._wishes.failpoints is not None:
            found = self._source.sample(found, min(self._wishes.failpoints, len(found)))
        return found

    async def _at_failpoint(self, name: str, program: Program) -> None:
        """Start a program so that it dies at a place, and start it again."""
        async with self._down(program):
            await program.kill()
            await program.start(f"{name}=exit@{1 if _is_early(name) else 2}")
            if name in _LISTING:
                await self._list_anew(program)
            self._open(program)
            reached = await self._until_killed(name, program)
            if not reached:
                await program.kill()
                self.report.faults.append(f"{program.name} never came to {name}")
            self._load.up[FSM].set()
            await self._again(program)
        self.report.done["kills at failpoints"] += 1

    async def _kill(self) -> str:
        program = self._source.choice(list(self._federation.programs()))
        async with self._down(program):
            await program.kill()
            await self._again(program)
        self.report.done["kills at random"] += 1
        return f"killed {program.name}"

    async def _cut(self) -> str:
        """Cut a wire, one way or both, for a while: too short to be noticed, or long."""
        one, other = self._source.choice(list(self._federation.network.wires()))
        both = self._source.random() < 0.5
        if not both and self._source.random() < 0.5:
            one, other = other, one
        self._federation.network.cut(one, other, both=both)
        try:
            await asyncio.sleep(self._source.choice((0.5, 2.0, 8.0)))
        finally:
            self._federation.network.mend()
        self.report.done["cuts"] += 1
        return f"cut {one} and {other}"

    async def _stall(self) -> str:
        """Stop a program as if its machine stood still."""
        program = self._source.choice(list(self._federation.programs()))
        program.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._source.choice((0.5, 2.0, 5.0)))
        finally:
            program.signal(signal.SIGCONT)
        self.report.done["stalls"] += 1
        return f"stalled {program.name}"

    async def _silence(self) -> str:
        """Cut a site off, both ways or one, until neither end shows it as connected."""
        network, site = self._federation.network, self._source.choice(self._federation.sites)
        one, other = self._source.choice(((site.host, FSM), (FSM, site.host)))
        both = self._source.random() < 0.3
        network.cut(one, other, both=both)
        try:
            await self._until_connected(site, wanted=False)
        finally:
            network.mend()
        await self._until_connected(site, wanted=True)
        self.report.done["silences"] += 1
        return f"silenced {one} to {other}" + (" and back" if both else "")

    async def _until_connected(self, site: SitePlace, *, wanted: bool) -> None:
        """Wait until both ends say that a site is connected, or that it is not; Wrong."""
        servers = self._federation.servers
        deadline = time.monotonic() + NOTICE_SECONDS
        while True:
            above = (await servers[FSM].get("/api/v1/status"))["sites"]
            below = await servers[site.name].get("/api/v1/status")
            said = {
                FSM: next(each for each in above if each["name"] == site.name)["connected"],
                site.name: below["upstream"]["connected"],
            }
            if set(said.values()) == {wanted}:
                return
            if time.monotonic() > deadline:
                raise Wrong(f"{site.name} is cut off: {not wanted}, but connected is {said}")
            await asyncio.sleep(0.5)

    async def _again(self, program: Program) -> None:
        await program.start()
        self.report.slowest = max(self.report.slowest, await program.until_ready())

    async def _list_anew(self, program: Program) -> None:
        """Change a site's labels: its view is another one, and it lists again."""
        site = next(each for each in self._federation.sites if each.name == program.name)
        labels = {"labels": {"env": "prod", "turn": str(self.report.done.total())}}
        await self._federation.fsm.connection.call(
            "PATCH",
            f"/api/v1/sites/{site.name}",
            body={"metadata": labels},
            headers={"Content-Type": "application/merge-patch+json"},
        )

    async def _until_killed(self, name: str, program: Program) -> bool:
        """Wait until a failpoint has ended a program; False if that takes too long."""
        if name not in _QUIET:
            return await program.until_killed(REACH_SECONDS)
        # The FSM falls silent but for changes that concern no site: a bookmark tells of them.
        self._load.up[FSM].clear()
        spec = {"sites": {"matchLabels": {"env": "nowhere"}}, "rules": []}
        for number in range(int(REACH_SECONDS / _BOOKMARK_SECONDS)):
            named = document("SecurityPolicy", "nobody", {**spec, "priority": number + 1})
            await self._federation.put_all(self._federation.fsm, [named])
            if await program.until_killed(_BOOKMARK_SECONDS):
                return True
        return False

    async def _check(self, after: str) -> None:
        """Look at what can be told while the load goes on: nothing acknowledged is missing."""
        for name, server in self._federation.servers.items():
            ledger = self._load.ledgers[name]
            told = ledger.highest
            # A site's status is of its last review, which may be behind.
            listed = await server.get("/api/v1/networks?limit=1")
            revision = int(listed["metadata"]["revision"])
            if revision < told:
                raise Wrong(f"{name} is at {revision} after it had told {told}")
        self._say(f"{after}: {self._load.carried:,} changes so far")

    async def _until_recorded(self, recorders: Sequence[Recorder]) -> None:
        """Wait until every watcher has seen the last write of its server."""
        deadline = time.monotonic() + judge.SETTLE_SECONDS
        for recorder in recorders:
            while recorder.reached < self._load.ledgers[recorder.server.name].highest:
                if time.monotonic() > deadline:
                    raise Wrong(f"the watch of {recorder.server.name} stands still")
                await asyncio.sleep(0.05)

    async def _judge(
        self, sentries: Sentries, recorders: Sequence[Recorder], begins: dict[str, int]
    ) -> None:
        faults = self.report.faults
        for name, server in self._federation.servers.items():
            faults += await judge.faults_of_server(server, self._load.ledgers[name], self._folder)
        for recorder in recorders:
            after = begins[recorder.server.name]
            faults += await judge.faults_of_recording(recorder, after=after, folder=self._folder)
        for site in self._federation.sites:
            faults += await self._site_faults(site)
        faults += sentries.faults()
        ledgers = self._load.ledgers.values()
        self.report.carried.update(
            {
                "changes acknowledged": self._load.carried,
                "of them after asking again": sum(each.repeated for each in ledgers),
                "refused": sum(each.refused for each in ledgers),
                "watch resumptions": sum(len(each.parts) - 1 for each in recorders),
                "commits watched": sum(len(p.commits) for each in recorders for p in each.parts),
                "events of rulesets lost": sum(each.lost for each in sentries.all),
                "rulesets seen": sum(each.ruleset.generations for each in sentries.all),
                "packets let through": sum(each.allowed for each in sentries.all),
                "packets sent": sum(2 * each.sent for each in sentries.all),
            }
        )

    async def _site_faults(self, site: SitePlace) -> list[str]:
        """Return what is wrong with a site that has had time to settle."""
        deadline = time.monotonic() + judge.SETTLE_SECONDS
        while found := await judge.faults_of_site(self._federation, site, self._folder):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        return found

    def _open(self, program: Program) -> None:
        if program.name in self._load.up:
            self._load.up[program.name].set()

    def _down(self, program: Program) -> "_Down":
        return _Down(self._load.up.get(program.name))


class _Down:
    """Writers don't knock while a server is known to be down."""

    def __init__(self, up: asyncio.Event | None) -> None:
        self._up = up

    async def __aenter__(self) -> None:
        if self._up:
            self._up.clear()

    async def __aexit__(self, *_: object) -> None:
        if self._up:
            self._up.set()


def _is_early(name: str) -> bool:
    """Return whether a place is reached once at each start, not again and again."""
    return name.startswith(("store.migrate.", "pki.", "sdsp.replace.", "sdsp.advance."))


def _kinds(server: str) -> str:
    return "networks,securitypolicies" + ("" if server == FSM else ",workloads")
