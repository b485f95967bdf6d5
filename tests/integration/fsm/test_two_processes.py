"""Two managers on one PostgreSQL: a site may talk to either, and people see the same."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fsm.settings import Listen
from shared.auth.passwords import Passwords
from shared.enrolment.anchors import ANCHORS, Anchors
from shared.errors import Conflict, Invalid
from shared.http.peer import PeerClient
from shared.objects.accounts import create_account
from shared.store.sql import open_store
from shared.tasks.group import Group
from tests.fixtures_postgres import postgres, postgres_url
from tests.integration.fsm.harness import (
    FSM,
    PASSWORD,
    MemoryCopy,
    connect,
    follow,
    join_site,
)

__all__ = ["postgres", "postgres_url"]

pytestmark = pytest.mark.postgres


@pytest.fixture
async def pair(template: FSM, tmp_path: Path, postgres_url: str) -> AsyncIterator[tuple[FSM, FSM]]:
    """Two running managers with the same keys and the same database."""
    clock = type(template.clock)()
    store = await open_store(postgres_url, clock=clock, create=True)
    passwords = Passwords()
    await create_account(store, "admin", PASSWORD, passwords=passwords, clock=clock)
    passwords.close()
    await store.close()
    managers = []
    for name in ("one", "other"):
        shutil.copytree(template.data, tmp_path / name, symlinks=True)
        settings = template.settings.model_copy(
            update={"database": postgres_url, "listen": Listen(port=0)}
        )
        managers.append(FSM(tmp_path / name, clock, settings))
    one, other = managers
    async with one.serving(), other.serving():
        yield one, other


async def test_a_site_follows_one_and_is_seen_at_the_other(pair: tuple[FSM, FSM]) -> None:
    one, other = pair
    admin = one.admin()
    await admin.put("sites", "sfo", {})
    site = await join_site(one, await admin.token("sfo"))
    copy = MemoryCopy()
    async with Group() as group:
        group.start(follow(connect(other, site.credentials), copy).run(), name="follow")
        await admin.put("networks", "AppX", {})
        await copy.until(lambda: "AppX" in copy.names("Network"))
        for manager in pair:
            asking = manager.admin()
            while True:
                [found] = (await asking.status(site="sfo"))["sites"]
                if found["connected"]:
                    break
            assert found["joined"]


async def test_a_site_changes_over_without_listing_again(pair: tuple[FSM, FSM]) -> None:
    one, other = pair
    admin = one.admin()
    await admin.put("sites", "sfo", {})
    site = await join_site(one, await admin.token("sfo"))
    copy = MemoryCopy()
    for number, manager in enumerate((one, other, one)):
        client: PeerClient = connect(manager, site.credentials)
        async with Group() as group:
            group.start(follow(client, copy).run(), name="follow")
            await admin.put("networks", f"net-{number}", {})
            await copy.until(lambda n=number: f"net-{n}" in copy.names("Network"))
    assert copy.listed == 1


async def test_what_joined_at_one_is_known_at_the_other(pair: tuple[FSM, FSM]) -> None:
    one, other = pair
    admin = one.admin()
    await admin.put("sites", "sfo", {})
    await join_site(one, await admin.token("sfo"))
    with pytest.raises(Conflict, match="--replace"):
        await other.admin().token("sfo")


async def test_writes_at_both_are_judged_by_what_the_other_wrote(pair: tuple[FSM, FSM]) -> None:
    one, other = pair
    await one.admin().put("networks", "AppX", {})
    spec = {"rules": [{"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "deny"}]}
    await other.admin().put("securitypolicies", "p", spec)
    with pytest.raises(Invalid, match="names Network AppX"):
        await one.admin().delete("networks", "AppX")


async def test_a_copy_of_the_folder_that_was_left_behind_takes_no_ca_back(
    pair: tuple[FSM, FSM],
) -> None:
    one, other = pair
    body = {"what": "issuing", "step": "begin"}
    await one.admin().client.post("/api/v1/certificates/rotate", body)
    async with one.running.store.snapshot() as snapshot:
        published = Anchors.of(await snapshot.list(ANCHORS))
    for step in ("begin", "finish"):
        with pytest.raises(Conflict) as caught:
            await other.admin().client.post(
                "/api/v1/certificates/rotate", {"what": "issuing", "step": step}
            )
        assert caught.value.code == "keys_left_behind"
    async with one.running.store.snapshot() as snapshot:
        assert Anchors.of(await snapshot.list(ANCHORS)) == published

    shutil.rmtree(other.data / "pki")
    shutil.copytree(one.data / "pki", other.data / "pki", symlinks=True)
    answer = await other.admin().client.post("/api/v1/certificates/rotate", body)
    assert answer.json()["phase"] == "in use"


async def test_each_step_of_a_rollout_is_made_by_one_of_them(pair: tuple[FSM, FSM]) -> None:
    one, other = pair
    admin = one.admin()
    waves = [f"s{number}" for number in range(4)]
    for wave in waves:
        await admin.put("sites", wave, {}, labels={"wave": wave})
    policy = {
        "apiVersion": "hanse/v1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "p"},
        "spec": {"rules": [{"name": "r", "from": "any", "to": "any", "action": "deny"}]},
    }
    order = [{"matchLabels": {"wave": wave}} for wave in waves]
    wish = {"object": policy, "order": order, "name": "it"}
    await admin.client.post("/api/v1/rollouts/start", wish)
    path = "/api/v1/rollouts/it/history"
    while True:
        versions = (await other.admin().client.get(path)).json()["items"]
        spec = versions[0]["object"]["spec"]
        if spec.get("state") == "done":
            break
    assert [each["sites"] for each in spec["reached"]] == [[wave] for wave in waves]
    assert len(versions) == len(waves) + 2, "it began, each wave, its end"
    trail = "/api/v1/audit?kind=Rollout&name=it&changes=true"
    actions = [each["action"] for each in (await admin.client.get(trail)).json()["items"]]
    assert actions == ["rollout.finish", *["rollout.reach"] * 4, "rollout.start"]
