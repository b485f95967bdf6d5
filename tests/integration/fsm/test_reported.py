"""What the FSM tells of its sites' conflicts and exceptions, and to whom."""

from typing import Any

import pytest

from shared.errors import Forbidden, NotFound
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM, JoinedSite, Person, join_site
from tests.integration.fsm.test_status import ALLOW, acknowledge, report, site_document, state

SINCE = "2026-01-01T00:00:00+00:00"


def conflict(name: str, *, tenant: str = "common", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "tenant": tenant,
        "type": "edited_both",
        "target": {"kind": "SecurityPolicy", "name": "p", "tenant": "common"},
        "urgency": "normal",
        "state": "open",
        "since": SINCE,
        **fields,
    }


def exception(
    name: str, kind: str = "SecurityPolicy", target: str = "p", tenant: str = "common"
) -> dict[str, Any]:
    return {
        "target": {"kind": kind, "name": target, "tenant": tenant},
        "name": name,
        "tenant": tenant,
        "reason": f"why of {name}",
    }


CONFLICTS = {
    "judged": 3,
    "unsettled": [
        conflict("later", state="deferred", until="2099-01-01T00:00:00+00:00"),
        conflict("slow"),
        conflict("burning", urgency="immediate"),
        conflict("theirs", tenant="acme"),
    ],
    "settled": [
        {
            "name": "done",
            "type": "name_taken",
            "target": {"kind": "SecurityPolicy", "name": "p"},
            "how": "acceptGlobal",
            "at": SINCE,
        }
    ],
}


@pytest.fixture
async def joined(fsm: FSM, admin: Person) -> JoinedSite:
    await admin.put("tenants", "acme", {})
    await admin.put("networks", "AppX", {})
    await admin.put("securitypolicies", "p", ALLOW)
    return await join_site(fsm, await admin.token("sfo"))


async def told(person: Person, what: str, **params: str) -> Any:
    return (await person.client.get(f"/api/v1/{what}", params=params)).json()


def somebody(fsm: FSM, *roles: str, tenants: tuple[str, ...] | None = None) -> Person:
    token = token_for(fsm.running.logins, fsm.clock, *roles, tenants=tenants, subject="user:kim")
    return Person(fsm.visitor(lambda: token))


async def test_all_sites_conflicts_come_the_most_pressing_first(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    assert (await site_document(admin))["conflicts"] is None, "nothing is known yet"
    said = report(await acknowledge(joined))
    await joined.client.post("/feed/v1/report", said)
    assert (await site_document(admin))["conflicts"] is None, "an older site tells of none"

    await joined.client.post("/feed/v1/report", {**said, "conflicts": CONFLICTS})
    counts = {"asOf": 3, "pending": False, "open": 3, "immediate": 1, "deferred": 1}
    assert (await site_document(admin))["conflicts"] == counts
    found = await told(admin, "conflicts")
    assert [(each["site"], each["name"]) for each in found["items"]] == [
        ("sfo", "burning"),
        ("sfo", "theirs"),
        ("sfo", "slow"),
        ("sfo", "later"),
    ]
    assert [each["site"] for each in found["sites"]] == ["sfo"]
    settled = (await told(admin, "conflicts", all="true"))["items"][-1]
    assert (settled["name"], settled["state"], settled["how"]) == (
        "done",
        "resolved",
        "acceptGlobal",
    )
    assert [each["name"] for each in (await told(admin, "conflicts", tenant="acme"))["items"]] == [
        "theirs"
    ]
    assert (await told(admin, "conflicts", site="fra")) == {"items": [], "sites": []}
    with pytest.raises(NotFound):
        await told(admin, "conflicts", site="nowhere")


async def test_a_site_that_has_more_to_judge_is_said_to_be_judging_and_keeps_its_conflicts(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    said = report(await acknowledge(joined))
    await joined.client.post("/feed/v1/report", {**said, "conflicts": CONFLICTS})
    await joined.client.post("/feed/v1/report", {**said, "conflicts": {"judged": None}})
    found = (await site_document(admin))["conflicts"]
    assert (found["pending"], found["asOf"], found["open"]) == (True, 3, 3)
    assert len((await told(admin, "conflicts"))["items"]) == 4


async def test_a_tenant_sees_its_own_conflicts_and_exceptions_and_counts_no_others(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    said = report(await acknowledge(joined))
    own = {"kind": "SecurityPolicy", "name": "q", "tenant": "acme"}
    conflicts = [conflict("theirs", tenant="acme", target=own), conflict("not-theirs")]
    said["conflicts"] = {"judged": 3, "unsettled": conflicts}
    said["exceptions"] = [exception("ours", target="q", tenant="acme"), exception("common-one")]
    await joined.client.post("/feed/v1/report", said)
    acme = somebody(fsm, "tenant-admin", tenants=("acme",))
    assert [each["name"] for each in (await told(acme, "conflicts"))["items"]] == ["theirs"]
    assert [each["name"] for each in (await told(acme, "exceptions"))["items"]] == ["ours"]
    assert (await site_document(acme))["conflicts"]["open"] == 1
    with pytest.raises(Forbidden):
        await told(somebody(fsm), "conflicts")


async def test_exceptions_are_told_by_policy_with_their_reason_and_end(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    said = report(await acknowledge(joined))
    ends = "2099-01-01T00:00:00Z"
    said["exceptions"] = [
        {**exception("legacy-ftp"), "expiresAt": ends},
        exception("a-network", "Network", "AppX"),
        exception("rack") | {"scope": "group/rack-7"},
    ]
    await joined.client.post("/feed/v1/report", said)
    found = (await told(admin, "exceptions", kind="SecurityPolicy", name="p"))["items"]
    assert [(each["site"], each["name"], each["scope"]) for each in found] == [
        ("sfo", "legacy-ftp", "site"),
        ("sfo", "rack", "group/rack-7"),
    ]
    assert (found[0]["reason"], found[0]["expiresAt"]) == ("why of legacy-ftp", ends)
    assert len((await told(admin, "exceptions"))["items"]) == 3
    assert (await state(admin))["exceptions"] == 2
    assert (await state(admin, site="fra"))["exceptions"] == 0
    [policy] = (await admin.status(policy="p"))["policies"]
    assert policy["exceptions"] == 2
