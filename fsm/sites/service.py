"""How the federation stands, gathered from the hub, the records of what sites said, and the CA."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.rolling import Rollings, rollings_in
from fsm.feed.select import Selected, World, view_of
from fsm.feed.status import (
    POLICY,
    PolicyAtSite,
    Seen,
    SiteFacts,
    identity_of,
    policies_at,
    policy_document,
    site_document,
)
from fsm.requests.waiting import open_requests
from fsm.sites.facts import KnownSites
from shared.access.reach import Reach
from shared.backup.answers import backups_json
from shared.backup.standing import Task, states_in
from shared.clock import Clock
from shared.errors import NotFound
from shared.ids import Key
from shared.login.glass import answer_of, glass_in
from shared.pki.alarm import Expiring
from shared.store.contract import Store
from shared.telemetry.journal import recent_events


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the status is asked for; None: all."""

    site: str | None = None
    policy: str | None = None
    tenant: str | None = None

    def includes(self, key: Key) -> bool:
        return self.policy in (None, key.name) and self.tenant in (None, key.tenant)


class Sites:
    def __init__(
        self,
        store: Store,
        hub: Hub,
        known: KnownSites,
        *,
        clock: Clock,
        backups: Sequence[Task] = (),
        expiring: Callable[[], Sequence[Expiring]] = tuple,
    ) -> None:
        """`backups` are those that this FSM makes of itself; `expiring` returns those of its
        certificates that have a third of their life left and no successor.
        """
        self._expiring = expiring
        self._store = store
        self._hub = hub
        self._known = known
        self._clock = clock
        self._backups = backups

    async def status(self, wanted: Wanted, reach: Reach) -> dict[str, Any]:
        """Return how sites and policies stand, as far as they may be seen.

        NotFound if a site is asked for that there isn't.
        """
        gathered = await self._gather(wanted, reach)
        sites: list[dict[str, Any]] = []
        wishes = open_requests(gathered.seen)
        by_policy: dict[Key, list[PolicyAtSite]] = {item.key: [] for item in gathered.policies}
        exceptions: dict[tuple[str, str], Counter[str]] = {}
        for name in gathered.sites:
            document, at_site = gathered.site(name)
            document["changeRequests"] = wishes.get(name, [])
            sites.append(document)
            for each in document["exceptions"]:
                target = each["target"]
                if target["kind"] == POLICY:
                    policy = target["tenant"], target["name"]
                    exceptions.setdefault(policy, Counter())[name] += 1
            for found in at_site:
                by_policy[found.key].append(found)
            # A thousand sites take a while; others want their turn.
            await asyncio.sleep(0)
        return {
            "revision": gathered.revision,
            "sites": sites,
            "policies": [
                policy_document(
                    item,
                    by_policy[item.key],
                    exceptions.get((item.key.tenant, item.key.name), {}),
                )
                for item in gathered.policies
            ],
            # Both are the server's own affairs.
            **(await self._affairs(gathered.seen) if gathered.seen.has_affairs else {}),
        }

    async def _affairs(self, seen: Seen) -> dict[str, Any]:
        async with self._store.snapshot() as snapshot:
            states = await states_in(snapshot)
            events = await recent_events(snapshot)
            glass = await glass_in(snapshot)
        return {
            "breakGlass": answer_of(glass, self._clock.now()),
            "backups": backups_json(self._backups, states, now=self._clock.now()),
            "events": [
                each.to_json() for each in events if each.object is None or seen.has(each.object)
            ],
            "expiring": [each.to_json() for each in self._expiring()],
        }

    async def site_status(self, site: str, reach: Reach) -> dict[str, Any]:
        """Return how one site stands, with each of its policies; NotFound."""
        gathered = await self._gather(Wanted(site=site), reach)
        document, at_site = gathered.site(site)
        items = {item.key: item for item in gathered.policies}
        document["changeRequests"] = open_requests(gathered.seen).get(site, [])
        document["summary"] = document["policies"]
        document["policies"] = [
            {**identity_of(items[each.key]), **each.to_json()} for each in at_site
        ]
        return document

    async def _gather(self, wanted: Wanted, reach: Reach) -> "_Gathered":
        told = await self._known.read()
        # From here on nothing waits: the world is of one moment, and no older than what was told.
        world = dict(self._hub.world)
        rollings = rollings_in(self._hub.world)
        revision = self._hub.position.revision
        seen = Seen(reach, world)
        names = sorted(key.name for key in world if key.kind == "Site" and seen.has_site(key.name))
        if wanted.site is not None:
            if wanted.site not in names:
                raise NotFound(f"there is no Site {wanted.site}")
            names = [wanted.site]
        views = {name: view for name in names if (view := view_of(world, name)) is not None}
        paused = [view for view in views.values() if view.paused is not None]
        return _Gathered(
            revision=revision,
            world=world,
            sites=names,
            policies=[
                item
                for key, item in sorted(world.items())
                if key.kind == POLICY and wanted.includes(key) and seen.has(key)
            ],
            facts={name: told.of(name) for name in names},
            now=self._clock.now(),
            rollings=rollings,
            kept={view.site: await self._hub.kept(view) for view in paused},
            seen=seen,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """Everything that an answer is made from, as of one moment."""

    revision: int
    world: World
    sites: list[str]
    policies: list[Item]
    facts: Mapping[str, SiteFacts]
    now: datetime
    seen: Seen
    rollings: Rollings
    kept: Mapping[str, Selected | None]

    def site(self, name: str) -> tuple[dict[str, Any], list[PolicyAtSite]]:
        view, facts = view_of(self.world, name), self.facts[name]
        assert view is not None, "the sites are those of the world"
        kept = self.kept.get(name)
        at_site = policies_at(
            view,
            self.policies,
            facts,
            now=self.now,
            seen=self.seen,
            rollings=self.rollings,
            kept=kept,
        )
        document = site_document(view, facts, at_site, now=self.now, seen=self.seen, kept=kept)
        return document, at_site
