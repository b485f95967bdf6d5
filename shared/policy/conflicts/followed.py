"""The conflicts of a loaded site, following its changes: what a change costs is what it touches.

What is found is what detect.py finds from nothing; tests hold the two together over random edits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from shared.ids import Key
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import conflicts_among_rules
from shared.policy.conflicts.documents import NamedConflicts
from shared.policy.conflicts.grouping import Group, Grouping
from shared.policy.conflicts.overlapping_networks import overlapping_networks
from shared.policy.conflicts.remarks import NO_REMARKS, Remarks
from shared.policy.conflicts.unresolved_name import Missing, missing_in_views, unresolved_name
from shared.policy.inputs import Document
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.view import LoadedView
from shared.policy.overlapping import FollowedOverlaps, Meanings
from shared.policy.shadows.findings import Finding as RuleFinding
from shared.policy.shadows.loaded import LoadedRules
from shared.policy.shadows.rules import ResolvedRule
from shared.policy.shadows.site import Shadows

Object = TypeVar("Object")


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """What is in force at a site, as far as conflicts are about it: a value that stays as it is.

    `rules` are the installed ones of the site's own view in order of evaluation; those that are as
    they were are the same objects as before.
    """

    rules: Sequence[ResolvedRule]
    missing: Sequence[Missing]
    meanings: Meanings
    """What networks mean in that view; the same objects again while they mean the same."""


class RulesInForce:
    """Looks at a loaded site that has its own view, again and again."""

    def __init__(self) -> None:
        self._known: tuple[LoadedView, LoadedRules] | None = None

    def look(self, site: LoadedSite) -> InForce:
        view = site.view
        if self._known is None or self._known[0] is not view:
            self._known = view, LoadedRules(view)
        rules = self._known[1].current()
        return InForce(rules, tuple(missing_in_views(site)), dict(view.names.meanings))


class FollowedConflicts(Generic[Object]):
    """All conflicts of a site that one change can bring or end."""

    def __init__(
        self,
        site: str,
        *,
        read: Callable[[Object], Document],
        groups: Iterable[Group] = (),
    ) -> None:
        """`read` makes documents of objects, as far as they are needed; `groups` are the policies
        that had one conflict for many of their rules.
        """
        self._grouping: Final = Grouping(groups)
        self._named: Final = NamedConflicts(site, read=read)
        self._overlaps: Final = FollowedOverlaps()
        self._shadows: Shadows | None = None
        self._told: dict[RuleFinding, Sequence[Finding]] = {}

    def update(
        self,
        objects: Mapping[Key, Object],
        in_force: InForce,
        now: datetime,
        remarks: Remarks = NO_REMARKS,
    ) -> list[Finding]:
        """Follow to what the site is now, and return what there is, each identity once.

        Objects that are as they were the last time must be the same ones; NotFound
        (`unknown_site`) without the Site.  After any error begin anew.
        """
        self._named.update(objects, now, remarks)
        if self._shadows is None:
            self._shadows = Shadows(in_force.rules)
        else:
            self._shadows.update(in_force.rules)
        self._overlaps.update(in_force.rules, in_force.meanings)
        return [
            *self._named.findings,
            *unresolved_name(in_force.missing),
            *overlapping_networks(self._overlaps.overlaps.findings),
            *self._grouping.grouped(self._among_rules(self._shadows.findings)),
        ]

    def _among_rules(self, found: Iterable[RuleFinding]) -> Iterator[Finding]:
        before, self._told = self._told, {}
        for each in found:
            told = before.get(each)
            if told is None:
                told = tuple(conflicts_among_rules([each]))
            self._told[each] = told
            yield from told
