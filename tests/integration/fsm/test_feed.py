"""The feed over real TLS, from the FSM's store to a site's copy."""

import pytest

from shared.errors import Forbidden, Gone, Invalid, Malformed, RevisionCompacted, Unauthenticated
from shared.feed.accepts import known_fields
from shared.feed.wire import Position
from shared.ids import COMMON, FEDERATION, Key
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM, MemoryCopy, Person, follow, join_site

ALLOW = {"rules": [{"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "allow"}]}
DENY = {"rules": [{"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "deny"}]}
SNAPSHOT = "/feed/v1/snapshot"
CHANGES = "/feed/v1/changes"


def for_(env: str, **spec: object) -> dict[str, object]:
    return {**ALLOW, "sites": {"matchLabels": {"env": env}}, **spec}


async def test_a_site_gets_what_concerns_it_and_each_change_to_that(
    fsm: FSM, admin: Person
) -> None:
    await admin.put("networks", "AppX", {})
    await admin.put("securitypolicies", "ours", for_("prod"))
    await admin.put("securitypolicies", "theirs", for_("test", enforcement="mandatory"))
    site = await join_site(fsm, await admin.token("sfo"))
    copy = MemoryCopy()
    async with Group() as group:
        group.start(follow(site.client, copy).run(), name="follow")
        await copy.until(lambda: copy.names("SecurityPolicy") == {"ours"})
        assert copy.names("Network") == {"AppX"}
        assert copy.names("Site") == {"sfo"}

        await admin.put("securitypolicies", "ours", {**for_("prod"), **DENY})
        ours = Key("SecurityPolicy", COMMON, FEDERATION, "ours")
        await copy.until(lambda: copy.objects[ours].spec["rules"][0]["action"] == "deny")
        metadata = copy.objects[ours].document["metadata"]
        assert (metadata["origin"], metadata["generation"]) == (FEDERATION, 2)

        await admin.put("securitypolicies", "ours", for_("test"))
        await copy.until(lambda: copy.removed.get("ours") == "deselected")
        await admin.put("networks", "Gone", {})
        await copy.until(lambda: "Gone" in copy.names("Network"))
        await admin.delete("networks", "Gone")
        await copy.until(lambda: copy.removed.get("Gone") == "deleted")
        assert copy.listed == 1


async def test_a_changed_view_ends_the_stream_and_the_site_lists_again(
    fsm: FSM, admin: Person
) -> None:
    await admin.put("networks", "AppX", {})
    await admin.put("securitypolicies", "ours", for_("prod"))
    site = await join_site(fsm, await admin.token("sfo"))
    copy = MemoryCopy()
    async with Group() as group:
        follower = follow(site.client, copy)
        group.start(follower.run(), name="follow")
        await copy.until(lambda: "ours" in copy.names("SecurityPolicy"))
        await admin.put("sites", "sfo", {"region": "west"}, labels={"env": "test"})
        await copy.until(lambda: copy.removed.get("ours") == "deselected")
        assert copy.listed == 2
        assert copy.names("SecurityPolicy") == set()
        assert copy.names("Region") == {"west"}
        # A view is compared whole: moving the site out of its region changes it again.
        await admin.put("sites", "sfo", {}, labels={"env": "test"})
        await copy.until(lambda: copy.names("Region") == set())


async def test_a_subscription_narrows_what_is_optional(fsm: FSM, admin: Person) -> None:
    for name in ("AppX", "Unused"):
        await admin.put("networks", name, {})
    await admin.put("securitypolicies", "must", {**ALLOW, "enforcement": "mandatory"})
    await admin.put("securitypolicies", "may", ALLOW)
    site = await join_site(fsm, await admin.token("sfo"))
    copy = MemoryCopy()
    async with Group() as group:
        narrowed = follow(site.client, copy, subscription={"kinds": ["Service"]})
        group.start(narrowed.run(), name="follow")
        await copy.until(lambda: "must" in copy.names("SecurityPolicy"))
        assert copy.names("SecurityPolicy") == {"must"}
        assert copy.names("Network") == {"AppX"}
        # A streamed change is narrowed as well, and may bring names along.
        await admin.put("securitypolicies", "may", DENY)
        both = {"rules": [*ALLOW["rules"], {**DENY["rules"][0], "name": "s"}]}
        both["rules"][1]["from"] = [{"network": "Unused"}]
        await admin.put("securitypolicies", "must", {**both, "enforcement": "mandatory"})
        await copy.until(lambda: "Unused" in copy.names("Network"))
        assert copy.names("SecurityPolicy") == {"must"}


async def test_a_site_says_what_it_knows_and_is_told_no_more(fsm: FSM, admin: Person) -> None:
    accepts = known_fields("Site", "Region", "Network", "SecurityPolicy")
    accepts["SecurityPolicy"] = tuple(
        each for each in accepts["SecurityPolicy"] if each != "rules.log"
    )
    await admin.put("networks", "AppX", {})
    site = await join_site(fsm, await admin.token("sfo"))
    copy = MemoryCopy()
    async with Group() as group:
        limited = follow(site.client, copy, subscription={"accepts": accepts})
        group.start(limited.run(), name="follow")
        await copy.until(lambda: "AppX" in copy.names("Network"))
        logging = {"rules": [{**ALLOW["rules"][0], "log": True}]}
        answer = await admin.client.post(
            "/api/v1/transactions",
            {
                "operations": [
                    {
                        "operation": "put",
                        "object": {
                            "apiVersion": "hanse/v1",
                            "kind": "SecurityPolicy",
                            "metadata": {"name": "logged"},
                            "spec": logging,
                        },
                    }
                ]
            },
        )
        warning = answer.json()["warnings"][0]
        assert (warning["code"], warning["path"]) == ("unsupported", "spec.rules.log")
        assert "sfo" in warning["message"]
        await admin.put("securitypolicies", "plain", ALLOW)
        await copy.until(lambda: "plain" in copy.names("SecurityPolicy"))
        assert "logged" not in copy.names("SecurityPolicy")
        [policy] = (await admin.status(policy="logged"))["policies"]
        at = {each["site"]: each["reason"] for each in policy["sites"]}
        assert at["sfo"] == "unsupported"


async def test_a_restarted_fsm_goes_on_where_the_stream_broke(stopped: FSM) -> None:
    fsm, copy = stopped, MemoryCopy()
    async with fsm.serving():
        admin = fsm.admin()
        await admin.put("sites", "sfo", {})
        await admin.put("networks", "AppX", {})
        site = await join_site(fsm, await admin.token("sfo"))
        follower = follow(site.client, copy)
        fsm.clients.remove(site.client)
    async with Group() as group:
        try:
            async with fsm.serving():
                group.start(follower.run(), name="follow")
                await copy.until(lambda: "AppX" in copy.names("Network"))
            async with fsm.serving():
                await fsm.admin().put("networks", "Later", {})
                await copy.until(lambda: "Later" in copy.names("Network"))
                assert copy.listed == 1, "its position is good for the new process too"
        finally:
            await site.client.close()


async def test_positions_that_can_t_be_resumed_are_told_apart(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    page = (await site.client.get(SNAPSHOT)).json()
    good = page["position"]
    await admin.put("networks", "AppX", {})

    async def refusal(**changed: object) -> str:
        at = Position(**{**good, **changed})
        with pytest.raises(Gone) as caught:
            async with site.client.stream("GET", CHANGES, params=at.to_params()):
                pass
        return caught.value.code

    assert await refusal(incarnation="another") == "history_diverged"
    assert await refusal(digest="another") == "history_diverged"
    assert await refusal(view="another") == "view_changed"
    assert await refusal(revision=10**9) == "history_diverged"


async def test_a_position_behind_compaction_is_told_so(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    position = Position(**(await site.client.get(SNAPSHOT)).json()["position"])
    await admin.put("networks", "AppX", {})
    store = fsm.running.store
    await store.compact((await store.position()).revision)
    with pytest.raises(RevisionCompacted):
        async with site.client.stream("GET", CHANGES, params=position.to_params()):
            pass


async def test_a_snapshot_is_pinned_to_its_revision(fsm: FSM, admin: Person) -> None:
    operations = [
        {
            "operation": "put",
            "object": {
                "apiVersion": "hanse/v1",
                "kind": "Network",
                "metadata": {"name": f"net-{number:04}"},
                "spec": {},
            },
        }
        for number in range(1500)
    ]
    await admin.client.post("/api/v1/transactions", {"operations": operations})
    site = await join_site(fsm, await admin.token("sfo"))
    first = (await site.client.get(SNAPSHOT)).json()
    assert len(first["objects"]) == 1000
    await admin.delete("networks", "net-1499")
    await admin.put("networks", "later", {})

    where = {"page": first["next"], "revision": str(first["position"]["revision"])}
    second = (await site.client.get(SNAPSHOT, params=where)).json()
    names = {each["metadata"]["name"] for each in first["objects"] + second["objects"]}
    assert second["next"] is None
    assert second["position"] == first["position"]
    assert "net-1499" in names
    assert "later" not in names

    store = fsm.running.store
    await admin.put("sites", "fra", {}, labels={"x": "y"})
    await store.compact((await store.position()).revision)
    where["since_incarnation"], where["since_revision"] = "other", "1"
    with pytest.raises(Gone) as caught:
        await site.client.get(SNAPSHOT, params=where)
    assert caught.value.code == "revision_compacted"


async def test_a_snapshot_interrupted_between_pages_begins_anew(fsm: FSM, admin: Person) -> None:
    operations = [
        {
            "operation": "put",
            "object": {
                "apiVersion": "hanse/v1",
                "kind": "Network",
                "metadata": {"name": f"net-{number:04}"},
                "spec": {},
            },
        }
        for number in range(1200)
    ]
    await admin.client.post("/api/v1/transactions", {"operations": operations})
    site = await join_site(fsm, await admin.token("sfo"))
    copy = MemoryCopy()
    real, cut = site.client.get, iter([False, True])

    async def get(path: str, **options: object) -> object:
        if path == SNAPSHOT and next(cut, False):
            raise Malformed("the page was torn")
        return await real(path, **options)

    site.client.get = get
    async with Group() as group:
        group.start(follow(site.client, copy).run(), name="follow")
        await copy.until(lambda: len(copy.names("Network")) == 1200)
    assert copy.listed == 1, "the half of a snapshot is never applied"


@pytest.mark.parametrize(
    ("path", "params", "kind"),
    [
        pytest.param(SNAPSHOT, {"page": "5"}, Malformed, id="a page without its revision"),
        pytest.param(SNAPSHOT, {"revision": "5"}, Malformed, id="a revision without its page"),
        pytest.param(SNAPSHOT, {"page": "x", "revision": "1"}, Malformed, id="no page"),
        pytest.param(SNAPSHOT, {"page": "0", "revision": "99999"}, Gone, id="in the future"),
        pytest.param(SNAPSHOT, {"since_revision": "1"}, Malformed, id="half of a position"),
        pytest.param(SNAPSHOT, {"since": "1"}, Malformed, id="an unknown parameter"),
        pytest.param(CHANGES, {"revision": "1"}, Malformed, id="a quarter of a position"),
        pytest.param(
            CHANGES,
            {"incarnation": "x", "revision": "-1", "digest": "d", "view": "v"},
            Malformed,
            id="a negative revision",
        ),
    ],
)
async def test_bad_requests_are_refused_in_words(
    fsm: FSM, admin: Person, path: str, params: dict[str, str], kind: type[Exception]
) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    with pytest.raises(kind):
        await site.client.get(path, params=params)


async def test_a_site_can_subscribe_to_nothing_but_optional_kinds(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    for kind in ("User", "Credential", "Nonsense"):
        with pytest.raises(Invalid):
            await site.client.put("/feed/v1/subscription", {"kinds": [kind]})
    with pytest.raises(Invalid):
        await site.client.put("/feed/v1/subscription", {"site": "fra"})


async def test_a_site_whose_object_is_deleted_gets_nothing(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    await admin.delete("sites", "sfo")
    with pytest.raises(Unauthenticated) as caught:
        await site.client.get(SNAPSHOT)
    assert caught.value.code == "certificate_revoked"


async def test_a_site_speaks_for_itself_only(fsm: FSM, admin: Person) -> None:
    site = await join_site(fsm, await admin.token("sfo"))
    for path in ("/api/v1/status", "/api/v1/sites", "/api/v1/securitypolicies"):
        with pytest.raises(Forbidden):
            await site.client.get(path)
