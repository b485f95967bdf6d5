"""What befalls a federation, drawn by a seed: one mishap after another, several at once."""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from shared import failpoints
from shared.errors import HanseError
from shared.feed.wire import key_to_json, parse_key
from tests.simulation.ledger import records_in
from tests.simulation.loop import CURRENT, Killed
from tests.simulation.machine import Machine
from tests.simulation.network import Link, Weather
from tests.simulation.world import World, template

Mishap = Callable[[], Coroutine[Any, Any, None]]


class Mishaps:
    """Draws mishaps until stopped, and makes everything whole again."""

    def __init__(self, world: World, *, only: Collection[str] = ()) -> None:
        """`only` names the sorts that are drawn; none: all."""
        self._world = world
        self._source: random.Random = world.source
        self._loop = world.loop
        self._history = world.history
        self._backups = 0
        self._restored: set[str] = set()
        self._over = False
        every: dict[str, tuple[int, Mishap]] = {
            "cut": (6, self._cut),
            "isolate": (3, self._isolate),
            "kill": (5, self._kill),
            "kill soon": (6, self._kill_soon),
            "stop": (3, self._stop),
            "jump": (3, self._jump),
            "weather": (9, self._weather),
            "break": (3, self._break),
            "reboot": (2, self._reboot),
            "refuse": (2, self._refuse),
            "drift": (2, self._drift),
            "full": (2, self._full),
            "drop held": (2, self._drop_held),
            "restore fsm": (2, self._restore_fsm),
            "roll back fsm": (2, self._roll_back_fsm),
            "restore site": (1, self._restore_site),
        }
        if world.disagreeing:
            every["empty fsm"] = (2, self._empty_fsm)
        self._list = [every[name] for name in only or every]

    async def run(self, number: int) -> None:
        """Let `number` mishaps begin, some at the same time, and end."""
        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                await asyncio.sleep(self._source.choice((0.2, 1.0, 3.0, 6.0)))
                weights = [weight for weight, _ in self._list]
                _, mishap = self._source.choices(self._list, weights)[0]
                group.create_task(mishap())

    def end(self) -> None:
        """Make everything whole: ways open, programs running, disks with room."""
        self._over = True
        for link in self._world.network.links:
            for way in (link.up, link.down):
                way.weather = self._world.network.usual
            self._world.network.heal(link)
        for machine in self._world.machines:
            machine.full = False
            self._let_go_on(machine)
            if not machine.runs:
                machine.start()

    # The network.

    async def _cut(self) -> None:
        link = self._link()
        way = self._source.choice(("up", "down", "both"))
        self._note(f"cuts {link.client} - {link.server} {way}")
        link.up.is_cut |= way in ("up", "both")
        link.down.is_cut |= way in ("down", "both")
        await self._while(3.0, 20.0, 60.0)
        self._world.network.heal(link)

    async def _isolate(self) -> None:
        machine = self._machine()
        names = {machine.name, *(n for n in self._world.nodes if n.startswith(f"{machine.name}/"))}
        links = [
            link
            for link in self._world.network.links
            if (link.client in names) != (link.server in names)
        ]
        self._note(f"isolates {machine.name}")
        for link in links:
            link.up.is_cut = link.down.is_cut = True
        await self._while(10.0, 40.0)
        for link in links:
            self._world.network.heal(link)

    async def _weather(self) -> None:
        link = self._link()
        if self._source.random() < 0.5:  # most of what may go wrong goes wrong here
            site = self._source.choice(list(self._world.sites))
            link = self._world.network.link(site, self._world.fsm.name)
        weather = Weather(
            delay=self._source.choice((0.02, 0.3, 2.0)),
            lost=self._source.choice((0.0, 0.05, 0.2)),
            doubled=self._source.choice((0.0, 0.1, 0.4)),
            swapped=self._source.choice((0.0, 0.1, 0.4)),
        )
        self._note(f"weather between {link.client} and {link.server}")
        link.up.weather = link.down.weather = weather
        await self._while(10.0, 30.0)
        link.up.weather = link.down.weather = self._world.network.usual

    async def _break(self) -> None:
        link = self._link()
        self._note(f"breaks streams of {link.client} at {link.server}")
        for stream in list(link.streams):
            stream.reset_by_server()
            stream.left()

    # Programs.

    async def _kill(self) -> None:
        machine = self._machine()
        if not machine.runs:
            return
        self._count("kills")
        machine.kill()
        await self._while(0.1, 5.0, 40.0)
        self._start(machine)

    async def _kill_soon(self) -> None:
        """Kill a program within a step: at a failpoint, or with a statement on its way."""
        machine = self._machine()
        machine.doomed_in = self._source.randint(1, 12)
        await self._while(20.0)
        machine.doomed_in = 0
        if not machine.runs:
            self._count("kills")
            self._count("kills within a step")
            self._start(machine)

    async def _stop(self) -> None:
        machine = self._machine()
        process = machine.process
        if process is None or process.stopped or not machine.runs:
            return
        self._count("stops")
        self._note(f"stops {machine.name}")
        self._loop.stop_process(process)
        await self._while(5.0, 60.0)
        self._loop.continue_process(process)

    async def _jump(self) -> None:
        machine = self._machine()
        seconds = self._source.choice((-7200.0, -30.0, 3.0, 90.0, 7200.0))
        self._count("clock jumps")
        self._note(f"{machine.name}'s clock jumps by {seconds}")
        machine.clock.jump(seconds)

    # Disks.

    async def _full(self) -> None:
        machine = self._source.choice([self._world.fsm, *self._world.sites.values()])
        self._count("full disks")
        self._note(f"{machine.name}'s disk is full")
        machine.full = True
        await self._while(3.0, 20.0)
        machine.full = False

    async def _restore_fsm(self) -> None:
        await self._put_back(self._world.fsm, anew=True)

    async def _roll_back_fsm(self) -> None:
        """What a machine's snapshot does: the past returns, and says nothing of it."""
        await self._put_back(self._world.fsm, anew=False)

    async def _restore_site(self) -> None:
        await self._put_back(self._source.choice(list(self._world.sites.values())), anew=True)

    async def _empty_fsm(self) -> None:
        """An FSM that begins with nothing, until somebody finds the backup."""
        machine = self._world.fsm
        if machine.name in self._restored:
            return
        self._restored.add(machine.name)
        backup, nothing = (machine.disk.folder / name for name in ("last-backup", "nothing"))
        machine.kill()
        machine.disk.copy(backup)
        nothing.write_bytes(template())
        self._count("empty FSMs")
        self._note("empties the FSM")
        for file in (nothing, backup):
            machine.kill()
            self._world.read_ledgers()
            machine.disk.restore(file, self._world.new_life())
            self._world.begin_life(machine)
            await self._while(0.5, 5.0)
            self._start(machine)
            await self._while(5.0, 20.0)
        # What was written in between is in no backup.
        self._world.ledgers[machine.name][-2].restored_to = 0

    async def _put_back(self, machine: Machine, *, anew: bool) -> None:
        if machine.name in self._restored:
            return
        self._restored.add(machine.name)
        self._backups += 1
        backup = machine.disk.folder / f"backup-{self._backups}"
        machine.disk.copy(backup)
        self._note(f"backs {machine.name} up")
        await self._while(5.0, 20.0, 40.0)
        machine.kill()
        self._world.read_ledgers()
        incarnation = self._world.new_life() if anew else None
        machine.disk.restore(backup, incarnation)
        self._world.begin_life(machine)
        if machine.name in self._world.sites:
            self._history.copy_of(machine.name).put_back()
        self._count("stores put back")
        self._note(f"puts {machine.name} back, {'anew' if anew else 'silently'}")
        await self._while(0.5, 5.0)
        self._start(machine)

    # Nodes.

    async def _reboot(self) -> None:
        machine = self._node()
        machine.kill()
        self._count("reboots")
        await self._world.planes[machine.name].plane.clear()
        await self._while(0.5, 10.0)
        self._start(machine)

    async def _refuse(self) -> None:
        machine = self._node()
        self._count("data planes that refuse")
        self._world.planes[machine.name].plane.refuse_next()

    async def _drift(self) -> None:
        machine = self._node()
        enforced = machine.program.enforcer.standing.enforced if machine.runs else None
        if enforced is None or not enforced.configuration.rules:
            return
        self._count("drifts")
        rule = self._source.choice(enforced.configuration.rules)
        self._world.planes[machine.name].plane.lose_rule(rule.id)

    # People.

    async def _drop_held(self) -> None:
        """A person lets go of what is held, all of it or some."""
        site = self._source.choice(list(self._world.sites))
        held = list(records_in(self._world.sites[site].disk.store, "held").values())
        some = [each for each in held if self._source.random() < 0.6]
        if not some:
            return
        keys = [parse_key(each) for each in some]
        client = self._world.network.client(self._loop.world, "people", site)
        body = {"keys": [key_to_json(key) for key in keys]}
        self._history.dropping.setdefault(site, set()).update(keys)
        try:
            await client.request("POST", "/api/v1/held/drop", body=body)
        except HanseError:
            return
        self._count("held objects dropped", len(keys))

    def _let_go_on(self, machine: Machine) -> None:
        machine.doomed_in = 0
        if machine.process is not None and machine.process.stopped:
            self._loop.continue_process(machine.process)

    def _start(self, machine: Machine) -> None:
        if not machine.runs:
            machine.start()

    async def _while(self, *seconds: float) -> None:
        if not self._over:
            await asyncio.sleep(self._source.choice(seconds))

    def _link(self) -> Link:
        self._count("network mishaps")
        return self._source.choice(self._world.network.links)

    def _machine(self) -> Machine:
        world = self._world
        group = self._source.choice(
            ([world.fsm], list(world.sites.values()), list(world.nodes.values()))
        )
        return self._source.choice(group)

    def _node(self) -> Machine:
        return self._source.choice(list(self._world.nodes.values()))

    def _count(self, what: str, number: int = 1) -> None:
        self._history.count("mishaps")
        self._history.count(what, number)

    def _note(self, what: str) -> None:
        self._history.note(self._loop.time(), f"fate {what}")


class Fate:
    """What failpoints lead to here: the machine that is doomed dies at the next one.

    Stands in for the plan that HANSE_FAILPOINTS would arm in a real process.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._machines = {machine.name: machine for machine in world.machines}

    def reach(self, name: str) -> float:
        process = CURRENT.get(None)
        if process is None:
            return 0.0
        machine = self._machines.get(process.name.partition("#")[0])
        if machine is None or machine.process is not process or process.severed:
            return 0.0
        self._world.history.count("failpoints reached")
        if machine.meets_its_end():
            machine.note(f"dies at {name}")
            machine.kill()
            raise Killed(name)
        return 0.0

    def arm(self) -> None:
        failpoints._plan = self  # type: ignore[assignment]

    def disarm(self) -> None:
        failpoints.arm("")
