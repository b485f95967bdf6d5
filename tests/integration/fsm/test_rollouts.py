"""A change that goes site by site, over a real FSM: what each site gets, and when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from shared.errors import Conflict, HanseError, Invalid, NotFound
from shared.feed.wire import FeedObject
from shared.ids import COMMON, FEDERATION, Key
from shared.tasks.group import Group
from tests.integration.fsm.harness import (
    FSM,
    JoinedSite,
    MemoryCopy,
    follow,
    join_site,
)

POLICY = Key("SecurityPolicy", COMMON, FEDERATION, "p")
NODES = {"total": 1, "realised": 1, "pending": 0, "failed": 0}
ORDER = [{"matchLabels": {"env": "test"}}, {"matchLabels": {"env": "prod"}}]


def allow(action: str = "allow", **more: Any) -> dict[str, Any]:
    return {
        "rules": [{"name": "r", "from": [{"network": "A"}], "to": "any", "action": action}]
    } | more


def document(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hanse/v1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "p", **metadata},
        "spec": spec,
    }


class Federated:
    """An FSM with some sites that follow it and say what they are told to say."""

    def __init__(self, fsm: FSM, sites: dict[str, JoinedSite], copies: dict[str, MemoryCopy]):
        self.fsm = fsm
        self.admin = fsm.admin()
        self.sites = sites
        self.copies = copies

    def has(self, site: str) -> FeedObject | None:
        return self.copies[site].objects.get(POLICY)

    def action_at(self, site: str) -> str | None:
        found = self.has(site)
        return None if found is None else str(found.spec["rules"][0]["action"])

    async def report(self, site: str, state: str = "realised", **more: Any) -> None:
        """Let a site say how the version stands that it has."""
        copy, found = self.copies[site], self.has(site)
        assert copy.at is not None
        assert found is not None
        metadata = found.document["metadata"]
        policy = {
            "name": "p",
            "scope": "federation",
            "generation": metadata["generation"],
            "revision": metadata["revision"],
            "state": state,
            "nodes": NODES,
            **more,
        }
        body = {"position": copy.at.to_json(), "policies": [policy]}
        await self.sites[site].client.post("/feed/v1/report", body)

    async def start(self, spec: dict[str, Any], **more: Any) -> str:
        body = {"object": document(spec), "order": ORDER, **more}
        answer = (await self.admin.client.post("/api/v1/rollouts/start", body)).json()
        return str(answer["metadata"]["name"])

    async def say(self, name: str, word: str, **body: Any) -> Any:
        path = f"/api/v1/rollouts/{name}/{word}"
        return (await self.admin.client.post(path, {"reason": "why", **body})).json()

    async def progress(self, name: str) -> Any:
        return (await self.admin.client.get(f"/api/v1/rollouts/{name}/progress")).json()

    async def until(self, name: str, **wanted: Any) -> Any:
        """Ask until the rollout's spec is so; pytest-timeout ends a wait for ever."""
        while True:
            found = await self.progress(name)
            spec = found["rollout"]["spec"]
            if all(spec.get(key) == value for key, value in wanted.items()):
                return found

    async def words(self, name: str) -> dict[str, str]:
        waves = (await self.progress(name))["waves"]
        return {each["site"]: each["word"] for wave in waves for each in wave["sites"]}


@asynccontextmanager
async def federated(fsm: FSM, *names: str) -> AsyncIterator[Federated]:
    admin = fsm.admin()
    await admin.put("networks", "A", {})
    await admin.put("securitypolicies", "p", allow())
    sites = {name: await join_site(fsm, await admin.token(name)) for name in names}
    copies = {name: MemoryCopy() for name in names}
    async with Group() as group:
        for name in names:
            group.start(follow(sites[name].client, copies[name]).run(), name=name)
        found = Federated(fsm, sites, copies)
        for name in names:
            await copies[name].until(lambda name=name: found.has(name) is not None)
            await found.report(name)
        yield found


@pytest.fixture
async def federation(fsm: FSM) -> AsyncIterator[Federated]:
    """The sites fra (env=test) and sfo (env=prod), which have realised policy p."""
    async with federated(fsm, "fra", "sfo") as found:
        yield found


async def test_each_wave_begins_when_the_one_before_has_realised_it(federation: Federated) -> None:
    before = federation.has("sfo")
    name = await federation.start(allow("deny"))
    assert name == "p-2"
    await federation.until(name, wave=0)
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    assert await federation.words(name) == {"fra": "pending", "sfo": "waits"}
    status = (await federation.admin.status(policy="p"))["policies"][0]
    assert {each["site"]: each["reason"] for each in status["sites"]} == {
        "fra": "not_reported",
        "sfo": "rollout_waits",
    }
    assert federation.has("sfo") is before

    await federation.report("fra")
    await federation.until(name, wave=1)
    await federation.copies["sfo"].until(lambda: federation.action_at("sfo") == "deny")
    reached = federation.has("sfo")
    await federation.report("sfo")
    found = await federation.until(name, state="done")
    assert [each["sites"] for each in found["rollout"]["spec"]["reached"]] == [["fra"], ["sfo"]]
    # At its end nothing is sent: the store has had this version all along.
    await federation.admin.put("networks", "After", {})
    await federation.copies["sfo"].until(
        lambda: "After" in federation.copies["sfo"].names("Network")
    )
    assert federation.has("sfo") is reached
    assert all(copy.listed == 1 for copy in federation.copies.values())


async def test_more_failures_than_may_be_stop_it_and_a_person_lets_it_go_on(
    federation: Federated,
) -> None:
    name = await federation.start(allow("deny"))
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    failing = [{"node": "n1", "code": "no_space"}]
    await federation.report("fra", "failed", failing=failing)
    found = await federation.until(name, state="stopped")
    assert found["rollout"]["spec"]["stopped"]["failures"] == [{"site": "fra", "code": "no_space"}]
    events = (await federation.admin.status())["events"]
    assert [each["type"] for each in events] == ["rollout.stopped"]

    with pytest.raises(Conflict) as refused:
        await federation.say(name, "resume")
    assert refused.value.code == "rollout_failing"
    await federation.say(name, "resume", maxFailures=1)
    await federation.copies["sfo"].until(lambda: federation.action_at("sfo") == "deny")
    await federation.report("sfo")
    await federation.until(name, state="done")


async def test_an_abort_takes_it_back_where_it_had_come_and_nobody_goes_to_an_older_revision(
    federation: Federated,
) -> None:
    before = federation.has("sfo")
    name = await federation.start(allow("deny"))
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    tried = federation.has("fra")
    await federation.say(name, "abort")
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "allow")
    back = federation.has("fra")
    assert before is not None
    assert tried is not None
    assert back is not None
    assert back.revision > tried.revision > before.revision
    assert back.document["metadata"]["generation"] == 3
    await federation.until(name, state="aborted")
    for word in ("pause", "resume", "abort"):
        with pytest.raises(Conflict) as refused:
            await federation.say(name, word)
        assert refused.value.code == "rollout_ended"
    # The way is free, and generations go on.
    assert await federation.start(allow("reject")) == "p-4"


async def test_a_policy_that_is_new_and_one_that_selects_other_sites(
    federation: Federated,
) -> None:
    admin = federation.admin
    await admin.delete("securitypolicies", "p")
    for site in ("fra", "sfo"):
        await federation.copies[site].until(lambda site=site: federation.has(site) is None)
    name = await federation.start(allow("deny"), name="new")
    assert name == "new"
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    assert federation.has("sfo") is None
    await federation.say(name, "abort")
    await federation.copies["fra"].until(lambda: federation.has("fra") is None)
    assert federation.copies["fra"].removed["p"] == "deleted"

    # From prod only to test only: sfo loses it in the second wave, by acknowledgement alone.
    prod, test = ({"sites": {"matchLabels": {"env": env}}} for env in ("prod", "test"))
    await admin.put("securitypolicies", "p", allow("allow", **prod))
    await federation.copies["sfo"].until(lambda: federation.has("sfo") is not None)
    name = await federation.start(allow("allow", **test))
    await federation.copies["fra"].until(lambda: federation.has("fra") is not None)
    assert federation.has("sfo") is not None
    await federation.report("fra")
    await federation.copies["sfo"].until(lambda: federation.has("sfo") is None)
    assert federation.copies["sfo"].removed["p"] == "deselected"
    await federation.until(name, state="done")


async def test_regression_what_a_site_said_of_a_policy_of_before_is_not_taken_for_the_new_one(
    federation: Federated,
) -> None:
    """A policy that is deleted and made again counts its generations anew."""
    copy = federation.copies["sfo"]
    await federation.admin.delete("securitypolicies", "p")
    await copy.until(lambda: federation.has("sfo") is None)
    await federation.admin.put("securitypolicies", "p", allow("deny"))
    await copy.until(lambda: federation.has("sfo") is not None)
    status = (await federation.admin.status(policy="p", site="sfo"))["policies"][0]
    assert [each["state"] for each in status["sites"]] == ["pending"]


async def test_paused_it_waits_and_its_target_is_written_by_nobody_else(
    federation: Federated,
) -> None:
    name = await federation.start(allow("deny"))
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    await federation.say(name, "pause")
    await federation.report("fra")
    admin = federation.admin
    refusals: list[Any] = [
        admin.put("securitypolicies", "p", allow("reject")),
        admin.delete("securitypolicies", "p"),
        federation.start(allow("reject"), name="second"),
    ]
    for each in refusals:
        with pytest.raises(Invalid) as refused:
            await each
        assert refused.value.code == "rollout_running"
        assert name in refused.value.message
    await admin.put("securitypolicies", "other", allow())
    # A repository that says what is rolled out may be applied every night.
    again = federation.has("fra")
    await admin.put("securitypolicies", "p", allow("deny"), annotations={"applied": "again"})
    assert (await federation.words(name))["sfo"] == "waits"
    assert federation.action_at("sfo") == "allow"
    await federation.copies["fra"].until(lambda: federation.has("fra") is not again)
    await federation.report("fra")
    await federation.say(name, "resume")
    await federation.until(name, wave=1)


async def test_what_only_the_version_before_names_is_in_use(federation: Federated) -> None:
    admin = federation.admin
    await admin.put("networks", "B", {})
    names_b = {"rules": [{"name": "r", "from": [{"network": "B"}], "to": "any", "action": "allow"}]}
    await federation.start(names_b)
    for network in ("A", "B"):
        with pytest.raises(Invalid) as refused:
            await admin.delete("networks", network)
        assert refused.value.code == "in_use"


async def test_what_is_asked_wrongly_is_refused(federation: Federated) -> None:
    async def code(body: dict[str, Any]) -> str:
        with pytest.raises(HanseError) as refused:
            await federation.admin.client.post("/api/v1/rollouts/start", body)
        return refused.value.code

    assert await code({"object": document(allow())}) == "rollout_unchanged"
    assert await code({"object": document({"rules": []}), "name": "a b"}) == "invalid"
    network = {**document({}), "kind": "Network"}
    assert await code({"object": network}) == "not_rolled_out"
    unknown = {
        "rules": [{"name": "r", "from": [{"network": "Nope"}], "to": "any", "action": "allow"}]
    }
    assert await code({"object": document(unknown)}) == "unknown_network"
    assert await code({"object": {"kind": "SecurityPolicy"}}) == "invalid"
    with pytest.raises(NotFound):
        await federation.say("nothing", "abort")
    # Nothing was written by any of it.
    assert (await federation.admin.client.get("/api/v1/rollouts")).json()["items"] == []
    body = {"object": document(allow("deny"))}
    dry = {"dryRun": "true"}
    await federation.admin.client.post("/api/v1/rollouts/start", body, params=dry)
    assert (await federation.admin.client.get("/api/v1/rollouts")).json()["items"] == []


async def test_a_site_that_takes_too_long_has_failed_until_it_has_caught_up(
    federation: Federated,
) -> None:
    name = await federation.start(allow("deny"), patience="10m")
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    federation.fsm.clock.ahead = timedelta(minutes=11)
    await federation.until(name, state="stopped")
    await federation.report("fra")
    await federation.say(name, "resume")
    await federation.until(name, wave=1)


async def test_it_goes_on_after_a_restart(stopped: FSM) -> None:
    async with stopped.serving():
        admin = stopped.admin()
        await admin.put("sites", "fra", {}, labels={"env": "test"})
        await admin.put("sites", "sfo", {}, labels={"env": "prod"})
        async with federated(stopped, "fra", "sfo") as federation:
            name = await federation.start(allow("deny"))
            await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
            sites, copies = federation.sites, federation.copies
    async with stopped.serving(), Group() as group:
        for site in sites:
            group.start(follow(sites[site].client, copies[site]).run(), name=site)
        federation = Federated(stopped, sites, copies)
        assert federation.action_at("sfo") == "allow"
        await federation.report("fra")
        await copies["sfo"].until(lambda: federation.action_at("sfo") == "deny")
        await federation.report("sfo")
        await federation.until(name, state="done")
        assert all(copy.listed == 1 for copy in copies.values())


async def test_what_a_site_refused_stays_refused_while_the_rollout_has_not_come_there(
    federation: Federated,
) -> None:
    copy = federation.copies["sfo"]
    assert copy.at is not None
    refused = {
        "position": copy.at.to_json(),
        "outcome": "nack",
        "refused": [{"key": POLICY._asdict(), "code": "invalid"}],
    }
    path = "/feed/v1/acknowledgements"
    await federation.sites["sfo"].client.post(path, refused)
    name = await federation.start(allow("deny"))
    await federation.admin.put("networks", "Later", {})
    await copy.until(lambda: "Later" in copy.names("Network"))

    async def codes() -> list[str]:
        [site] = (await federation.admin.status(site="sfo"))["sites"]
        return [each["code"] for each in site["refused"]]

    taken = {"position": copy.at.to_json(), "outcome": "ack"}
    await federation.sites["sfo"].client.post(path, taken)
    assert await codes() == ["invalid"]
    await federation.copies["fra"].until(lambda: federation.action_at("fra") == "deny")
    await federation.report("fra")
    await federation.until(name, wave=1)
    await copy.until(lambda: federation.action_at("sfo") == "deny")
    taken = {"position": copy.at.to_json(), "outcome": "ack"}
    await federation.sites["sfo"].client.post(path, taken)
    assert await codes() == []
