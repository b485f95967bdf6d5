"""Asking what one may do, and by what."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import Malformed
from tests.integration.api.harness import Api, network, running_api
from tests.integration.api.test_labels import ON_SHOPS, SHOP, TILL, binding, client_of, role


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        admin = running.client("global-admin")
        await admin.put("/api/v1/roles/keeper", role("keeper", ON_SHOPS))
        await admin.put("/api/v1/rolebindings/kim", binding("kim", "keeper", "kim"))
        await admin.put(
            "/api/v1/rolebindings/lee", binding("lee", "viewer", "lee", tenants=["acme"])
        )
        await admin.put("/api/v1/networks/ours", network("ours", labels=SHOP))
        await admin.put("/api/v1/networks/theirs", network("theirs", labels=TILL))
        yield running


@pytest.mark.parametrize(
    ("who", "params", "allowed"),
    [
        ("kim", {"verb": "write", "kind": "Network"}, False),
        ("kim", {"verb": "write", "kind": "networks", "name": "ours"}, True),
        ("kim", {"verb": "write", "kind": "network", "name": "theirs"}, False),
        ("kim", {"verb": "write", "kind": "Network", "name": "nobodys"}, False),
        ("lee", {"verb": "read", "kind": "Network"}, False),
        ("lee", {"verb": "read", "kind": "Network", "tenant": "acme"}, True),
        ("lee", {"verb": "read", "kind": "status", "tenant": "acme"}, True),
        ("lee", {"verb": "trace", "tenant": "acme"}, True),
        ("lee", {"verb": "override", "tenant": "acme"}, False),
    ],
)
async def test_the_answer_is_what_would_be_decided(api: Api, who, params, allowed) -> None:
    answer = (await client_of(api, who).get("/api/v1/can-i", params=params)).json()
    assert answer["allowed"] is allowed
    assert answer["binding"] == (who if allowed else None)
    assert (answer["reason"] is None) is allowed


async def test_what_one_may_not_see_answers_as_what_is_not_there(api: Api) -> None:
    kim = client_of(api, "kim")
    answers = [
        (
            await kim.get(
                "/api/v1/can-i", params={"verb": "write", "kind": "Network", "name": name}
            )
        ).json()
        for name in ("theirs", "nobodys")
    ]
    assert answers[0] | {"name": ""} == answers[1] | {"name": ""}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"verb": "raed", "kind": "Network"}, "unknown_verb"),
        ({"verb": "read", "kind": "Netwrok"}, "unknown_kind"),
        ({"verb": "write", "kind": "audit"}, "unknown_kind"),
        ({"verb": "read"}, "malformed"),
        ({"verb": "trace", "kind": "Network"}, "malformed"),
        ({"kind": "Network"}, "unknown_verb"),
    ],
)
async def test_a_question_that_means_nothing_is_refused(api: Api, params, code) -> None:
    with pytest.raises(Malformed) as refused:
        await client_of(api, "lee").get("/api/v1/can-i", params=params)
    assert refused.value.code == code


async def test_one_sees_by_which_bindings_one_holds_what(api: Api) -> None:
    lee = client_of(api, "lee")
    identity = (await lee.get("/api/v1/whoami")).json()
    assert identity["bindings"] == [{"role": "viewer", "binding": "lee"}]
    (held,) = (await lee.get("/api/v1/permissions")).json()["items"]
    assert (held["role"], held["binding"], held["tenants"]) == ("viewer", "lee", ["acme"])
    assert "read:Network" in held["permissions"]
