"""`overlapping_networks`: two names with different rules share addresses or a VLAN.

Networks that installed rules name in the site's own view, selected ones too.  They have different
rules unless the same rules have both, on the same side.  One that lies wholly inside the other, in
each family of which they share addresses, is taken for a part of it, as a subnet of a campus is,
and no conflict.  One that has just the same addresses, or some of the other's and some beside, is;
and so are two on one VLAN, whatever their addresses.

The conflict is about the lesser name, or of a tenant's network and one of `common` about the
tenant's.  Facts: the `other` network, how the addresses of this one lie to its (`part`: same,
partly, inside, around, nothing), the first `shared` CIDRs, and the `vlan`.  Two tenants that share
a VLAN have a conflict each, which doesn't say with whom.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from shared.ids import COMMON
from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.definitions import Name
from shared.policy.overlaps import Overlap

WAYS: Final = (Proposal("keepLocal"),)

_TOLD: Final = 10
"""So many CIDRs are told."""


def overlapping_networks(overlaps: Iterable[Overlap]) -> Iterator[Finding]:
    between_tenants: dict[tuple[Name, str], Finding] = {}
    for each in overlaps:
        if each.part not in ("same", "partly") and each.vlan is None:
            continue
        one, other = each.one, each.other
        if one.tenant == other.tenant:
            yield _finding(each, one, other)
        elif COMMON in (one.tenant, other.tenant):
            own, common = (other, one) if one.tenant == COMMON else (one, other)
            yield _finding(each, own, common)
        else:
            for name in (one, other):
                finding = _between_tenants(each, name)
                between_tenants[name, finding.subject] = finding
    yield from between_tenants.values()


def _finding(overlap: Overlap, own: Name, other: Name) -> Finding:
    turned = {"inside": "around", "around": "inside"}
    part = overlap.part if overlap.one == own else turned.get(overlap.part, overlap.part)
    return Finding(
        "overlapping_networks",
        own,
        f"{other.tenant}/{other.name}",
        facts={
            "other": {"name": other.name, "tenant": other.tenant},
            "part": part,
            "shared": list(overlap.shared.cidrs()[:_TOLD]),
            "vlan": overlap.vlan,
        },
        proposals=WAYS,
    )


def _between_tenants(overlap: Overlap, name: Name) -> Finding:
    """Return what one tenant may know.  Addresses of two tenants can't be the same: it is refused
    to write them.
    """
    subject = "addresses" if overlap.vlan is None else f"vlan/{overlap.vlan}"
    facts = {"other": None, "vlan": overlap.vlan}
    return Finding("overlapping_networks", name, subject, facts=facts, proposals=WAYS)
