"""All conflicts of a planned site, from nothing; followed.py keeps them up to date."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from shared.errors import TooLarge
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.contradicts_mandatory import contradicts_mandatory
from shared.policy.conflicts.documents import conflicts_of_names
from shared.policy.conflicts.grouping import Grouping
from shared.policy.conflicts.mandatory_service_missing import (
    NOBODY_HEARD,
    Running,
    mandatory_service_missing,
)
from shared.policy.conflicts.narrow_rules import conflicts_of_narrow_rules
from shared.policy.conflicts.nodes_disagree import nodes_disagree
from shared.policy.conflicts.overlapping_networks import overlapping_networks
from shared.policy.conflicts.remarks import NO_REMARKS, Remarks
from shared.policy.conflicts.settings import conflicts_of_settings
from shared.policy.conflicts.shadowed_rule import shadowed_rule
from shared.policy.conflicts.unresolved_name import missing_in_plans, unresolved_name
from shared.policy.overlaps import Overlaps, used_networks
from shared.policy.shadows.findings import Finding as RuleFinding
from shared.policy.shadows.rules import resolved_rules
from shared.policy.shadows.site import Shadows


def find_conflicts(
    planner: SitePlanner, remarks: Remarks = NO_REMARKS, running: Running = NOBODY_HEARD
) -> Sequence[Finding]:
    """Return every conflict of the site, each identity once, in a fixed order.

    `running` says which network services nodes run, as far as that is known.
    """
    rules = resolved_rules(planner.plan())
    return (
        *conflicts_of_names(planner, remarks),
        *conflicts_of_settings(planner),
        *unresolved_name(missing_in_plans(planner)),
        *overlapping_networks(Overlaps(used_networks(planner.plan())).findings),
        *Grouping().grouped(conflicts_among_rules(tuple(Shadows(rules).findings))),
        *conflicts_among_views(planner),
        *mandatory_service_missing(planner, running),
    )


def conflicts_among_views(planner: SitePlanner) -> Iterator[Finding]:
    """Yield the conflicts that only a review of the whole site tells."""
    yield from conflicts_of_narrow_rules(planner)
    with suppress(TooLarge):
        # Nothing can be said of packets that are too intricate.
        yield from nodes_disagree(planner)


def conflicts_among_rules(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    """Yield the conflicts that findings about rules are."""
    yield from contradicts_mandatory(found)
    yield from shadowed_rule(found)
