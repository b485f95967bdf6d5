"""`shadowed_rule`: no packet reaches a rule, since those that come before decide all of them.

Facts: the `rule`, its `tier`, `by` which rules (`byOthers`: also by other tenants'), whether they
decide `alike`, `otherwise` or `both`, and where one is decided otherwise an `example`.
"""

from collections.abc import Iterator, Sequence

from shared.policy.conflicts.contract import Finding, Proposal
from shared.policy.conflicts.rules import name_of, told
from shared.policy.inherit import OVERRIDE
from shared.policy.inputs import is_inherited_scope
from shared.policy.shadows.findings import Finding as RuleFinding
from shared.policy.shadows.findings import Shadowed
from shared.policy.shadows.rules import RuleName


def shadowed_rule(found: Sequence[RuleFinding]) -> Iterator[Finding]:
    for each in found:
        if isinstance(each, Shadowed) and not _is_excepted(each):
            yield Finding(
                "shadowed_rule",
                name_of(each.rule),
                each.rule.rule,
                urgency="deferrable" if each.decided == "alike" else "normal",
                facts={**told(each.rule, each.by, each.example), "decided": each.decided},
                proposals=ways(each.rule),
            )


def ways(rule: RuleName) -> tuple[Proposal, ...]:
    """Return the ways out: an inherited rule is not the site's to remove."""
    keep = Proposal("keepLocal")
    return (keep,) if is_inherited_scope(rule.origin) else (Proposal("acceptGlobal"), keep)


def _is_excepted(found: Shadowed) -> bool:
    """Return whether this is what an exception is for.

    A rule that one puts in front of the inherited ones comes before those; and where it lets a
    rule of the site's own count, that one stands for the time after the exception.
    """
    if any(each.origin != OVERRIDE for each in found.by):
        return False
    if found.rule.origin == OVERRIDE:
        own = (found.rule.tenant, found.rule.policy)
        return all((each.tenant, each.policy) == own for each in found.by)
    return found.decided == "alike" and found.rule.is_own
