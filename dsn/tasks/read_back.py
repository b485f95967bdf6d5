"""Reconciler: what the data plane enforces is what it was told, whoever else writes there."""

from dsn.enforce.apply import Enforcer
from shared.tasks.loop import Outcome


class RepairDrift:
    name = "read back"

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer

    async def reconcile(self) -> Outcome:
        """Read back, report and repair drift; raises what the data plane raises."""
        drifted = await self._enforcer.verify()
        return Outcome(changed=int(drifted))
