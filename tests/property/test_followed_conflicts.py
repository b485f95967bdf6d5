"""Conflicts that follow a loaded site are after any edit those that are found from nothing."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.conflicts import documents, followed
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.detect import conflicts_among_views, find_conflicts
from shared.policy.conflicts.documents import NamedConflicts
from shared.policy.conflicts.followed import FollowedConflicts, RulesInForce
from shared.policy.conflicts.remarks import NO_REMARKS, Remarks, WentBack
from shared.policy.conflicts.unresolved_name import _missing_in
from shared.policy.definitions import INHERITED_KINDS
from shared.policy.inputs import Document, SiteInputs, is_inherited_scope
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import sources_of
from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.loaded_edits import Edit, any_edit
from tests.property.loaded_worlds import Held
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

STEPS = 10
WITHIN = 40
"""Worlds within which each bug must show."""


def itself(document: Document) -> Document:
    return document


class Followed(Held):
    """A loaded site with its conflicts, and its settings, which don't load."""

    def __init__(self, inputs: SiteInputs) -> None:
        super().__init__(inputs)
        for given_here, inherited in ((inputs.federation, True), (inputs.local, False)):
            for each in given_here:
                at_home = is_inherited_scope(each.key.scope) is inherited
                if at_home and each.key.kind in INHERITED_KINDS:
                    self.documents[each.key] = each
        self.site = LoadedSite(SITE, sources_of(self.inputs()), now=self.now, own_view=True)
        self.in_force = RulesInForce()
        self.conflicts = FollowedConflicts(SITE, read=itself)

    def compare(self, remarks: Remarks = NO_REMARKS) -> list[Finding]:
        """Hold what is followed against what is found from nothing."""
        objects = dict(self.documents)
        in_force = self.in_force.look(self.site)
        found = self.conflicts.update(objects, in_force, self.now, remarks)
        planner = SitePlanner(self.inputs())
        reviewed = list(conflicts_among_views(planner))
        fresh = find_conflicts(planner, remarks)
        assert by_name([*found, *reviewed]) == by_name(fresh)
        assert len(found) + len(reviewed) == len(fresh)
        return found


def by_name(found: Any) -> dict[tuple[str, str], Finding]:
    return {(each.owner, each.name): each for each in found}


def follow(choose: Choices, seed: int) -> set[str]:
    """Edit a world, compare after each edit; return the types that there were."""
    held = Followed(site_inputs(rolled_world(seed), SITE, NOW))
    types = {each.type for each in held.compare()}
    for _ in range(STEPS):
        edit = setting(choose) if choose.chance(40) else any_edit(choose, held, ())
        edit.carry_out(held)
        types |= {each.type for each in held.compare(noted(choose, held))}
    return types


SETTINGS: dict[str, list[dict[str, Any]]] = {
    "AuthenticationPolicy": [{"localUsers": "forbidden"}, {"localUsers": "forbidden"}, {}],
    "BackupPolicy": [{"schedule": "0 1 * * *"}, {"schedule": "0 2 * * *"}],
    "User": [{"credential": "c"}, {"credential": "c"}, {"credential": "c", "disabled": True}],
}


def setting(choose: Choices) -> Edit:
    """Put or delete something that the settings' conflicts are about."""
    kind = choose.pick(tuple(SETTINGS))
    scope = "site" if kind == "User" else choose.pick(("federation", "site"))
    spec = dict(choose.pick(SETTINGS[kind]))
    if scope == "federation":
        spec["enforcement"] = choose.pick(("mandatory", "mandatory", "default"))
    key = Key(kind, "common", scope, choose.pick(("one", "two")))
    if choose.chance(15):
        return Edit([], [key])
    return Edit([Document(key, KINDS[kind].spec.model_validate(spec))], [])


def noted(choose: Choices, held: Held) -> Remarks:
    """Draw what may have been noted of some inherited policies: what they are, and were."""
    keys = sorted(key for key in held.documents if key.kind == "SecurityPolicy")
    inherited = [key for key in keys if is_inherited_scope(key.scope)]
    local = [held.documents[key] for key in keys if not is_inherited_scope(key.scope)]
    if not inherited or not local:
        return NO_REMARKS
    there = {each.key.scope: cast("int", each.revision) for each in local}
    known = choose.pick(local).spec.to_json()
    return Remarks(
        {choose.pick(inherited): there for _ in range(choose.number(0, 2))},
        {choose.pick(inherited): WentBack(2, 1, known) for _ in range(choose.number(0, 2))},
    )


def test_after_edits_of_every_kind_conflicts_are_those_found_from_nothing() -> None:
    types: set[str] = set()
    for seed in rolls(60):
        types |= follow(Rolled(seed), seed)
    assert types >= {
        "edited_both",
        "deleted_upstream",
        "name_taken",
        "unresolved_name",
        "shadowed_rule",
        "contradicts_mandatory",
        "upstream_went_back",
        "local_login_forbidden",
        "schedule_differs",
        "overlapping_networks",
    }


@given(st.integers(0, 10_000), st.data())
def test_conflicts_follow_drawn_edits(seed: int, data: st.DataObject) -> None:
    follow(Drawn(data.draw), seed)


def test_of_a_large_site_only_what_a_change_touches_is_read() -> None:
    read: list[Key] = []

    def reading(document: Document) -> Document:
        read.append(document.key)
        return document

    def document(kind: str, scope: str, name: str, spec: Any) -> Document:
        key = Key(kind, "common", scope, name)
        return Document(key, KINDS[kind].spec.model_validate(spec))

    rules = [{"name": "r", "from": "any", "to": "any", "action": "allow"}]
    mandatory = {"enforcement": "mandatory", "rules": rules}
    given = [
        document("Site", "federation", "s1", {}),
        *(document("SecurityPolicy", "federation", f"p{n}", mandatory) for n in range(50)),
        *(document("SecurityPolicy", "site", f"p{n}", {"rules": rules}) for n in range(20)),
    ]
    objects = {each.key: each for each in given}
    conflicts = NamedConflicts("s1", read=reading)
    conflicts.update(objects, NOW)
    assert len([*conflicts.findings]) == 20
    read.clear()
    changed = document("SecurityPolicy", "site", "p7", {"rules": [rules[0] | {"action": "deny"}]})
    conflicts.update({**objects, changed.key: changed}, NOW)
    assert {key.name for key in read} == {"s1", "p7"}
    assert len([*conflicts.findings]) == 20


BUGS: dict[str, tuple[Any, str, Any]] = {
    "time does not pass": (
        NamedConflicts,
        "_pass_time",
        lambda self, now, _: setattr(self, "_now", now),
    ),
    "nodes don't count": (documents, "_PLACES", frozenset({"Site", "Region"})),
    "what was noted doesn't count": (
        NamedConflicts,
        "_is_remarkable",
        lambda self, name: any(key.kind == "Override" for key in self._keys.get(name, ())),
    ),
    "users don't count": (
        documents,
        "KINDS_OF_SETTINGS",
        frozenset({"AuthenticationPolicy", "BackupPolicy"}),
    ),
    "only the site's own view misses names": (
        followed,
        "missing_in_views",
        lambda site: _missing_in(site.view, enforces=not site.nodes),
    ),
}


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
def test_a_bug_in_the_following_is_noticed(
    bug: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*bug)
    with pytest.raises(AssertionError):
        follow_worlds()


def follow_worlds() -> None:
    for seed in range(WITHIN):
        follow(Rolled(seed), seed)
