"""The story of examples/two-sites; each step says whether it came out as it should."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from shared.cli.answers import Put
from shared.cli.demo.traffic import Attempt, Seen, Traffic
from shared.cli.demo.world import SiteWorld, World, together
from shared.cli.output import print_table
from shared.errors import HanseError, Unavailable

MONITOR: Final = {"monitor": ("192.168.250.9",)}
_SITES: Final = ("sfo", "fra")
_PORTS: Final = (22, 5432, 6379, 6380, 8000, 8080, 9100)
# Longer than the longest back-off of a site that has lost its FSM.
_PATIENCE: Final = 45.0
_PAUSE: Final = 0.005


@dataclass(frozen=True, slots=True)
class Try:
    """A connection, and what should become of it."""

    source: str
    destination: str
    port: int
    expected: Seen
    family: int = 4


BEFORE: Final[Mapping[str, Sequence[Try]]] = {
    "sfo": (
        Try("app-1", "db-1", 5432, "allow"),
        Try("web-1", "db-1", 5432, "deny"),
        Try("web-1", "app-7", 8000, "allow"),
        Try("app-7", "db-7", 5432, "allow"),
        Try("app-9", "db-7", 5432, "deny"),
        Try("monitor", "db-1", 9100, "allow"),
        Try("web-1", "app-1", 22, "deny"),
    ),
    "fra": (
        Try("app-1", "db-1", 5432, "allow"),
        Try("app-1", "db-1", 5432, "allow", family=6),
        Try("web-1", "db-1", 5432, "deny"),
        Try("app-1", "cache-1", 6379, "allow"),
        Try("web-1", "app-1", 8080, "allow"),
    ),
}


class Story:
    """Tells it on a console; `failures` says what did not come out as it should."""

    def __init__(self, world: World, traffic: Traffic, console: Console) -> None:
        self.world = world
        self._traffic = traffic
        self._console = console
        self.failures: list[str] = []

    async def tell(self) -> None:
        await self._step("Start the FSM and apply the federation's policy", self._federation)
        await self._step("Let the sites and their nodes join", self._sites)
        await self._step("What each site made of it", self._resolved)
        await self._step("Connections through the nodes", self._connections)
        await self._step("Change one rule at the FSM", self._change_rule)
        await self._step("Change one subnet at sfo", self._change_subnet)
        await self._step("Cut fra off from the FSM", self._cut_off)
        await self._step("How things stand", self._status)

    async def _step(self, title: str, act: Callable[[], Awaitable[None]]) -> None:
        self._console.print(f"\n[bold cyan]── {escape(title)}[/]")
        try:
            await act()
        except HanseError as exc:
            self._fail(f"{title}: {exc.message}")
            raise

    async def _federation(self) -> None:
        prepare = (self._prepare(name) for name in _SITES)
        await together(self.world.start_fsm(), *prepare)
        count = await self.world.apply_federation()
        self._say(f"FSM at {self.world.url}; {count} objects applied in one transaction")

    async def _prepare(self, name: str) -> None:
        await self.world.prepare_site(name, MONITOR)

    async def _sites(self) -> None:
        sites = [self.world.sites[name] for name in _SITES]
        await together(*(self._start(site) for site in sites))
        for site in sites:
            self._say(f"{site.name}: SDSP at {site.url}; nodes {', '.join(site.nodes)}")

    async def _start(self, site: SiteWorld) -> None:
        await self.world.start_site(site)
        await self._until_heard(site)
        await site.api.transaction([Put(each) for each in site.documents])
        await self.world.start_nodes(site)
        for host in site.hosts.values():
            await self._traffic.listen(host, _PORTS)
        await self._until_realised(site)

    async def _resolved(self) -> None:
        """Show the rules of both sites, side by side."""
        answers = {name: await site.api.resolve() for name, site in self.world.sites.items()}
        rules: dict[tuple[str, str, str], dict[str, Any]] = {}
        for name, answer in answers.items():
            for rule in answer["rules"]:
                place = (rule["tier"], rule["policy"], rule["rule"])
                rules.setdefault(place, {})[name] = rule
        rows = []
        for (tier, policy, rule), by_site in rules.items():
            rows.append(
                (tier, f"{policy}/{rule}", *(_sides(by_site.get(name)) for name in answers))
            )
        print_table(("tier", "policy/rule", *answers), rows)
        for name, answer in answers.items():
            for each in answer["unresolved"]:
                rule = f"{each['policy']}/{each['rule']}"
                self._say(
                    f"{name}: {rule} is not installed: {each['reference']} means nothing here"
                )

    async def _connections(self) -> None:
        for name, tries in BEFORE.items():
            await self._try_all(self.world.sites[name], tries)

    async def _change_rule(self) -> None:
        """Make the database's isolation answer, and time it to the last node of both sites."""
        document = self._federation_document("three-tier")
        for rule in document["spec"]["rules"]:
            if rule["name"] == "db-isolated":
                rule["action"] = "reject"
        sites = list(self.world.sites.values())
        seconds = await self._timed(sites, self.world.api.transaction([Put(document)]))
        self._tell_times("three-tier/db-isolated: deny → reject", seconds)
        for site in sites:
            await self._try_all(site, [Try("web-1", "db-1", 5432, "reject")])

    async def _change_subnet(self) -> None:
        site = self.world.sites["sfo"]
        document = _find(site.documents, "Network", "AppX")
        document["spec"]["subnets"].append("10.1.11.0/24")
        seconds = await self._timed([site], site.api.transaction([Put(document)]))
        self._tell_times("AppX at sfo: 10.1.11.0/24 added", seconds)
        await self._try_all(site, [Try("app-9", "db-7", 5432, "allow")])

    async def _cut_off(self) -> None:
        site, other = self.world.sites["fra"], self.world.sites["sfo"]
        site.wire.cut()
        document = self._federation_document("three-tier")
        for rule in document["spec"]["rules"]:
            if rule["name"] == "app-to-cache":
                rule["services"][0]["ports"] = ["6380"]
        before = await _revision(site)
        # sfo has no cache, so no rule of its nodes changes: it is heard, not timed.
        heard = await _position(other)
        await self.world.api.transaction([Put(document)])
        await _until(lambda: _moved(other, heard), "sfo to hear of the change")
        self._say("the cache is now at port 6380, says the FSM; fra can't know")
        await self._try_all(
            site,
            [Try("app-1", "cache-1", 6379, "allow"), Try("web-1", "db-1", 5432, "reject")],
        )
        status = await site.api.status()
        self._expect(not status["upstream"]["connected"], "fra says that it is cut off")
        start = time.perf_counter()
        site.wire.mend()
        await _until(lambda: _compiled_since(site, before), "fra to catch up")
        await self._until_realised(site)
        self._tell_times("link mended: fra caught up", {"fra": time.perf_counter() - start})
        await self._try_all(
            site,
            [Try("app-1", "cache-1", 6379, "deny"), Try("app-1", "cache-1", 6380, "allow")],
        )

    async def _status(self) -> None:
        await _until(self._all_realised, "the FSM to hear that all is realised")
        status = await self.world.api.status()
        rows = [
            (
                policy["name"],
                each["site"],
                each.get("generation"),
                each["state"],
                f"{each['nodes']['realised']}/{each['nodes']['total']}",
                ", ".join(sorted({gap["reference"] for gap in each.get("unresolved", ())})),
            )
            for policy in status["policies"]
            for each in policy["sites"]
        ]
        columns = ("policy", "site", "generation", "state", "nodes", "unresolved")
        print_table(columns, rows)

    async def _all_realised(self) -> bool:
        status = await self.world.api.status()
        states = [each["state"] for policy in status["policies"] for each in policy["sites"]]
        return bool(states) and all(state == "realised" for state in states)

    async def _try_all(self, site: SiteWorld, tries: Sequence[Try]) -> None:
        """Try connections, and hold what happened against what should, and what the site says."""
        rows = []
        attempts = [
            Attempt(site.hosts[each.source], site.hosts[each.destination], each.port, each.family)
            for each in tries
        ]
        # At once: each that is dropped takes its time to be sure of.
        found = await asyncio.gather(*map(self._traffic.attempt, attempts))
        for each, attempt, seen in zip(tries, attempts, found, strict=True):
            told = await site.api.trace(attempt.to_flow())
            good = seen == each.expected == told["outcome"]
            rows.append(
                (
                    site.name,
                    f"{each.source} → {each.destination}",
                    f"tcp/{each.port}" + (" (IPv6)" if each.family == 6 else ""),
                    seen,
                    _deciding(told),
                    "as it should"
                    if good
                    else f"NOT {each.expected}; trace says {told['outcome']}",
                )
            )
            if not good:
                where = f"{site.name}: {each.source} to {each.destination} tcp/{each.port}"
                self._fail(f"{where}: {seen}, expected {each.expected}")
        columns = ("site", "connection", "service", "seen", "decided by", "")
        print_table(columns, rows)

    async def _timed(self, sites: Sequence[SiteWorld], apply: Awaitable[Any]) -> dict[str, float]:
        """Apply a change; return how long after the answer each site's last node enforced it."""
        before = {site.name: await _revision(site) for site in sites}
        await apply
        start = time.perf_counter()

        async def reached(site: SiteWorld) -> float:
            await _until(
                lambda: _compiled_since(site, before[site.name]), f"{site.name} to compile"
            )
            await self._until_realised(site)
            return time.perf_counter() - start

        times = await asyncio.gather(*(reached(site) for site in sites))
        return {site.name: seconds for site, seconds in zip(sites, times, strict=True)}

    async def _until_heard(self, site: SiteWorld) -> None:
        async def heard() -> bool:
            return (await site.api.status())["revision"] is not None

        await _until(heard, f"{site.name} to hear from the FSM")

    async def _until_realised(self, site: SiteWorld) -> None:
        async def realised() -> bool:
            nodes = (await site.api.status())["nodes"]
            return bool(nodes) and all(each["state"] == "realised" for each in nodes)

        await _until(realised, f"{site.name}'s nodes to enforce")

    def _federation_document(self, name: str) -> dict[str, Any]:
        return _find(self.world.federation, "SecurityPolicy", name)

    def _tell_times(self, what: str, seconds: Mapping[str, float]) -> None:
        each = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in seconds.items())
        self._say(f"{what}; read back from the last node after: {each}")

    def _expect(self, came_true: bool, what: str) -> None:
        self._say(what if came_true else f"NOT SO: {what}")
        if not came_true:
            self._fail(what)

    def _say(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def _fail(self, what: str) -> None:
        self.failures.append(what)


def _sides(rule: Mapping[str, Any] | None) -> str:
    if rule is None:
        return "not installed"
    ends = []
    for side in ("from", "to"):
        given = rule[side]
        ends.append(given if isinstance(given, str) else ", ".join(given))
    return f"{rule['action']} {ends[0]} → {ends[1]}"


def _deciding(told: Mapping[str, Any]) -> str:
    """Return the rule that decides: of the node that refuses, else of the first that was asked."""
    views = list(told["views"].values()) or [told["view"]]
    view = next((each for each in views if each["verdict"] != "allow"), views[0])
    if view["rule"] is None:
        return "the site's default"
    return f"{view['tier']}: {view['policy']}/{view['rule']}"


def _find(documents: Sequence[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(
        each
        for each in documents
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and "scope" not in each["metadata"]
    )


async def _revision(site: SiteWorld) -> int:
    revision: int = (await site.api.status())["revision"]
    return revision


async def _position(site: SiteWorld) -> int:
    revision: int = (await site.api.status())["upstream"]["position"]["revision"]
    return revision


async def _compiled_since(site: SiteWorld, before: int) -> bool:
    return await _revision(site) > before


async def _moved(site: SiteWorld, before: int) -> bool:
    return await _position(site) > before


async def _until(come_true: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask again and again; Unavailable if it takes far longer than it should."""
    try:
        async with asyncio.timeout(_PATIENCE):
            # Asked over the network: what changes is in another process.
            while not await come_true():  # noqa: ASYNC110
                await asyncio.sleep(_PAUSE)
    except TimeoutError as exc:
        raise Unavailable(f"waited {_PATIENCE:.0f} s for {what}") from exc
