"""Policy that a node can't apply.

NACK with the reason; the last good one goes on.  Here: a node that for a while can apply nothing.
Also: tests/integration/road/test_refusals.py (refused by the data plane, told at site and FSM),
tests/integration/dsn/test_agent.py (of a later version, not enforceable),
tests/unit/dsn/enforce/test_apply.py, tests/contract/test_dataplane.py (a refused batch leaves the
kernel as it was).
"""

from pathlib import Path

from shared.failpoints import armed
from tests.integration.fsm.harness import FSM
from tests.integration.road.test_refusals import REJECT
from tests.integration.road.world import HurriedClock, RoadSite


async def test_a_node_that_can_apply_nothing_says_so_and_catches_up_by_itself(
    fsm: FSM, site: RoadSite, tmp_path: Path
) -> None:
    await site.populate()
    await site.join_node("node-1", tmp_path / "n1")
    async with site.agent(tmp_path / "n1", clock=HurriedClock()):
        good = await site.until_node("node-1", state="realised")
        with armed("dsn.apply.before=raise"):
            await fsm.admin().put("securitypolicies", "p", REJECT)
            failed = await site.until_node("node-1", state="failed")
            assert failed["code"] == "unavailable"
            assert failed["hash"] == failed["readBack"] == good["hash"]
        # Nobody writes anything: the node tries again.
        healed = await site.until_node("node-1", state="realised")
        assert healed["readBack"] == healed["wanted"]["hash"] != good["hash"]
