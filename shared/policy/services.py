"""Which network services a node must, may and does run.

One ServicePolicy counts at a time, of the tenant common: mandatory ones go first, the federation's
before an outer region's before an inner one's; else the nearest; of several in one place the first
by name.  The firewall is no choice: every admitted node runs it.  Another service runs where the
node declares it and the policy lists it; one that isn't listed doesn't run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from shared.ids import COMMON
from shared.model.settings_policies import ServicePolicy
from shared.policy.balancers import FIREWALL
from shared.policy.balancers import SERVICE as LOAD_BALANCER
from shared.policy.definitions import Name
from shared.policy.inherit import Effective, Inheritance
from shared.policy.scopes import Chain

KIND: Final = "ServicePolicy"
KNOWN: Final = (FIREWALL, LOAD_BALANCER)
"""The services that an agent of this release can run."""

Requirement = Literal["mandatory", "optional"]


@dataclass(frozen=True, slots=True)
class Requirements:
    """What counts along one chain; `effective` is None where there is no ServicePolicy."""

    services: Mapping[str, Requirement] = field(default_factory=dict, hash=False)
    effective: Effective | None = None

    @property
    def mandatory(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, how in self.services.items() if how == "mandatory"))

    def runs(self, declared: Iterable[str]) -> tuple[str, ...]:
        """Return the services that an admitted node with this declaration has to run."""
        wanted = set(declared)
        return tuple(
            each for each in KNOWN if each == FIREWALL or (each in wanted and each in self.services)
        )

    def missing(self, declared: Iterable[str]) -> tuple[str, ...]:
        """Return the mandatory services that a node with this declaration can't be running."""
        running = self.runs(declared)
        return tuple(each for each in self.mandatory if each not in running)


NO_REQUIREMENTS: Final = Requirements()


def requirements(inheritance: Inheritance, names: Iterable[Name], chain: Chain) -> Requirements:
    """Return what the ServicePolicies of these names come to along a chain."""
    found = sorted(_effective(inheritance, names, chain), key=lambda each: each[0])
    for _, effective in found:
        if isinstance(effective.spec, ServicePolicy):
            return Requirements(effective.spec.services, effective)
    return NO_REQUIREMENTS


def _effective(
    inheritance: Inheritance, names: Iterable[Name], chain: Chain
) -> Iterator[tuple[tuple[bool, int, str], Effective]]:
    for name in names:
        if name.tenant != COMMON:
            continue
        effective = inheritance.choose(name, chain).effective
        if effective is not None:
            yield settings_rank(effective, chain, name.name), effective


def settings_rank(effective: Effective, chain: Chain, name: str) -> tuple[bool, int, str]:
    """Return what puts settings of several names in the order in which they count."""
    place = chain.index(effective.document.key.scope)
    mandatory = effective.is_mandatory
    return not mandatory, -place if mandatory else place, name
