"""Lists, their pages, and the versions of one object."""

from pathlib import Path

import pytest

from shared.errors import Gone, Malformed, NotFound, RevisionCompacted
from shared.ids import Revision
from tests.integration.api.harness import PATH, Api, network, running_api


async def test_lists_are_filtered_by_labels_and_fields(api: Api) -> None:
    client = api.client("admin")
    for name, labels in (("a", {"env": "prod"}), ("b", {"env": "test"}), ("c", {})):
        await client.put(f"/api/v1/networks/{name}", network(name, labels=labels))

    async def names(**params: str) -> list[str]:
        answer = await client.get("/api/v1/networks", params=params)
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    assert await names() == ["a", "b", "c"]
    assert await names(labelSelector="env=prod") == ["a"]
    assert await names(labelSelector="env!=prod") == ["b", "c"]
    assert await names(labelSelector="env in (prod, test),env notin (test)") == ["a"]
    assert await names(labelSelector="!env") == ["c"]
    assert await names(fieldSelector="metadata.name=b") == ["b"]
    assert await names(tenant="acme") == []
    assert await names(scope="region/west") == []


async def test_a_list_in_pages_is_as_of_its_first_page(api: Api) -> None:
    client = api.client("admin")
    for number in range(5):
        await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))

    first = (await client.get("/api/v1/networks", params={"limit": "2"})).json()
    await client.request("DELETE", "/api/v1/networks/n3")
    await client.put("/api/v1/networks/n9", network("n9"))
    names = [item["metadata"]["name"] for item in first["items"]]
    goes_on = first["metadata"].get("continue")
    while goes_on:
        page = (
            await client.get("/api/v1/networks", params={"limit": "2", "continue": goes_on})
        ).json()
        assert page["metadata"]["revision"] == first["metadata"]["revision"]
        names += [item["metadata"]["name"] for item in page["items"]]
        goes_on = page["metadata"].get("continue")

    assert names == ["n0", "n1", "n2", "n3", "n4"]


async def test_a_page_of_a_compacted_revision_is_gone(api: Api) -> None:
    client = api.client("admin")
    for number in range(3):
        await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))
    page = (await client.get("/api/v1/networks", params={"limit": "1"})).json()
    await client.put("/api/v1/networks/n4", network("n4"))
    await api.store.compact(Revision(4))

    with pytest.raises(RevisionCompacted):
        await client.get("/api/v1/networks", params={"continue": page["metadata"]["continue"]})


async def test_a_page_of_another_store_is_gone(api: Api, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    async with running_api(folder) as other:
        client = other.client("admin")
        for number in range(2):
            await client.put(f"/api/v1/networks/n{number}", network(f"n{number}"))
        page = (await client.get("/api/v1/networks", params={"limit": "1"})).json()

    with pytest.raises(Gone) as caught:
        await api.client("admin").get(
            "/api/v1/networks", params={"continue": page["metadata"]["continue"]}
        )
    assert caught.value.code == "history_diverged"


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "many"},
        {"limit": "100000"},
        {"continue": "nonsense"},
        {"continue": "bnVsbA"},
        {"labelSelector": "a b c"},
        {"labelSelector": "a in (b"},
        {"fieldSelector": "name"},
        {"labelSelector": "a" * 5000},
    ],
)
async def test_a_bad_list_parameter_is_refused(api: Api, params) -> None:
    with pytest.raises(Malformed):
        await api.client("admin").get("/api/v1/networks", params=params)


async def test_history_has_every_version_and_the_deletion(api: Api) -> None:
    client = api.client("admin")
    await client.put(PATH, network("web"))
    await client.put(PATH, network("web", "10.0.0.0/24"))
    await client.request("DELETE", PATH)

    items = (await client.get(f"{PATH}/history")).json()["items"]

    assert [(item["revision"], item["operation"]) for item in items] == [
        (3, "delete"),
        (2, "put"),
        (1, "put"),
    ]
    assert items[2]["object"]["spec"] == {}
    with pytest.raises(NotFound):
        await client.get("/api/v1/networks/never/history")
