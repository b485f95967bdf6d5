"""What must hold once everything is quiet again.

Stores are read from copies made by SQLite's online backup, so that what is judged is what is on
disk, and nothing that a process might make up.
"""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dsn.dataplane.choose import links_to
from dsn.dataplane.nftables import LOG_GROUP, NftablesDataPlane
from dsn.dataplane.ruleset import Layout
from dsn.settings import load_identity
from sdsp.compile.model import PLANNED_KINDS
from shared.clock import SystemClock
from shared.errors import HanseError
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.nodeplan import counting_configurations
from shared.store.contract import AuditRecord, Store, Stored
from shared.store.sql import open_store
from tests.chaos.federation import Federation, Server
from tests.chaos.load import Ledger, Name
from tests.chaos.network import FSM, NodePlace, SitePlace
from tests.chaos.programs import Wrong
from tests.chaos.recorder import WRITTEN, Recorder, log_of
from tests.contract.store_validators import faults_in

SETTLE_SECONDS = 60.0
"""How long nodes may take, once all is up, until they enforce the last change."""
_PAGE = 1000


@asynccontextmanager
async def copy_of(server: Server, folder: Path) -> AsyncIterator[Store]:
    """Open a copy of a server's store as it is on disk now."""
    path = folder / f"{server.name}-copy.sqlite"
    path.unlink(missing_ok=True)

    def back_up() -> None:
        source, target = sqlite3.connect(server.database), sqlite3.connect(path)
        try:
            source.backup(target)
        finally:
            source.close()
            target.close()

    await asyncio.to_thread(back_up)
    store = await open_store(f"sqlite:///{path}", clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def until_settled(federation: Federation) -> None:
    """Wait until every site has all of the FSM and every node enforces; Wrong if they don't."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while standing := [each async for each in _behind(federation)]:
        if time.monotonic() > deadline:
            raise Wrong("not settled: " + "; ".join(standing))
        await asyncio.sleep(0.1)


async def _behind(federation: Federation) -> AsyncIterator[str]:
    try:
        newest = int((await federation.fsm.get("/api/v1/status"))["revision"])
        for site in federation.sites:
            status = await federation.servers[site.name].get("/api/v1/status")
            position = status["upstream"]["position"]
            if position is None or int(position["revision"]) < newest:
                yield f"{site.name} is at {position}, the FSM at {newest}"
            for node in status["nodes"]:
                wanted = node["wanted"] and node["wanted"]["hash"]
                if node["readBack"] != wanted or not node["connected"]:
                    yield f"{site.name}/{node['name']} is {node['state']}"
    except HanseError as exc:
        yield exc.message


async def faults_of_server(server: Server, ledger: Ledger, folder: Path) -> list[str]:
    """Hold a ledger against the store: all is there as acknowledged, and each once."""
    scope = "federation" if server.name == FSM else "site"
    async with copy_of(server, folder) as store:
        faults = [
            *_lost(ledger, await _own(store, scope)),
            *[fault async for fault in _history_faults(store, ledger, scope)],
            *_doubled(ledger, await _audit(store)),
        ]
        position = await store.position()
        if position.revision < ledger.highest:
            faults.append(f"revision {ledger.highest} was told, the store is at {position}")
    return [f"{server.name}: {each}" for each in faults]


async def _own(store: Store, scope: str) -> dict[Name, Stored]:
    async with store.snapshot() as snapshot:
        return {
            (each.key.kind, each.key.name): each
            for each in await snapshot.list()
            if each.key.scope == scope
        }


def _lost(ledger: Ledger, found: dict[Name, Stored]) -> Iterator[str]:
    """Tell which objects are not as they were last written."""
    for name, said in ledger.content.items():
        stored = found.get(name)
        there = {"spec": dict(stored.spec), "labels": dict(stored.labels)} if stored else None
        if there != said:
            yield f"{'/'.join(name)} was written as {said}, and is {there}"


async def _history_faults(store: Store, ledger: Ledger, scope: str) -> AsyncIterator[str]:
    """Tell which writes are missing in an object's history, and which it has that none made."""
    written: dict[Name, dict[int, Any]] = {name: {} for name in ledger.content}
    last: dict[Name, int] = {}
    for each in ledger.acknowledged:
        for name, said in each.content.items():
            if each.revision <= last.get(name, 0):
                yield f"{'/'.join(name)} got {each.revision} after {last[name]}"
            last[name] = each.revision
            written[name][each.revision] = said
    for name, revisions in written.items():
        kind, own = name
        found: dict[int, Any] = {}
        before = None
        while page := await store.history(
            Key(kind, "common", scope, own), before=before, limit=_PAGE
        ):
            for change in page:
                after = change.after
                found[change.revision] = (
                    {"spec": dict(after.spec), "labels": dict(after.labels)} if after else None
                )
            before = page[-1].revision
        for revision in sorted(found.keys() | revisions.keys()):
            if found.get(revision) != revisions.get(revision):
                yield (
                    f"{'/'.join(name)} has at {revision} {found.get(revision, 'nothing')}, "
                    f"acknowledged was {revisions.get(revision, 'nothing')}"
                )


async def _audit(store: Store) -> list[AuditRecord]:
    records: list[AuditRecord] = []
    before = None
    while page := await store.audit_records(before=before, limit=_PAGE):
        records += [record for _, record in page]
        before = page[-1][0]
    return records


def _doubled(ledger: Ledger, audit: Sequence[AuditRecord]) -> Iterator[str]:
    """Tell which writes are audited less or more than once, and what was taken over twice."""
    counted = Counter(each.request_id for each in audit if each.revision is not None)
    for each in ledger.acknowledged:
        if counted[each.request_id] != len(each.content):
            yield (
                f"request {each.request_id} of {len(each.content)} objects at {each.revision} has "
                f"{counted[each.request_id]} audit records"
            )
    steps = Counter(each.request_id for each in audit if each.action == "feed.changes")
    for step, times in steps.items():
        if times > 1:
            yield f"{step} was taken over {times} times"


async def faults_of_recording(recorder: Recorder, *, after: int, folder: Path) -> list[str]:
    """Hold what a watcher saw against the log, by the six promises of a watch."""
    async with copy_of(recorder.server, folder) as store:
        log = await log_of(store, after=after, kinds=WRITTEN)
    return [f"watch of {recorder.server.name}: {fault}" for fault in faults_in(recorder.parts, log)]


async def faults_of_site(federation: Federation, site: SitePlace, folder: Path) -> list[str]:
    """Hold a site's copy against the FSM, and its nodes' kernels against a fresh compilation."""
    async with copy_of(federation.fsm, folder) as store:
        above = {
            key: each for key, each in (await _own(store, "federation")).items() if _reaches(each)
        }
    async with copy_of(federation.servers[site.name], folder) as store:
        below = {
            key: each for key, each in (await _own(store, "federation")).items() if _reaches(each)
        }
        async with store.snapshot() as snapshot:
            stored = await snapshot.list()
    faults = list(_differences(site, above, below))
    fresh = counting_configurations(SitePlanner(_inputs(site, stored)))
    for node in site.nodes:
        found = await read_back(federation, node)
        wanted = fresh[node.name].hash()
        if found != wanted:
            faults.append(f"{node.host} enforces {found}, a fresh compilation gives {wanted}")
    return faults


def _inputs(site: SitePlace, stored: Sequence[Stored]) -> SiteInputs:
    """Return what the planner makes a site from, read anew."""
    documents = [
        Document(
            key=each.key,
            spec=KINDS[each.key.kind].spec.model_validate(each.spec),
            labels=each.labels,
            revision=each.revision,
        )
        for each in stored
        if each.key.kind in PLANNED_KINDS
    ]
    return SiteInputs(
        site.name,
        Documents(each for each in documents if is_inherited_scope(each.key.scope)),
        Documents(each for each in documents if not is_inherited_scope(each.key.scope)),
        SystemClock().now(),
    )


async def read_back(federation: Federation, node: NodePlace) -> str | None:
    """Return the hash of what a node's kernel enforces, read by this process."""
    identity = load_identity(federation.folder / node.host)
    links = links_to(identity.servers, identity.addresses)
    plane = NftablesDataPlane(
        namespace=federation.network.name(node.host), layout=Layout(LOG_GROUP, links)
    )
    try:
        return (await plane.read_back()).hash
    finally:
        await plane.close()


def _reaches(stored: Stored) -> bool:
    """Return whether every site gets an object."""
    return (
        stored.key.kind in ("Network", "SecurityPolicy")
        and is_inherited_scope(stored.key.scope)
        and "sites" not in stored.spec
    )


def _differences(
    site: SitePlace, above: dict[Name, Stored], below: dict[Name, Stored]
) -> Iterator[str]:
    for name in sorted(above.keys() | below.keys()):
        one, other = above.get(name), below.get(name)
        if one is None or other is None:
            # Networks that no policy names stay above.
            if name[0] == "SecurityPolicy":
                yield f"{site.name} and the FSM differ in whether there is {'/'.join(name)}"
        elif (one.spec, one.labels) != (other.spec, other.labels):
            yield f"{site.name} has {'/'.join(name)} as {other.spec}, the FSM as {one.spec}"
