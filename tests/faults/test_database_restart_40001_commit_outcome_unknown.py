"""Database restart; 40001; commit outcome unknown.

503 with Retry-After; watches resume; the whole unit is re-run; a request id tells whether it was
committed.  Here: what a person and a site see of it, through an FSM on PostgreSQL.  Also:
tests/contract/test_store_faults.py (beneath a store: forced 40001, a connection cut within COMMIT,
a restart, a database replaced).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from shared.cli.client import Client
from shared.errors import Unavailable
from shared.failpoints import armed
from shared.http.peer import PeerClient
from shared.pki.certificates import certificates_to_pem
from shared.pki.tls import visitor_context
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM, MemoryCopy, follow, join_site
from tests.integration.road.world import document
from tests.servers import PostgresServer, postgres_server

pytestmark = pytest.mark.postgres


@asynccontextmanager
async def on_postgres(stopped: FSM, url: str) -> AsyncIterator[FSM]:
    """The FSM serving from a PostgreSQL database."""
    store = await open_store(url, clock=stopped.clock, create=True)
    await store.close()
    stopped.settings = stopped.settings.model_copy(update={"database": url})
    async with stopped.serving():
        yield stopped


async def put(client: PeerClient, name: str, *, request_id: str | None = None) -> Any:
    operations = [{"operation": "put", "object": document("Network", name, {})}]
    headers = {"X-Request-Id": request_id} if request_id else None
    answer = await client.request(
        "POST", "/api/v1/transactions", body={"operations": operations}, headers=headers
    )
    return answer.json()


async def answered(fsm: FSM, method: str, path: str, body: Any = None) -> Any:
    """Return an answer's status and headers as they came."""
    token = _token(fsm)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        tls = visitor_context(fsm.roots)
        async with session.request(method, f"{fsm.url}{path}", json=body, ssl=tls) as answer:
            return answer.status, answer.headers


def _token(fsm: FSM) -> str:
    """Return an administrator's token."""
    client = fsm.admin().client
    token = client._token() if client._token else None
    assert token is not None
    return token


@asynccontextmanager
async def watching(fsm: FSM) -> AsyncIterator[AsyncGenerator[list[str], None]]:
    """Watch Networks as `hanse watch` does; yields the names of each commit."""
    revision = (await fsm.running.store.position()).revision
    token = _token(fsm)
    async with Client(fsm.url, ca=certificates_to_pem(fsm.roots), token=token) as client:
        commits = client.watch(["Network"], after=revision)

        async def names() -> AsyncGenerator[list[str], None]:
            async for commit in commits:
                yield [change.object.name for change in commit]

        seen = names()
        yield seen
        await seen.aclose()
        await commits.aclose()


async def until_written(client: PeerClient, name: str) -> None:
    """Write as soon as the database is back; pytest-timeout ends a wait for ever."""
    while True:
        try:
            await put(client, name)
        except Unavailable:
            continue
        return


async def test_over_a_restart_people_get_503_and_watches_and_sites_go_on(stopped: FSM) -> None:
    with postgres_server() as server:
        url = server.create_database()
        async with on_postgres(stopped, url) as fsm:
            admin = fsm.admin()
            await admin.put("sites", "sfo", {})
            site = await join_site(fsm, await admin.token("sfo"))
            copy = MemoryCopy()
            async with Group() as group:
                group.start(follow(site.client, copy).run(), name="follow")
                await admin.put("networks", "before", {})
                await copy.until(lambda: "before" in copy.names("Network"))
                async with watching(fsm) as seen:
                    await admin.put("networks", "first", {})
                    assert await anext(seen) == ["first"]
                    waiting = asyncio.ensure_future(anext(seen))
                    server.stop()
                    with pytest.raises(Unavailable) as caught:
                        await put(admin.client, "during")
                    assert caught.value.code == "database_unavailable"
                    during = document("Network", "during", {})
                    path = "/api/v1/networks/during"
                    status, headers = await answered(fsm, "PUT", path, during)
                    assert status == 503
                    assert int(headers["Retry-After"]) >= 1
                    assert (await answered(fsm, "GET", "/livez"))[0] == 200
                    server.start()
                    await until_written(admin.client, "after")
                    assert await waiting == ["after"], "the watch goes on, and misses nothing"
                await copy.until(lambda: "after" in copy.names("Network"))
                assert "during" not in copy.names("Network")
                assert copy.listed == 1, "the site's stream went on, or resumed by its position"


async def test_a_commit_of_unknown_outcome_is_503_and_asking_again_tells(
    stopped: FSM, postgres_url: str
) -> None:
    async with on_postgres(stopped, postgres_url) as fsm:
        client = fsm.admin().client
        await put(client, "before")
        with armed("store.commit.after=raise(ECONNRESET)"):
            with pytest.raises(Unavailable, match="send the same request id again") as caught:
                await put(client, "doubtful", request_id="doubtful-1")
            assert caught.value.code == "commit_unknown"
        told = await put(client, "doubtful", request_id="doubtful-1")
        again = await put(client, "doubtful", request_id="doubtful-1")
        assert told["revision"] == again["revision"]
        history = (await client.get("/api/v1/networks/doubtful/history")).json()["items"]
        assert [each["revision"] for each in history] == [told["revision"]]
        entries = (
            await client.get("/api/v1/audit", params={"kind": "Network", "name": "doubtful"})
        ).json()["items"]
        assert [each["action"] for each in entries if each["revision"]] == ["create"]


async def test_a_commit_that_failed_for_sure_is_done_when_asked_again(
    stopped: FSM, postgres_url: str
) -> None:
    async with on_postgres(stopped, postgres_url) as fsm:
        client = fsm.admin().client
        with armed("store.flush.after=raise(ECONNRESET)"):
            with pytest.raises(Unavailable) as caught:
                await put(client, "lost", request_id="lost-1")
            assert caught.value.code == "database_unavailable"
        await put(client, "lost", request_id="lost-1")
        history = (await client.get("/api/v1/networks/lost/history")).json()["items"]
        assert len(history) == 1


async def test_a_write_that_the_database_puts_off_is_run_again_and_answered_once(
    stopped: FSM, postgres: PostgresServer, postgres_url: str
) -> None:
    async with on_postgres(stopped, postgres_url) as fsm:
        client = fsm.admin().client
        postgres.execute(postgres_url, _REFUSE_TWICE)
        told = await put(client, "put-off")
        assert int(postgres.execute(postgres_url, "SELECT last_value FROM times")) > 2
        history = (await client.get("/api/v1/networks/put-off/history")).json()["items"]
        assert [each["revision"] for each in history] == [told["revision"]]


async def test_backends_that_are_terminated_cost_nobody_a_write(
    stopped: FSM, postgres: PostgresServer, postgres_url: str
) -> None:
    async with on_postgres(stopped, postgres_url) as fsm:
        client = fsm.admin().client
        for number in range(5):
            postgres.execute(
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            request_id = f"through-{number}"
            while True:
                try:
                    await put(client, f"net-{number}", request_id=request_id)
                except Unavailable:
                    continue
                break
        found = (await read(client, "/api/v1/networks"))["items"]
        assert {each["metadata"]["name"] for each in found} >= {f"net-{n}" for n in range(5)}
        for number in range(5):
            history = await read(client, f"/api/v1/networks/net-{number}/history")
            assert len(history["items"]) == 1


async def read(client: PeerClient, path: str) -> Any:
    """Ask until a connection to the database that was ended meanwhile is no longer used."""
    while True:
        try:
            return (await client.get(path)).json()
        except Unavailable:
            continue


_REFUSE_TWICE = """
    CREATE SEQUENCE times;
    CREATE FUNCTION refuse_twice() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('times') <= 2 THEN
            RAISE EXCEPTION 'forced' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON commits DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse_twice();
"""
