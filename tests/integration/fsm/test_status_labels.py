"""How the federation stands for somebody whose grant selects objects by their labels."""

from typing import Any

import pytest

from shared.errors import NotFound
from tests.fakes.tokens import token_for
from tests.integration.fsm.harness import FSM, JoinedSite, Person, join_site
from tests.integration.fsm.test_status import acknowledge

SHOP, TILL = {"app": "shop"}, {"app": "till"}
RULES = {"rules": [{"name": "r", "from": [{"network": "AppX"}], "to": "any", "action": "allow"}]}
MISSING = [{"rule": "r", "side": "from", "reference": "network:AppX"}]


@pytest.fixture
async def joined(fsm: FSM, admin: Person) -> JoinedSite:
    """The site sfo, with a policy of the shop's and one of the till's that stand badly there."""
    await admin.put("sites", "sfo", {"region": "west"}, labels=SHOP)
    await admin.put("networks", "AppX", {})
    await admin.put("securitypolicies", "ours", RULES, labels=SHOP)
    await admin.put("securitypolicies", "theirs", RULES, labels=TILL)
    joined = await join_site(fsm, await admin.token("sfo"))
    key = {"kind": "SecurityPolicy", "tenant": "common", "scope": "federation"}
    refused = [{"key": {**key, "name": name}, "code": "invalid"} for name in ("ours", "theirs")]
    position = await acknowledge(joined, outcome="nack", refused=refused)
    report = {
        "position": position,
        "policies": [
            {
                "name": name,
                "scope": "federation",
                "generation": 1,
                "state": "failed",
                "nodes": {"total": 2, "realised": 1, "pending": 0, "failed": 1},
                "failing": [{"node": "n-1", "code": "kernel_refused"}],
                "unresolved": MISSING,
            }
            for name in ("ours", "theirs")
        ],
        "held": [
            {**key, "name": name, "cause": "missing", "since": "2026-01-01T00:00:00+00:00"}
            for name in ("ours", "theirs", "gone")
        ],
        "counts": {"nodes": 2},
    }
    await joined.client.post("/feed/v1/report", report)
    return joined


async def kim(fsm: FSM, admin: Person, **more: Any) -> Person:
    """Return somebody who may read the status of what is the shop's."""
    grant = {"verbs": ["read"], "kinds": ["status"], "selector": {"matchLabels": SHOP}, **more}
    subjects = [{"kind": "User", "name": "kim"}]
    for kind, plural, spec in (
        ("Role", "roles", {"grants": [grant]}),
        ("RoleBinding", "rolebindings", {"role": "shops", "subjects": subjects}),
    ):
        document = {
            "apiVersion": "hanse/v1",
            "kind": kind,
            "metadata": {"name": "shops"},
            "spec": spec,
        }
        await admin.client.put(f"/api/v1/{plural}/shops", document)
    token = token_for(fsm.running.logins, fsm.clock, subject="user:kim")
    return Person(fsm.visitor(lambda: token))


async def test_status_shows_what_has_such_labels_and_counts_nothing_else(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    everything = await admin.status()
    assert {each["name"] for each in everything["sites"]} == {"sfo", "fra"}
    assert {each["name"] for each in everything["policies"]} == {"ours", "theirs"}

    shop = await kim(fsm, admin)
    told = await shop.status()
    assert set(told) == {"revision", "sites", "policies"}
    [site] = told["sites"]
    [whole] = [each for each in everything["sites"] if each["name"] == "sfo"]
    assert sum(site["policies"].values()) == 1
    assert sum(whole["policies"].values()) == 2
    assert [each["name"] for each in site["held"]] == ["ours"]
    assert {each["name"] for each in whole["held"]} == {"ours", "theirs", "gone"}
    assert [each["name"] for each in site["refused"]] == ["ours"]
    assert {each["policy"] for each in site["unresolved"]} == {"ours"}
    assert (site["counts"], site["breakGlass"], site["backups"]) == ({}, None, [])
    [policy] = told["policies"]
    assert (policy["name"], [each["site"] for each in policy["sites"]]) == ("ours", ["sfo"])
    assert sum(policy["summary"].values()) == 1
    assert not [mark for mark in ("theirs", "fra", "gone", "n-1", "kernel") if mark in str(told)]


async def test_a_site_with_other_labels_is_as_one_that_is_not_there(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    shop = await kim(fsm, admin)
    for path in ("/api/v1/status?site={}", "/api/v1/sites/{}/status"):
        messages = []
        for name in ("fra", "nil"):
            with pytest.raises(NotFound) as refused:
                await shop.client.get(path.format(name))
            messages.append(refused.value.message.replace(name, "?"))
        assert messages[0] == messages[1]
    document = (await shop.client.get("/api/v1/sites/sfo/status")).json()
    assert [each["name"] for each in document["policies"]] == ["ours"]
    assert (document["policies"][0]["nodes"]["total"], document["policies"][0]["failing"]) == (
        0,
        [],
    )
    assert document["policies"][0]["state"] == "failed"


async def test_another_tenants_policies_of_such_labels_are_not_shown(
    fsm: FSM, admin: Person, joined: JoinedSite
) -> None:
    await admin.put("tenants", "acme", {})
    shop = await kim(fsm, admin, tenants=["acme"])
    told = await shop.status()
    assert told["policies"] == []
    assert [each["name"] for each in told["sites"]] == ["sfo"]
    assert told["sites"][0]["policies"] == {}
