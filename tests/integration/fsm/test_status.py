from datetime import timedelta
from typing import Any

import pytest

from shared.errors import Gone, Invalid, NotFound
from shared.tasks.group import Group
from tests.integration.fsm.harness import FSM, JoinedSite, MemoryCopy, Person, follow, join_site

ALLOW = {"rules": [{"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "allow"}]}


async def state(admin: Person, policy: str = "p", site: str = "sfo") -> dict[str, Any]:
    [found] = (await admin.status(policy=policy))["policies"]
    return next(each for each in found["sites"] if each["site"] == site)


async def site_document(admin: Person, site: str = "sfo") -> dict[str, Any]:
    [found] = (await admin.status(site=site))["sites"]
    return found


@pytest.fixture
async def joined(fsm: FSM, admin: Person) -> JoinedSite:
    await admin.put("networks", "AppX", {})
    await admin.put("securitypolicies", "p", ALLOW)
    return await join_site(fsm, await admin.token("sfo"))


def report(position: dict[str, Any], **policy: Any) -> dict[str, Any]:
    return {
        "position": position,
        "policies": [
            {
                "name": "p",
                "scope": "federation",
                "generation": 1,
                "state": "realised",
                "nodes": {"total": 2, "realised": 2, "pending": 0, "failed": 0},
                **policy,
            }
        ],
        "counts": {"nodes": 2},
    }


async def acknowledge(site: JoinedSite, **said: Any) -> dict[str, Any]:
    page = (await site.client.get("/feed/v1/snapshot")).json()
    await site.client.post(
        "/feed/v1/acknowledgements", {"position": page["position"], "outcome": "ack", **said}
    )
    position: dict[str, Any] = page["position"]
    return position


async def test_a_policy_is_realised_only_when_its_site_says_so_of_this_generation(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    assert (await state(admin, site="fra"))["reason"] == "not_joined"
    assert (await state(admin))["reason"] == "not_connected"
    position = await acknowledge(joined)
    assert (await state(admin))["reason"] == "not_reported"
    await joined.client.post("/feed/v1/report", report(position))
    found = await state(admin)
    assert (found["state"], found["reason"], found["generation"]) == ("realised", None, 1)
    assert found["nodes"]["realised"] == 2

    deny = {"rules": [{**ALLOW["rules"][0], "action": "deny"}]}
    await admin.put("securitypolicies", "p", deny)
    found = await state(admin)
    assert (found["state"], found["reason"]) == ("pending", "not_acknowledged")
    assert found["generation"] == 1, "what runs there is still the first"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param(
            {
                "state": "partial",
                "unresolved": [{"rule": "r", "side": "from", "reference": "network:AppX"}],
            },
            "unresolved_name",
            id="a name that means nothing there",
        ),
        pytest.param({"state": "pending"}, "nodes_pending", id="nodes on their way"),
        pytest.param(
            {"state": "failed", "failing": [{"node": "n-1", "code": "kernel_refused"}]},
            "kernel_refused",
            id="a node that refused",
        ),
        pytest.param({"state": "suspended"}, "name_taken", id="a local policy of its name"),
    ],
)
async def test_status_says_why_a_policy_is_not_realised(
    admin: Person, joined: JoinedSite, said: dict[str, Any], reason: str
) -> None:
    position = await acknowledge(joined)
    await joined.client.post("/feed/v1/report", report(position, **said))
    found = await state(admin)
    assert (found["state"], found["reason"]) == (said["state"], reason)
    site = await site_document(admin)
    assert [each["reference"] for each in site["unresolved"]] == [
        each["reference"] for each in said.get("unresolved", [])
    ]


async def test_a_refused_object_is_failed_until_a_later_version_is_taken(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    copy = MemoryCopy()
    copy.refusing = {"p": "unsupported_field"}
    async with Group() as group:
        group.start(follow(joined.client, copy).run(), name="follow")
        await copy.until(lambda: "p" in copy.names("SecurityPolicy"))
        voices_heard = await until_refused(admin)
        assert voices_heard == ("failed", "unsupported_field")
        assert [each["name"] for each in (await site_document(admin))["refused"]] == ["p"]

        copy.refusing = {}
        deny = {"rules": [{**ALLOW["rules"][0], "action": "deny"}]}
        await admin.put("securitypolicies", "p", deny)
        await until_reason(admin, "not_reported")
        assert (await site_document(admin))["refused"] == []


async def until_refused(admin: Person) -> tuple[str, str]:
    while True:
        found = await state(admin)
        if found["state"] == "failed":
            return found["state"], found["reason"]


async def until_reason(admin: Person, reason: str) -> None:
    while (await state(admin))["reason"] != reason:
        pass


async def test_a_site_that_stopped_answering_is_not_shown_as_connected(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    """Its stream is still open as far as this end can know: half-open."""
    page = (await joined.client.get("/feed/v1/snapshot")).json()
    params = {name: str(value) for name, value in page["position"].items()}
    async with joined.client.stream("GET", "/feed/v1/changes", params=params) as lines:
        assert await anext(lines) == {"protocol": 1}
        assert not (await site_document(admin))["connected"], "an open stream proves nothing"
        await acknowledge(joined)
        assert (await site_document(admin))["connected"]
        fsm.clock.ahead = timedelta(seconds=21)
        assert not (await site_document(admin))["connected"]


async def test_an_acknowledgement_of_another_history_counts_for_nothing(
    admin: Person, joined: JoinedSite
) -> None:
    position = await acknowledge(joined)
    other = {**position, "incarnation": "another"}
    with pytest.raises(Gone):
        await joined.client.post("/feed/v1/acknowledgements", {"position": other, "outcome": "ack"})


@pytest.mark.parametrize(
    "smuggled",
    [
        pytest.param({"spec": {"rules": []}}, id="a spec"),
        pytest.param({"failing": [{"node": "n", "code": "can't reach 10.0.0.1"}]}, id="raw text"),
        pytest.param({"failing": [{"node": "n", "code": "c", "error": "x"}]}, id="an error"),
        pytest.param(
            {"unresolved": [{"rule": "r", "side": "to", "reference": "10.0.0.0/8"}]}, id="a CIDR"
        ),
        pytest.param(
            {"failing": [{"node": f"n-{i}", "code": "c"} for i in range(101)]}, id="too many nodes"
        ),
        pytest.param({"addresses": ["10.0.0.1"]}, id="addresses"),
    ],
)
async def test_a_report_has_no_room_for_specs_addresses_and_raw_errors(
    joined: JoinedSite, smuggled: dict[str, Any]
) -> None:
    position = (await joined.client.get("/feed/v1/snapshot")).json()["position"]
    with pytest.raises(Invalid):
        await joined.client.post("/feed/v1/report", report(position, **smuggled))


async def test_one_site_s_status_lists_its_policies_exceptions_and_what_it_holds(
    admin: Person, joined: JoinedSite
) -> None:
    position = await acknowledge(joined)
    said = report(position)
    said["exceptions"] = [
        {
            "target": {"kind": "SecurityPolicy", "name": "p"},
            "name": "legacy-ftp",
            "reason": "vendor line 7 still uses ftp",
        }
    ]
    said["held"] = [
        {"kind": "SecurityPolicy", "scope": "federation", "name": "old", "cause": "missing"}
    ]
    await joined.client.post("/feed/v1/report", said)
    found = (await admin.client.get("/api/v1/sites/sfo/status")).json()
    assert found["connected"]
    assert [(each["name"], each["state"]) for each in found["policies"]] == [("p", "realised")]
    assert found["exceptions"][0]["reason"] == "vendor line 7 still uses ftp"
    assert found["held"][0]["name"] == "old"
    assert found["counts"] == {"nodes": 2}
    with pytest.raises(NotFound):
        await admin.client.get("/api/v1/sites/nowhere/status")
