"""Which of upstream's removals take effect, and which wait for a person.  Pure.

A removal that is said takes effect at once, unless one step takes so much that it is more
likely a mistake than a wish.  What merely doesn't appear in a snapshot was never said to be
removed: it is held, that is, still enforced and reported, until a person drops it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope

RemovalReason = Literal["deleted", "deselected", "unsubscribed"]
Cause = Literal["missing", "large_removal"]

# Only these can take rules away by going.
RULE_BEARING: Final = frozenset({"SecurityPolicy", "Network", "Service", "Site", "Region"})

# A person confirms a step that takes at least so many rules and more than this share of them.
LARGE_COUNT: Final = 10
LARGE_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Held:
    """An inherited object that upstream no longer has, and that is enforced all the same."""

    key: Key
    cause: Cause
    reason: RemovalReason | None = None


def is_large(*, removed: int, enforced: int) -> bool:
    """Return whether a step that takes `removed` of `enforced` rules needs a person."""
    return removed >= LARGE_COUNT and removed > enforced * LARGE_SHARE


def takes_much(
    site: str, documents: Iterable[Document], gone: Collection[Key], *, now: datetime
) -> bool:
    """Return whether taking `gone` away from a site's documents needs a person.

    Counted are the rules that go and are enforced in some view of the site: also those that are
    left without a name that they use.
    """
    before = list(documents)
    after = [each for each in before if each.key not in gone]
    enforced, left = (enforced_rules(_inputs(site, each, now)) for each in (before, after))
    return is_large(removed=removed_rules(enforced, left), enforced=len(enforced))


def enforced_rules(inputs: SiteInputs) -> frozenset[tuple[str, ...]]:
    """Return the rules installed in any view of a site, each named by where it comes from."""
    planner = SitePlanner(inputs)
    if planner.places.document is None:
        return frozenset()
    nodes = (nodes[0] for nodes in planner.distinct_nodes().values())
    return frozenset(
        (rule.tier, rule.tenant, rule.policy, rule.rule, rule.origin)
        for node in (None, *nodes)
        for rule in planner.plan(node).rules
    )


def missing_in(
    inherited: Iterable[Key], listed: Collection[Key], buried: Collection[Key]
) -> list[Key]:
    """Return the inherited objects that a snapshot neither contains nor buries."""
    return [key for key in inherited if key not in listed and key not in buried]


def removed_rules(before: Collection[tuple[str, ...]], after: Collection[tuple[str, ...]]) -> int:
    """Count the enforced rules, named by their provenance, that a step takes away."""
    return len(set(before) - set(after))


def _inputs(site: str, documents: Iterable[Document], now: datetime) -> SiteInputs:
    inherited: list[Document] = []
    local: list[Document] = []
    for each in documents:
        (inherited if is_inherited_scope(each.key.scope) else local).append(each)
    return SiteInputs(site, Documents(inherited), Documents(local), now)


def to_record(held: Held, *, since: str) -> Mapping[str, str | None]:
    """Return what is kept of a held object; `since` is a time, for people."""
    return {**held.key._asdict(), "cause": held.cause, "reason": held.reason, "since": since}


def record_name(key: Key) -> str:
    """Return the name under which something about an object is recorded.

    No part of a key holds a slash but a scope, which stands last for that reason.
    """
    return f"{key.kind}/{key.tenant}/{key.name}/{key.scope}"
