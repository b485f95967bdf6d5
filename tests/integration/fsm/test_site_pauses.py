"""A site is paused during an incident, over a real FSM: what it gets, and what it doesn't."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fsm.tasks.compact import Compact
from shared.errors import Conflict, HanseError, Invalid, RevisionCompacted
from shared.http.response import timestamp
from shared.ids import Key, Revision
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM, follow
from tests.integration.fsm.test_rollouts import POLICY, Federated, allow, federated


@pytest.fixture
async def federation(fsm: FSM) -> AsyncIterator[Federated]:
    async with federated(fsm, "fra", "sfo") as found:
        yield found


async def say(federation: Federated, word: str, site: str = "sfo", **body: Any) -> Any:
    path = f"/api/v1/sites/{site}/{word}"
    return (await federation.admin.client.post(path, {"reason": "smoke", **body})).json()


async def paused(federation: Federated, site: str = "sfo") -> Any:
    [found] = (await federation.admin.status(site=site))["sites"]
    return found["paused"]


async def refused(federation: Federated, word: str, **body: Any) -> str:
    with pytest.raises(HanseError) as error:
        await say(federation, word, **body)
    return error.value.code


async def test_a_paused_site_keeps_its_policy_and_learns_whom_to_believe(
    federation: Federated,
) -> None:
    admin, copy = federation.admin, federation.copies["sfo"]
    before = federation.has("sfo")
    await say(federation, "pause")
    await copy.until(lambda: copy.listed == 2)
    assert federation.has("sfo") == before
    assert copy.removed == {}

    await admin.put("securitypolicies", "p", allow("deny"))
    await admin.put("securitypolicies", "new", allow("deny", enforcement="mandatory"))
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    role = {"grants": [{"verbs": ["read"], "kinds": ["Network"]}], "flowsDown": True}
    document = {
        "apiVersion": "hanse/v1", "kind": "Role", "metadata": {"name": "r"}, "spec": role
    }  # fmt: skip
    await admin.client.put("/api/v1/roles/r", document)
    await copy.until(lambda: "r" in copy.names("Role"))
    assert (federation.action_at("sfo"), copy.names("SecurityPolicy")) == ("allow", {"p"})

    found = await paused(federation)
    assert (found["by"], found["reason"], found["behind"]) == ("user:admin", "smoke", 2)
    status = (await admin.status(site="sfo"))["policies"]
    reasons = {each["name"]: each["sites"][0]["reason"] for each in status}
    assert reasons == {"p": "site_paused", "new": "site_paused"}

    await say(federation, "resume")
    await copy.until(lambda: federation.action_at("sfo") == "deny")
    assert copy.names("SecurityPolicy") == {"p", "new"}
    assert await paused(federation) is None


async def test_what_was_deleted_meanwhile_is_told_when_it_goes_on_and_a_restart_changes_nothing(
    stopped: FSM,
) -> None:
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("sites", "sfo", {}, labels={"env": "prod"})
        async with federated(stopped, "sfo") as federation:
            await say(federation, "pause")
            copy, sites = federation.copies["sfo"], federation.sites
            await copy.until(lambda: copy.listed == 2)
            await admin.delete("securitypolicies", "p")
    async with stopped.serving(), Group() as group:
        federation = Federated(stopped, sites, {"sfo": copy})
        # All that is asked of it anew is answered with what it keeps, the log's end or not.
        store, hub = stopped.running.store, stopped.running.hub
        compact = Compact(store, hub, retention=timedelta(hours=2), clock=stopped.clock)
        for hours in (3, 6, 0):
            stopped.clock.ahead = timedelta(hours=hours)
            await compact.reconcile()
        with pytest.raises(RevisionCompacted):
            async with store.snapshot(Revision(1)):
                pass
        group.start(follow(sites["sfo"].client, copy).run(), name="sfo")
        page = (await sites["sfo"].client.get("/feed/v1/snapshot")).json()
        listed = {each["metadata"]["name"]: each for each in page["objects"]}
        assert listed["p"] == copy.objects[POLICY].document
        await say(federation, "resume")
        await copy.until(lambda: federation.has("sfo") is None)
        assert copy.removed == {"p": "deleted"}


async def test_a_pause_is_no_matter_of_the_sites_document(federation: Federated) -> None:
    admin = federation.admin
    await say(federation, "pause")
    # A repository that knows of no pause applies its Site.
    await admin.put("sites", "sfo", {"region": "west"}, labels={"env": "prod"})
    assert await paused(federation) is not None
    await admin.put(
        "sites", "sfo", {"region": "west", "serverNames": ["sfo.example"]}, labels={"env": "prod"}
    )
    assert await paused(federation) is not None
    for spec, labels in (
        ({"region": "west"}, {"env": "test"}),
        ({}, {"env": "prod"}),
        ({"region": "west", "defaultAction": "allow"}, {"env": "prod"}),
    ):
        with pytest.raises(Invalid) as refusal:
            await admin.put("sites", "sfo", spec, labels=labels)
        assert refusal.value.code == "site_paused"
    # And nobody pauses by writing one.
    forged = {"reason": "x", "by": "y", "since": "2026-01-01T00:00:00Z", "revision": 1}
    await admin.put("sites", "fra", {"paused": forged}, labels={"env": "test"})
    assert await paused(federation, "fra") is None


async def test_what_is_asked_wrongly_is_refused(federation: Federated) -> None:
    assert await refused(federation, "resume") == "not_paused"
    assert await refused(federation, "pause", until="2026-01-01T00:00:00Z") == "invalid_value"
    assert await refused(federation, "pause", reason="") == "invalid"
    assert await refused(federation, "pause", site="nowhere") == "not_found"
    await say(federation, "pause")
    with pytest.raises(Conflict):
        await say(federation, "pause")


async def test_a_pause_ends_by_itself_at_its_time(federation: Federated) -> None:
    clock = federation.fsm.clock
    await say(federation, "pause", until=timestamp(clock.now() + timedelta(hours=1)))
    assert await paused(federation) is not None
    clock.ahead = timedelta(minutes=61)
    while await paused(federation) is not None:
        pass
    path = "/api/v1/audit?kind=Site&name=sfo&changes=true&limit=1"
    [record] = (await federation.admin.client.get(path)).json()["items"]
    assert (record["action"], record["identity"]) == ("site.resume", "system")


async def test_a_rollout_leaves_a_paused_site_out_but_never_tries_on_nobody(
    federation: Federated,
) -> None:
    await say(federation, "pause", site="fra")
    name = await federation.start(allow("deny"))
    await federation.until(name, wave=0)
    found = await federation.progress(name)
    # fra is all of the first wave: the second doesn't begin untried.
    assert found["waitsFor"] == ["fra"]
    assert await federation.words(name) == {"fra": "paused", "sfo": "waits"}
    await say(federation, "resume", site="fra")
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    await federation.report("fra")
    await federation.until(name, wave=1)
    await say(federation, "pause", site="sfo")
    await federation.copies["sfo"].until(lambda: federation.action_at("sfo") == "deny")


async def test_what_the_store_does_not_know_any_more_a_paused_site_is_not_told_to_let_go(
    stopped: FSM,
) -> None:
    """A store that was put back may not reach back to the revision whose policy is kept."""
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("sites", "sfo", {})
        async with federated(stopped, "sfo") as federation:
            copy, sites = federation.copies["sfo"], federation.sites
            await say(federation, "pause")
            await copy.until(lambda: copy.listed == 2)
            await admin.delete("securitypolicies", "p")
            store = stopped.running.store
            await store.compact((await store.position()).revision)
    async with stopped.serving():
        assert copy.at is not None
        since = {
            "since_incarnation": copy.at.incarnation,
            "since_revision": str(copy.at.revision),
        }
        page = (await sites["sfo"].client.get("/feed/v1/snapshot", params=since)).json()
        listed = {each["kind"] for each in page["objects"]}
        assert "Site" in listed
        assert "SecurityPolicy" not in listed
        gone = {Key(**each["key"]) for each in page["tombstones"]}
        assert not gone & set(copy.objects), "it holds what is neither listed nor buried"
        federation = Federated(stopped, sites, {"sfo": copy})
        assert (await paused(federation))["behind"] is None
