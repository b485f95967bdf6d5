"""Which nodes are let in: those that a person admits, or that a rule of a person's speaks of."""

from pathlib import Path

from tests.integration.road.world import RoadSite


async def test_a_node_is_admitted_by_a_rule_or_waits_for_a_person(
    site: RoadSite, tmp_path: Path
) -> None:
    await site.put("Network", "A", {"subnets": ["10.0.0.0/24"]})
    await site.put("NodeGroup", "rack-7", {})
    rule = {"nodes": {}, "names": ["node-1"], "groups": ["rack-7"]}
    await site.put("AdmissionRule", "rack-7", rule)

    await site.join_node("node-1", tmp_path / "n1")
    await site.join_node("node-2", tmp_path / "n2")
    assert (await site.node("node-1"))["admission"] == "admitted"
    assert (await site.api.get("Node", "node-1")).spec["groups"] == ["rack-7"]
    assert (await site.node("node-2"))["admission"] == "pending"

    async with site.agent(tmp_path / "n1"), site.agent(tmp_path / "n2"):
        await site.until_node("node-1", state="realised", connected=True)
        assert (await site.node("node-2"))["wanted"] is None
        await site.api.patch("Node", "node-2", {"spec": {"admission": "admitted"}})
        await site.until_node("node-2", state="realised", connected=True)
        # Whoever is put out is put out at once, and keeps what it enforced.
        await site.api.patch("Node", "node-1", {"spec": {"admission": "refused"}})
        await site.until_node("node-1", state="refused", connected=False)
