"""How many calls are taken: per address, per user, per component, per kind."""

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from fsm.settings import FSMSettings
from sdsp.settings import SDSPSettings
from shared.auth.identity import Caller, CallerKind
from shared.auth.limiter import MemoryStorage
from shared.errors import HanseError, TooManyRequests
from shared.http.rates import CallKind, Rates, RateSettings
from tests.fakes.clock import VirtualClock
from tests.integration.api.harness import Api, network, running_api

FEW = {"reads": "3 per minute", "writes": "2 per minute", "streams": "1 per minute"}


def person(name: str) -> Caller:
    return Caller(CallerKind.PERSON, f"user:{name}", name)


def rates(clock: VirtualClock, told: list[tuple[str, str]] | None = None, **few: object) -> Rates:
    settings = RateSettings.model_validate(few)
    kept = [] if told is None else told
    return Rates(settings, clock=clock, refused=lambda guard, kind: kept.append((guard, kind)))


def taken(check: object, *arguments: object) -> bool:
    try:
        check(*arguments)  # type: ignore[operator]
    except TooManyRequests:
        return False
    return True


def test_each_user_and_kind_has_a_count_of_its_own() -> None:
    clock, told = VirtualClock(), []
    found = rates(clock, told, user=FEW)
    for name in ("alice", "bob"):
        caller = person(name)
        assert [taken(found.check_caller, caller, CallKind.READS) for _ in range(5)] == [
            *[True] * 3,
            *[False] * 2,
        ]
        assert [taken(found.check_caller, caller, CallKind.WRITES) for _ in range(3)] == [
            *[True] * 2,
            False,
        ]
    assert told == [("user", "reads"), ("user", "reads"), ("user", "writes")] * 2
    with pytest.raises(TooManyRequests) as caught:
        found.check_caller(person("alice"), CallKind.READS)
    assert (caught.value.code, caught.value.retry_after) == ("rate_limited", 60.0)
    clock.advance(59.5)
    assert not taken(found.check_caller, person("alice"), CallKind.READS)
    clock.advance(0.5)
    assert taken(found.check_caller, person("alice"), CallKind.READS)


def test_components_are_counted_by_their_certificate() -> None:
    found = rates(VirtualClock(), component=FEW, user={"reads": "1 per minute"})
    node = Caller(CallerKind.COMPONENT, "spiffe://sfo.hanse.example/node/node-1", "node-1")
    assert [taken(found.check_caller, node, CallKind.READS) for _ in range(4)][-2:] == [True, False]


def test_what_is_free_is_never_counted() -> None:
    found = rates(VirtualClock(), address={**FEW, "logins": "1 per minute"})
    assert all(taken(found.check_address, "192.0.2.1", CallKind.FREE) for _ in range(100))


def test_made_up_names_fill_no_memory() -> None:
    storage = MemoryStorage(VirtualClock())
    for number in range(60_000):
        storage.incr(f"user:{number}", 60)
    assert len(storage._windows) <= 50_000
    assert storage.get("user:59999") == 1
    assert storage.get("user:0") == 0


@pytest.mark.parametrize("text", ["", "many", "0 per minute", "10", "-1 per minute", "1 per blink"])
@pytest.mark.parametrize(("guard", "what"), [("user", "reads"), ("passwords", "account")])
@pytest.mark.parametrize("model", [FSMSettings, SDSPSettings])
def test_a_limit_that_is_none_is_refused(model: type, guard: str, what: str, text: str) -> None:
    with pytest.raises(ValidationError, match=rf"rates\.{guard}\.{what}"):
        model.model_validate({"rates": {guard: {what: text}}})


@pytest.fixture
async def few(tmp_path: Path) -> AsyncIterator[Api]:
    settings = RateSettings.model_validate(
        {
            "user": {**FEW, "reads": "5 per minute"},
            "address": {"reads": "12 per minute", "logins": "2 per minute"},
        }
    )
    async with running_api(tmp_path, rates=settings) as api:
        yield api


async def statuses(
    session: aiohttp.ClientSession, path: str, count: int, **options: object
) -> list:
    found = []
    for _ in range(count):
        async with session.get(path, **options) as response:
            found.append(response.status)
            if response.status == 429:
                document = await response.json(content_type="application/problem+json")
                assert document["code"] == "rate_limited"
                assert 1 <= int(response.headers["Retry-After"]) <= 60
    return found


async def test_too_many_calls_are_answered_with_429(few: Api) -> None:
    async with aiohttp.ClientSession(few.server.url) as session:
        alice = {"Authorization": f"Bearer {few.token('admin', subject='user:alice')}"}
        assert await statuses(session, "/api/v1/networks", 7, headers=alice) == [
            *[200] * 5,
            *[429] * 2,
        ]
        # Others are not held up by her, but together they come from one address.
        bob = {"Authorization": f"Bearer {few.token('admin', subject='user:bob')}"}
        assert await statuses(session, "/api/v1/networks", 6, headers=bob) == [*[200] * 5, 429]
        # Before anybody is authenticated: forged tokens cost no more than others.
        assert await statuses(session, "/api/v1/networks", 2, headers={"Authorization": "x"}) == [
            429,
            429,
        ]
        assert await statuses(session, "/livez", 20) == [200] * 20
        assert await statuses(session, "/readyz", 2) == [200] * 2
    metrics = few.metrics.exposition().decode()
    assert 'hanse_http_rate_limited_total{guard="user",kind="reads"} 2.0' in metrics
    assert 'hanse_http_rate_limited_total{guard="address",kind="reads"} 3.0' in metrics


async def test_writes_and_logins_have_limits_of_their_own(few: Api) -> None:
    async with aiohttp.ClientSession(few.server.url) as session:
        headers = {"Authorization": f"Bearer {few.token('admin')}"}
        found = []
        for number in range(3):
            document = network(f"n{number}")
            url = f"/api/v1/networks/n{number}"
            async with session.put(url, json=document, headers=headers) as response:
                found.append(response.status)
        assert found == [201, 201, 429]
        body = {"username": "a", "password": "b"}
        found = []
        for _ in range(3):
            async with session.post("/api/v1/login", json=body) as response:
                found.append(response.status)
        assert found == [401, 401, 429]
        assert await statuses(session, "/api/v1/networks", 1, headers=headers) == [200]


async def test_passwords_may_be_tried_as_often_as_the_settings_say(tmp_path: Path) -> None:
    few = {"address": "3 per hour", "account": "2 per hour", "trials": "1 per hour"}
    settings = RateSettings.model_validate({"passwords": few})
    async with running_api(tmp_path, rates=settings) as api:
        anybody, admin = api.client(), api.client("admin")

        async def log_in(username: str) -> str:
            body = {"username": username, "password": "guess"}
            return await code_of(anybody.post("/api/v1/login", body))

        async def trial(username: str) -> str:
            policy = {"providers": ["local"]}
            body = {"policy": policy, "username": username, "password": "guess"}
            return await code_of(admin.post("/api/v1/authentication/test", body))

        # The third for alice's account; then the fourth from this address that is let through.
        tried = [await log_in(name) for name in ("alice", "alice", "alice", "bob", "carol")]
        assert tried == [
            *["wrong_credentials"] * 2,
            "too_many_requests",
            "wrong_credentials",
            "too_many_requests",
        ]
        assert [await trial("dave"), await trial("erin")] == ["ok", "too_many_requests"]


async def code_of(call: Awaitable[object]) -> str:
    try:
        await call
    except HanseError as exc:
        return exc.code
    return "ok"


async def test_what_was_too_much_is_not_written_to_the_trail(few: Api) -> None:
    """Else a flood of calls would become a flood of records."""
    async with aiohttp.ClientSession(few.server.url) as session:
        headers = {"Authorization": f"Bearer {few.token('admin')}"}
        await statuses(session, "/api/v1/networks", 10, headers=headers)
    records = await few.store.audit_records(limit=100)
    assert [record.outcome for _, record in records if record.outcome == "rate_limited"] == []
