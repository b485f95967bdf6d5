"""Several objects at one revision, and requests that are sent twice."""

import pytest

from shared.errors import HanseError, Invalid, NotFound
from tests.integration.api.harness import PATH, Api, delete, network, put, revision


async def test_a_transaction_takes_one_revision(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))
    service = {
        "apiVersion": "hanse/v1",
        "kind": "Service",
        "metadata": {"name": "postgres"},
        "spec": {"entries": [{"protocol": "tcp", "ports": [5432]}]},
    }

    answer = await client.post(
        "/api/v1/transactions",
        {"operations": [put(network("app")), put(service), delete("Network", "web")]},
    )

    result = answer.json()
    assert result["revision"] == 2
    assert [each["operation"] for each in result["results"]] == ["put", "put", "delete"]
    assert {each["object"]["metadata"]["revision"] for each in result["results"][:2]} == {2}
    with pytest.raises(NotFound):
        await client.get(PATH)


async def test_a_transaction_is_all_or_nothing(api: Api) -> None:
    client = api.client("admin")
    for operations, code in (
        ([put(network("a")), delete("Network", "missing")], "not_found"),
        ([put(network("a")), put(network("b"), ifMatch=7)], "revision_conflict"),
        ([put(network("a")), put(network("a"))], "duplicate"),
        ([put(network("a")), put(network("b") | {"spec": {"x": 1}})], "invalid"),
    ):
        with pytest.raises(HanseError) as caught:
            await client.post("/api/v1/transactions", {"operations": operations})
        assert caught.value.code == code
    assert (await api.store.position()).revision == 0


async def test_a_transaction_tells_all_that_is_wrong_in_every_document(api: Api) -> None:
    bad = network("web") | {"spec": {"subnet": 1, "vlan": "x"}}
    with pytest.raises(Invalid) as caught:
        await api.client("admin").post(
            "/api/v1/transactions", {"operations": [put(bad), put({}), put(network("A B"))]}
        )

    paths = [fault.path for fault in caught.value.fields]
    assert "operations[0].object.spec.subnet" in paths
    assert "operations[0].object.spec.vlan" in paths
    assert any(path.startswith("operations[1].object") for path in paths)
    assert "operations[2].object.metadata.name" in paths


async def test_the_same_request_sent_again_counts_once(api: Api) -> None:
    client = api.client("admin")
    headers = {"X-Request-Id": "once"}
    first = await client.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    await client.put(PATH, network("web", "10.0.1.0/24"))

    again = await client.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)

    assert again.headers["X-Replayed"] == "true"
    assert again.json() == first.json()
    assert (await client.get(PATH)).json()["spec"] == {"subnets": ["10.0.1.0/24"]}
    assert (await api.store.position()).revision == 2


async def test_one_request_id_for_different_requests_swallows_none(api: Api) -> None:
    headers = {"X-Request-Id": "correlated"}
    one, other = api.client("admin"), api.client("admin", subject="user:other")
    await one.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    await one.request("PUT", PATH, body=network("web", "10.0.1.0/24"), headers=headers)
    answer = await other.request("PUT", PATH, body=network("web", "10.0.0.0/24"), headers=headers)
    assert revision(answer) == 3
