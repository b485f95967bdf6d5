"""The flows of the past that impacts are told of, as far as the site has any and one may know."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Self

from sdsp.site.sight import Tenants
from shared.algebra.cidrs import NOWHERE, AddressSet
from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import COMMON
from shared.model.inventory import Workload
from shared.model.network import Network
from shared.policy.definitions import read_exemption, target_of
from shared.policy.flow_columns import Observed
from shared.policy.inputs import SiteInputs
from shared.policy.resolve import cidr_addresses, host_addresses
from shared.telemetry.recorded import RecordedFlows


@dataclass(frozen=True, slots=True)
class Past:
    """Observed flows; None where none are recorded, or, as `unreadable` says, can't be read."""

    observed: Observed | None = None
    unreadable: str | None = None

    def told(self, impact: dict[str, Any]) -> dict[str, Any]:
        """Return an impact's answer with why its flows are not told, if they are not."""
        if self.unreadable is None:
            return impact
        return {**impact, "flows": {"unreadable": self.unreadable}}

    def shown_to(self, tenants: Tenants, inputs: SiteInputs) -> Self:
        """Return what people of some tenants may know of: flows with an end among the tenants' own
        addresses, and none among another tenant's.
        """
        if tenants is None or self.observed is None:
            return self
        owned = _owned(inputs)
        mine = NOWHERE.union(*(owned[each] for each in owned.keys() & tenants))
        theirs = NOWHERE.union(*(owned[each] for each in owned.keys() - tenants - {COMMON}))
        flows = self.observed.flows
        source, destination = flows.ends_in(mine)
        other_source, other_destination = flows.ends_in(theirs)
        kept = (source | destination) & ~(other_source | other_destination)
        return replace(self, observed=replace(self.observed, flows=flows.where(kept)))


def _owned(inputs: SiteInputs) -> dict[str, AddressSet]:
    """Return the addresses that are each tenant's in any view of the site."""
    found: dict[str, list[AddressSet]] = {}
    for document in inputs:
        spec, tenant = document.spec, document.key.tenant
        if (exemption := read_exemption(document)) is not None:
            spec, tenant = exemption.spec, target_of(exemption.terms).tenant
        if isinstance(spec, Network):
            found.setdefault(tenant, []).append(cidr_addresses(spec.subnets))
        elif isinstance(spec, Workload):
            found.setdefault(tenant, []).append(host_addresses([document]))
    return {tenant: NOWHERE.union(*sets) for tenant, sets in found.items()}


class PastFlows:
    """Reads the flows of a window that ends now; it may take seconds."""

    def __init__(
        self,
        recorded: RecordedFlows | None,
        *,
        window: timedelta,
        executor: Executor,
        clock: Clock,
    ) -> None:
        """`executor` is where they are read: nothing that people wait for should stand behind."""
        self._recorded: Final = recorded
        self._window = window
        self._executor = executor
        self._clock = clock

    async def read(self) -> Past:
        if self._recorded is None:
            return Past()
        since = self._clock.now() - self._window
        loop = asyncio.get_running_loop()
        try:
            return Past(await loop.run_in_executor(self._executor, self._recorded.since, since))
        except HanseError as exc:
            # What a proposal does to packets is worth telling all the same.
            faults = "; ".join(str(each) for each in exc.fields[:1])
            return Past(unreadable=f"{exc.message}: {faults}" if faults else exc.message)
