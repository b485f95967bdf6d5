"""The ways out of a conflict, each with what it writes: made when somebody asks.

A conflict says which there are; what each comes to depends on the site as it is now.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.ways.asking import NAME as ASK
from shared.policy.ways.asking import asked_for
from shared.policy.ways.contract import Barred, Terms, Way
from shared.policy.ways.exceptions import (
    is_current,
    of_deleted_upstream,
    of_edited_both,
    of_name_taken,
    of_upstream_went_back,
    of_what_is_meant,
)
from shared.policy.ways.narrowed import narrowed_exception
from shared.policy.ways.rules import of_contradicts_mandatory, of_shadowed_rule

JSON = Mapping[str, Any]

_Make = Callable[[SitePlanner, Conflict, JSON, Terms], Way | Barred]

_TYPES: Final[Mapping[str, _Make]] = {
    "edited_both": of_edited_both,
    "deleted_upstream": of_deleted_upstream,
    "name_taken": of_name_taken,
    "upstream_went_back": of_upstream_went_back,
    "contradicts_mandatory": of_contradicts_mandatory,
    "shadowed_rule": of_shadowed_rule,
    "overlapping_networks": of_what_is_meant,
    "nodes_disagree": of_what_is_meant,
}
_SIDES: Final = frozenset({"edited_both", "deleted_upstream", "name_taken", "upstream_went_back"})
"""Types that hold both sides' versions, which must still be what the sides say."""


def is_outdated(planner: SitePlanner, conflict: Conflict) -> bool:
    """Return whether a side has changed since the conflict was found."""
    return conflict.type in _SIDES and not is_current(planner, conflict)


def way_out(
    planner: SitePlanner, conflict: Conflict, name: str, terms: Terms | None = None
) -> Way | Barred | None:
    """Return what a proposal comes to; None if the conflict doesn't make it."""
    proposal: JSON | None = next(
        (each for each in conflict.proposals if each["name"] == name), None
    )
    make = _TYPES.get(conflict.type)
    if proposal is None or make is None:
        return None
    if conflict.type == "edited_both" and name == "narrow":
        make = narrowed_exception
    if name == ASK:
        make = asked_for
    return make(planner, conflict, proposal, terms or Terms())


def ways_out(planner: SitePlanner, conflict: Conflict) -> Iterator[Way | Barred]:
    """Yield every way out of a conflict, in the order in which it proposes them."""
    for each in conflict.proposals:
        way = way_out(planner, conflict, str(each["name"]))
        if way is not None:
            yield way
