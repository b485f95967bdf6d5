"""How the federation stands, gathered from the hub, the records of what sites said, and the CA."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fsm.feed.acks import REPORTS, SiteVoices, read_heard
from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.select import World, view_of
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
from shared.access.reach import Reach
from shared.backup.answers import backups_json
from shared.backup.standing import Task, states_in
from shared.clock import Clock
from shared.enrolment.register import CERTIFICATES
from shared.enrolment.revocations import revoked_in
from shared.errors import NotFound
from shared.ids import Key
from shared.login.glass import answer_of, glass_in
from shared.pki.alarm import Expiring
from shared.pki.identity import SpiffeId, TrustDomain
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
        voices: SiteVoices,
        *,
        trust_domain: TrustDomain,
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
        self._voices = voices
        self._trust_domain = trust_domain
        self._clock = clock
        self._backups = backups

    async def status(self, wanted: Wanted, reach: Reach) -> dict[str, Any]:
        """Return how sites and policies stand, as far as they may be seen.

        NotFound if a site is asked for that there isn't.
        """
        gathered = await self._gather(wanted, reach)
        sites: list[dict[str, Any]] = []
        by_policy: dict[Key, list[PolicyAtSite]] = {item.key: [] for item in gathered.policies}
        exceptions: dict[tuple[str, str], Counter[str]] = {}
        for name in gathered.sites:
            document, at_site = gathered.site(name)
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
            **(await self._affairs() if gathered.seen.has_affairs else {}),
        }

    async def _affairs(self) -> dict[str, Any]:
        async with self._store.snapshot() as snapshot:
            states = await states_in(snapshot)
            events = await recent_events(snapshot)
            glass = await glass_in(snapshot)
        return {
            "breakGlass": answer_of(glass, self._clock.now()),
            "backups": backups_json(self._backups, states, now=self._clock.now()),
            "events": [each.to_json() for each in events],
            "expiring": [each.to_json() for each in self._expiring()],
        }

    async def site_status(self, site: str, reach: Reach) -> dict[str, Any]:
        """Return how one site stands, with each of its policies; NotFound."""
        gathered = await self._gather(Wanted(site=site), reach)
        document, at_site = gathered.site(site)
        items = {item.key: item for item in gathered.policies}
        document["summary"] = document["policies"]
        document["policies"] = [
            {**identity_of(items[each.key]), **each.to_json()} for each in at_site
        ]
        return document

    async def _gather(self, wanted: Wanted, reach: Reach) -> "_Gathered":
        # What this process has heard and not written yet belongs to the answer.
        await self._voices.flush()
        async with self._store.snapshot() as snapshot:
            heard = await read_heard(snapshot)
            reports = await snapshot.records(REPORTS)
            certificates = await snapshot.records(CERTIFICATES)
            revoked = await revoked_in(snapshot)
        now = self._clock.now()
        until = _joined_until(certificates, revoked=revoked, now=now)
        world = dict(self._hub.world)
        seen = Seen(reach, world)
        names = sorted(key.name for key in world if key.kind == "Site" and seen.has_site(key.name))
        if wanted.site is not None:
            if wanted.site not in names:
                raise NotFound(f"there is no Site {wanted.site}")
            names = [wanted.site]
        return _Gathered(
            revision=self._hub.position.revision,
            world=world,
            sites=names,
            policies=[
                item
                for key, item in sorted(world.items())
                if key.kind == POLICY and wanted.includes(key) and seen.has(key)
            ],
            facts={
                name: SiteFacts(
                    heard.get(name),
                    reports.get(name),
                    until.get(str(SpiffeId.sdsp(self._trust_domain, name))),
                )
                for name in names
            },
            now=now,
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

    def site(self, name: str) -> tuple[dict[str, Any], list[PolicyAtSite]]:
        view, facts = view_of(self.world, name), self.facts[name]
        assert view is not None, "the sites are those of the world"
        at_site = policies_at(view, self.policies, facts, now=self.now, seen=self.seen)
        document = site_document(view, facts, at_site, now=self.now, seen=self.seen)
        return document, at_site


def _joined_until(
    certificates: Mapping[str, Any], *, revoked: Mapping[str, Any], now: datetime
) -> dict[str, datetime]:
    """Return, per identity, until when the last of its live certificates is good."""
    until: dict[str, datetime] = {}
    for serial, record in certificates.items():
        not_after = datetime.fromisoformat(record["notAfter"])
        if serial not in revoked and not_after > now:
            identity = record["identity"]
            until[identity] = max(not_after, until.get(identity, not_after))
    return until
