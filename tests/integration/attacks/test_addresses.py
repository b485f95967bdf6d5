"""Addresses and parameters that try to be something else."""

import base64

import pytest
import yarl

from tests.integration.api.harness import running_api
from tests.integration.attacks.test_bodies import admin

NAMES = [
    "%00",
    "a%00b",
    "%0d%0aX:y",
    "..%2f..%2fetc%2fpasswd",
    "%ff",
    "%ed%a0%80",
    "a;b",
    "'",
    "%7f",
]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_name_in_an_address_is_a_name_or_nothing(tmp_path, method: str) -> None:
    async with running_api(tmp_path) as api, admin(api) as session:
        for name in NAMES:
            for rest in ("", "/history") if method == "GET" else ("",):
                url = yarl.URL(f"{api.server.url}/api/v1/networks/{name}{rest}", encoded=True)
                async with session.request(method, url) as response:
                    document = await response.json(content_type="application/problem+json")
                expected = 400 if any(each in name for each in ("%00", "%7f")) else 404
                assert (name, response.status) == (name, expected)
                assert document["code"] in ("malformed", "not_found")


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000", "\\u007f"])
async def test_a_forged_page_is_refused(tmp_path, name: str) -> None:
    async with running_api(tmp_path) as api, admin(api) as session:
        position = await api.store.position()
        text = f'["{position.incarnation}",{position.revision},"Network","common","federation","{name}"]'
        page = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        async with session.get("/api/v1/networks", params={"continue": page}) as response:
            document = await response.json(content_type="application/problem+json")
    assert (response.status, document["code"]) == (400, "invalid_continue")


async def test_a_kind_that_lives_elsewhere_is_named(tmp_path) -> None:
    site = {"apiVersion": "hanse/v1", "kind": "Site", "metadata": {"name": "a"}, "spec": {}}
    body = {"operations": [{"operation": "put", "object": site}]}
    async with (
        running_api(tmp_path, home="sdsp") as api,
        admin(api) as session,
        session.post("/api/v1/transactions", json=body) as response,
    ):
        document = await response.json(content_type="application/problem+json")
    assert (response.status, document["code"]) == (422, "scope_not_here")
    assert "don't live here" in document["title"]
