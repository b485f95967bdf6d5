"""What a Site that is deleted leaves behind: nothing that counts for a later one of its name."""

from collections.abc import Sequence

from shared.clock import Clock
from shared.enrolment.register import drop_tokens, revoke_live
from shared.ids import FEDERATION
from shared.objects.service import Written
from shared.pki.identity import SpiffeId, TrustDomain
from shared.pki.jointoken import JoinKind
from shared.store.contract import Operation, Transaction


class DepartedSites:
    """Revokes a deleted site's certificates, and voids its tokens, in the deleting transaction."""

    def __init__(self, trust_domain: TrustDomain, *, clock: Clock) -> None:
        self._trust_domain = trust_domain
        self._clock = clock

    async def after_writes(self, transaction: Transaction, written: Sequence[Written]) -> None:
        deleted = [
            each.stored.key.name
            for each in written
            if each.operation is Operation.DELETE and each.stored.key.kind == "Site"
        ]
        if not deleted:
            return
        now = self._clock.now()
        for site in deleted:
            identity = str(SpiffeId.sdsp(self._trust_domain, site))
            reason = f"Site {site} was deleted"
            await revoke_live(transaction, identity, scope=FEDERATION, now=now, reason=reason)
        await drop_tokens(transaction, JoinKind.SDSP, deleted)
