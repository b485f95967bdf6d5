"""`mandatory_service_missing`: a node doesn't run a network service that it must run.

It doesn't declare it, or it declares it and doesn't run it all the same: its agent can't, or has
refused the configuration.  A node that hasn't been heard of its newest configuration is given the
benefit of the doubt.  The conflict is about the policy, one for each service and node.

Facts: the `service`, the `node`, `why` (`undeclared`, `notRunning`), how many of the node's
workloads are without the service (`workloadCount`), and up to a hundred `workloads` by name: those
of tenant common, for of other tenants' it tells their number only.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, cast

from shared.ids import COMMON
from shared.model.inventory import Workload
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.definitions import name_of
from shared.policy.inputs import Document

_TOLD: Final = 100

Running = Mapping[str, Collection[str]]
"""By node, the services that it runs now; a node whose word is out is left out."""

NOBODY_HEARD: Final[Running] = {}


def mandatory_service_missing(planner: SitePlanner, running: Running) -> Iterator[Finding]:
    workloads: Mapping[str, list[Document]] | None = None
    for name, node in planner.places.nodes.items():
        if node.admission != "admitted":
            continue
        required = planner.requirements(name)
        for service in required.mandatory:
            if service in required.missing(node.services):
                why = "undeclared"
            elif name in running and service not in running[name]:
                why = "notRunning"
            else:
                continue
            assert required.effective is not None, "somebody asks for it"
            workloads = workloads if workloads is not None else _by_node(planner)
            without = workloads.get(name, [])
            yield Finding(
                "mandatory_service_missing",
                name_of(required.effective.document.key),
                f"{service}/{name}",
                urgency="immediate" if without else "normal",
                facts={
                    "service": service,
                    "node": name,
                    "why": why,
                    "workloads": _told(without),
                    "workloadCount": len(without),
                },
            )


def _told(workloads: Sequence[Document]) -> list[str]:
    names = (each.key.name for each in workloads if each.key.tenant == COMMON)
    return sorted(names)[:_TOLD]


def _by_node(planner: SitePlanner) -> Mapping[str, list[Document]]:
    found: dict[str, list[Document]] = {}
    for document in planner.workloads.documents:
        node = cast("Workload", document.spec).node
        if node is not None:
            found.setdefault(node, []).append(document)
    return found
