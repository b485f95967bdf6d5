"""Reconciler: what the site wants is what the data plane enforces."""

from dsn.enforce.apply import Enforcer
from shared.tasks.loop import Outcome


class EnforceWanted:
    name = "enforce"

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer

    async def reconcile(self) -> Outcome:
        """Take the steps that are missing; raises what stops one."""
        return Outcome(changed=await self._enforcer.enforce())
