"""All conflicts of a compiled site.

In two steps, since the second may take a second at a large site and needs nothing of the planner.
"""

from collections.abc import Iterator, Sequence

from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.contradicts_mandatory import contradicts_mandatory
from shared.policy.conflicts.deleted_upstream import deleted_upstream
from shared.policy.conflicts.edited_both import edited_both
from shared.policy.conflicts.name_taken import name_taken
from shared.policy.conflicts.shadowed_rule import shadowed_rule
from shared.policy.conflicts.unresolved_name import unresolved_name
from shared.policy.shadows.rules import ResolvedRule, resolved_rules
from shared.policy.shadows.site import Shadows


def conflicts_of_documents(
    planner: SitePlanner,
) -> tuple[Sequence[Finding], Sequence[ResolvedRule]]:
    """Return the conflicts that documents and names show, and the rules of the site's own view."""
    return tuple(_of_documents(planner)), resolved_rules(planner.plan())


def conflicts_of_rules(rules: Sequence[ResolvedRule]) -> Sequence[Finding]:
    """Return the conflicts that a view's installed rules show, in order of evaluation."""
    found = tuple(Shadows(rules).findings)
    return *contradicts_mandatory(found), *shadowed_rule(found)


def find_conflicts(planner: SitePlanner) -> Sequence[Finding]:
    """Return every conflict of the site, each identity once, in a fixed order."""
    found, rules = conflicts_of_documents(planner)
    return *found, *conflicts_of_rules(rules)


def _of_documents(planner: SitePlanner) -> Iterator[Finding]:
    yield from edited_both(planner)
    yield from deleted_upstream(planner)
    yield from name_taken(planner)
    yield from unresolved_name(planner)
