"""Writes that hold only if nothing has changed: If-Match and If-None-Match."""

import asyncio
from collections import Counter

import pytest

from shared.errors import Malformed, RevisionConflict
from tests.integration.api.harness import PATH, Api, network, revision


async def test_a_stale_revision_changes_nothing(api: Api) -> None:
    client = api.client("admin")
    first = await client.put(PATH, network("web", "10.0.0.0/24"))
    second = await client.put(PATH, network("web", "10.0.1.0/24"))
    stale = {"If-Match": first.headers["ETag"]}

    for method, body in (
        ("PUT", network("web", "10.0.2.0/24")),
        ("PATCH", {"spec": {"vlan": 5}}),
        ("DELETE", None),
    ):
        with pytest.raises(RevisionConflict) as caught:
            await client.request(method, PATH, body=body, headers=stale)
        assert caught.value.code == "revision_conflict"

    assert (await client.get(PATH)).json() == second.json()
    assert (await api.store.position()).revision == revision(second)


async def test_if_none_match_only_creates(api: Api) -> None:
    client = api.client("admin")
    absent = {"If-None-Match": "*"}

    await client.request("PUT", PATH, body=network("web"), headers=absent)
    with pytest.raises(RevisionConflict):
        await client.request("PUT", PATH, body=network("web", "10.0.0.0/8"), headers=absent)


@pytest.mark.parametrize(
    "headers",
    [{"If-Match": "new"}, {"If-Match": "-1"}, {"If-None-Match": '"3"'}, {"If-Match": "9" * 30}],
)
async def test_a_condition_that_means_nothing_is_refused(api: Api, headers) -> None:
    with pytest.raises(Malformed):
        await api.client("admin").request("PUT", PATH, body=network("web"), headers=headers)


async def test_of_16_writers_exactly_one_wins_each_revision(api: Api) -> None:
    client = api.client("admin")
    current = revision(await client.put(PATH, network("web", "10.0.0.0/24")))

    for turn in range(3):

        async def attempt(number: int, turn: int = turn, current: int = current) -> str:
            body = network("web", f"10.{turn + 1}.{number}.0/24")
            try:
                await client.request("PUT", PATH, body=body, headers={"If-Match": f'"{current}"'})
            except RevisionConflict:
                return "lost"
            return "won"

        outcomes = Counter(await asyncio.gather(*(attempt(number) for number in range(16))))
        assert outcomes == {"won": 1, "lost": 15}
        current = revision(await client.get(PATH))
    assert current == 4


async def test_16_writers_without_a_condition_all_get_through(api: Api) -> None:
    client = api.client("admin")
    await asyncio.gather(
        *(client.put(PATH, network("web", f"10.0.{number}.0/24")) for number in range(16))
    )
    assert (await client.get(PATH)).json()["metadata"]["generation"] == 16
