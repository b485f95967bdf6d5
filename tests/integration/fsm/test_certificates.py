"""What an FSM tells of its own certificates."""

from tests.integration.fsm.harness import FSM


async def test_regression_what_is_in_use_is_not_superseded_by_what_came_in_the_same_second(
    fsm: FSM,
) -> None:
    """Whichever came first in the list counted as the newest: others were said to be out of use."""
    client = fsm.admin().client
    for _ in range(8):
        await client.post("/api/v1/certificates/rotate", {"what": "server"})
        listed = (await client.get("/api/v1/certificates")).json()["items"]
        assert [each["state"] for each in listed if each["own"]] == ["good", "good"]
