"""Every call leaves a record, allowed or refused, and a stranger can't fill the trail."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from shared.access.permissions import ROLES
from shared.audit.reads import MINUTE
from shared.audit.walk import verify
from shared.auth.identity import Caller, CallerKind, Grant
from shared.errors import HanseError, NotFound
from shared.metrics.names import AUDIT_LOST, Metrics
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.store.contract import AuditRecord
from shared.store.sql import open_store
from tests.fakes.clock import VirtualClock
from tests.integration.api.harness import Api, running_api

PATH = "/api/v1/networks/web"
DOCUMENT = {
    "apiVersion": "hanse/v1",
    "kind": "Network",
    "metadata": {"name": "web"},
    "spec": {"subnets": ["10.0.0.0/24"]},
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def actions(api: Api, query: str = "") -> list[str]:
    """Return what the API lists, as an auditor sees it."""
    found = await api.client("auditor").get(f"/api/v1/audit?limit=1000{query}")
    return [each["action"] for each in found.json()["items"]][::-1]


async def test_changes_are_listed_without_what_changed_nothing(api: Api) -> None:
    """At three in the morning a write stands beside thousands of reads."""
    admin, viewer = api.client("admin"), api.client("viewer", subject="user:vera")
    body = {"username": "admin", "password": "correct horse battery staple"}
    await admin.put(PATH, DOCUMENT)
    await admin.put(PATH, DOCUMENT)
    await admin.put(f"{PATH}?dryRun=true", DOCUMENT | {"spec": {}})
    for _ in range(20):
        await viewer.get(PATH)
    with pytest.raises(HanseError):
        await viewer.put(PATH, DOCUMENT)
    with pytest.raises(HanseError):
        await api.client().post("/api/v1/login", body)
    await admin.request("DELETE", PATH)

    await api.services.trail.flush()
    assert await actions(api, "&changes=true") == ["create", "delete"]
    assert await actions(api, "&changes=true&text=user:vera") == []
    assert await actions(api, "&changes=true&kind=Network&name=web") == ["create", "delete"]
    assert (await actions(api)).count("get") == 20
    assert await actions(api, "&changes=false&text=create") == ["create"]
    with pytest.raises(HanseError, match="true or false"):
        await actions(api, "&changes=perhaps")


async def records(api: Api) -> list[AuditRecord]:
    await api.services.trail.flush()
    return [record for _, record in await api.store.audit_records(limit=1000)][::-1]


async def test_each_call_leaves_one_record_with_its_outcome_and_why(api: Api) -> None:
    admin, viewer = api.client("admin"), api.client("viewer", subject="user:vera")
    await admin.put(PATH, DOCUMENT)
    await admin.put(PATH, DOCUMENT)
    await viewer.get(PATH)
    await viewer.get("/api/v1/networks")
    await viewer.get("/api/v1/whoami")
    for path in ("/api/v1/networks/none", "/api/v1/audit"):
        with pytest.raises(HanseError):
            await viewer.get(path)
    with pytest.raises(HanseError):
        await viewer.put(PATH, DOCUMENT)

    found = await records(api)
    assert [(each.identity, each.action, each.outcome) for each in found] == [
        ("user:test", "create", "ok"),
        ("user:test", "PUT /api/v1/networks/{name}", "ok"),
        ("user:vera", "get", "ok"),
        ("user:vera", "list", "ok"),
        ("user:vera", "GET /api/v1/whoami", "ok"),
        ("user:vera", "GET /api/v1/networks/{name}", "not_found"),
        ("user:vera", "GET /api/v1/audit", "forbidden"),
        ("user:vera", "PUT /api/v1/networks/{name}", "forbidden"),
    ]
    assert all(each.seconds is not None and each.seconds > 0 for each in found)
    assert all(each.credential for each in found)
    assert all(each.source_address == "127.0.0.1" for each in found)
    assert found[0].authority == "role global-admin"
    assert found[2].authority == "role viewer"
    assert found[7].authority is None
    assert found[5].reason is not None
    assert found[5].reason.startswith("/api/v1/networks/none")
    assert (await verify(api.store.ledger)).sound


async def test_an_orderly_stop_loses_none(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        viewer = api.client("viewer")
        for _ in range(20):
            await viewer.get("/api/v1/whoami")
        url = f"sqlite:///{tmp_path}/store.db"
    store = await open_store(url, clock=VirtualClock())
    assert len(await store.audit_records()) == 20
    await store.close()


async def test_strangers_share_a_record_for_each_address_and_minute(api: Api) -> None:
    async with aiohttp.ClientSession(api.server.url) as session:
        for number in range(30):
            async with session.get(f"/api/v1/networks/n{number}") as response:
                assert response.status == 401
            async with session.get(f"/nothing/{number}") as response:
                assert response.status == 404
        headers = {"Authorization": "Bearer nonsense"}
        async with session.get(PATH, headers=headers) as response:
            assert response.status == 401
    assert await records(api) == []
    await api.services.trail.close()
    found = await records(api)
    assert {(each.identity, each.outcome, each.diff["count"]) for each in found} == {
        ("unknown", "unauthenticated", 30),
        ("unknown", "http_404", 30),
        ("unknown", "invalid_token", 1),
    }
    assert {each.source_address for each in found} == {"127.0.0.1"}


async def test_a_stream_is_recorded_when_it_begins_and_when_it_ends(api: Api) -> None:
    client = api.client("viewer")
    async with client.stream("GET", "/api/v1/watch", params={"kinds": "Network"}) as lines:
        async for _ in lines:
            break
        assert [(each.action, each.outcome) for each in await records(api)] == [
            ("GET /api/v1/watch", "opened")
        ]


def trail_of(store: object, clock: VirtualClock, metrics: Metrics) -> Trail:
    return Trail(store=store, clock=clock, metrics=metrics)  # type: ignore[arg-type]  # a store


async def test_break_glass_is_marked_in_each_record(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await open_store(f"sqlite:///{tmp_path}/s.db", clock=clock, create=True)
    trail = trail_of(store, clock, Metrics())
    caller = Caller(
        CallerKind.PERSON,
        "user:sealed",
        "sealed",
        grants=(Grant("viewer", ROLES["viewer"], binding="all"),),
        is_emergency=True,
    )
    await trail.refused(Call(caller, "r-1"), "write", NotFound("no"))
    plain = replace(caller, is_emergency=False)
    await trail.refused(Call(plain, "r-2"), "write", NotFound("no"))
    await trail.flush()
    found = [each.authority for _, each in await store.audit_records()]
    assert found == [None, "break-glass"]
    assert len(await store.audit_records(text="break-glass")) == 1
    await store.close()


async def test_what_is_too_much_while_the_store_is_out_is_counted(tmp_path: Path) -> None:
    clock, metrics = VirtualClock(), Metrics()
    store = await open_store(f"sqlite:///{tmp_path}/s.db", clock=clock, create=True)
    trail = trail_of(store, clock, metrics)
    for number in range(50_010):
        await trail.login(f"r-{number}", "user:kim", None, outcome="ok")
    assert metrics.counter(AUDIT_LOST)._value.get() == 10
    await trail.flush()
    (_, last), *_ = await store.audit_records(limit=1)
    assert (last.action, last.outcome, last.diff) == ("audit.overflow", "lost", {"lost": 10})
    async with store.ledger.view() as view:
        assert view.counted == 50_001
    await store.close()


async def test_a_minute_of_knocks_is_one_record_while_it_goes_on(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await open_store(f"sqlite:///{tmp_path}/s.db", clock=clock, create=True)
    trail = trail_of(store, clock, Metrics())
    for _ in range(3):
        for _ in range(5):
            await trail.login("r", "user:kim", "10.0.0.1", outcome="too_many_requests")
        clock.advance(MINUTE.total_seconds())
        await trail.flush()
    found = [each for _, each in await store.audit_records()]
    assert [(each.action, each.outcome, each.diff) for each in found] == [
        ("knock", "too_many_requests", {"count": 5})
    ] * 3
    await store.close()


async def test_regression_half_a_surrogate_pair_stops_no_record(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await open_store(f"sqlite:///{tmp_path}/s.db", clock=clock, create=True)
    trail = trail_of(store, clock, Metrics())
    await trail.login("r-1", "user:\ud800", None, outcome="wrong_credentials")
    await trail.login("r-2", "user:kim", None, outcome="ok")
    await trail.flush()
    assert [each.identity for _, each in await store.audit_records()] == [
        "user:kim",
        "user:\\ud800",
    ]
    await store.close()
