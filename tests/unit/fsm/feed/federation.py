"""A small federation to select from, and a server of its feed in memory."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson

from fsm.feed.acks import SiteVoices
from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.reports import Acknowledgement, Report
from fsm.feed.service import Feed, Since
from shared.backoff import Backoff
from shared.clock import Clock
from shared.feed.wire import Position
from shared.ids import COMMON, FEDERATION, Key
from shared.model.subscription import Subscription
from shared.store.contract import AuditRecord, Draft
from tests.fakes.store import EPOCH, MemoryStore

AUDIT = AuditRecord(
    at=EPOCH, request_id="r", identity="spiffe://sfo.hanse.example/sdsp", action="x", outcome="ok"
)


def key(kind: str, name: str, *, tenant: str = COMMON, scope: str = FEDERATION) -> Key:
    return Key(kind, tenant, scope, name)


def site(name: str, region: str | None = None, **labels: str) -> Draft:
    return Draft(key("Site", name), {"region": region} if region else {}, labels)


def region(name: str, parent: str | None = None) -> Draft:
    return Draft(key("Region", name), {"parent": parent} if parent else {})


def policy(
    name: str,
    *,
    sites: Mapping[str, str] | None = None,
    mandatory: bool = False,
    names: tuple[str, ...] = ("AppX",),
    tenant: str = COMMON,
    scope: str = FEDERATION,
    service: str | None = None,
    labels: Mapping[str, str] | None = None,
    action: str = "allow",
) -> Draft:
    rule: dict[str, Any] = {
        "name": "one",
        "from": [{"network": each} for each in names] or "any",
        "to": "any",
        "action": action,
    }
    if service:
        rule["services"] = [{"service": service}]
    spec: dict[str, Any] = {"rules": [rule]}
    if sites is not None:
        spec["sites"] = {"matchLabels": dict(sites)}
    if mandatory:
        spec["enforcement"] = "mandatory"
    return Draft(key("SecurityPolicy", name, tenant=tenant, scope=scope), spec, labels or {})


def network(name: str, *, tenant: str = COMMON, scope: str = FEDERATION, **spec: object) -> Draft:
    return Draft(key("Network", name, tenant=tenant, scope=scope), spec)


def revocation(name: str, number: int) -> Draft:
    return Draft(key("Revocation", name), {"serial": f"{number}", "notAfter": "2027-01-01"})


def subscription(name: str, **spec: Any) -> Draft:
    return Draft(key("Subscription", name), Subscription.model_validate(spec).to_json())


async def put(store: MemoryStore, *drafts: Draft) -> None:
    async def work(transaction: Any) -> None:
        for draft in drafts:
            await transaction.put(draft)

    await store.transact(work)


async def delete(store: MemoryStore, *keys: Key) -> None:
    async def work(transaction: Any) -> None:
        for each in keys:
            await transaction.delete(each)

    await store.transact(work)


async def world_of(store: MemoryStore, at: int | None = None) -> dict[Key, Item]:
    async with store.snapshot(at) as snapshot:
        return {each.key: Item(each) for each in await snapshot.list()}


def backoff(seed: int = 0) -> Backoff:
    return Backoff(first=1.0, longest=10.0, source=random.Random(seed))


class FeedServer:
    """The FSM's feed for one site, as handlers would call it: a tests.fakes.transport.Served."""

    def __init__(self, store: MemoryStore, *, clock: Clock, site: str = "sfo") -> None:
        self.store = store
        self.hub = Hub(store, clock=clock, backoff=backoff())
        self.feed = Feed(store, self.hub)
        self.voices = SiteVoices(store, clock=clock)
        self.site = site

    async def get(self, path: str, params: Mapping[str, str]) -> bytes:
        assert path == "/feed/v1/snapshot"
        since = None
        if "since_incarnation" in params:
            since = Since(params["since_incarnation"], int(params["since_revision"]))
        revision = params.get("revision")
        return await self.feed.page(
            self.site,
            revision=None if revision is None else int(revision),
            page=params.get("page"),
            since=since,
        )

    async def send(self, method: str, path: str, body: Any) -> bytes:
        match path:
            case "/feed/v1/subscription":
                wishes = Subscription.model_validate(body)
                await self.feed.subscribe(self.site, wishes, audit=AUDIT)
            case "/feed/v1/acknowledgements":
                await self.voices.acknowledge(
                    self.site,
                    Acknowledgement.model_validate(body),
                    incarnation=self.hub.position.incarnation,
                    revision_of=partial(self.hub.revision_at, self.site),
                )
            case "/feed/v1/report":
                await self.voices.report(self.site, Report.model_validate(body))
            case _:
                raise AssertionError(path)
        return b""

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        assert path == "/feed/v1/changes"
        at = Position(
            params["incarnation"], int(params["revision"]), params["digest"], params["view"]
        )
        async with self.hub.watching(self.site, at) as lines:
            yield lines


def document(line: bytes) -> Any:
    return orjson.loads(line)
