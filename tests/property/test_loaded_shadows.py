"""Shadows follow a loaded site: after any edit they are those of a fresh plan."""

from shared.policy.compile import plan
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import Source, sources_of
from shared.policy.shadows.loaded import LoadedRules
from shared.policy.shadows.rules import resolved_rules
from shared.policy.shadows.site import Shadows
from tests.property.choices import Rolled
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.loaded_edits import any_edit
from tests.property.loaded_worlds import Held
from tests.property.planner_worlds import site_inputs
from tests.property.profile import rolls

STEPS = 12


class WithOwnView(Held):
    """A loaded site that has its own view as well."""

    def load(self) -> None:
        self.site = LoadedSite(SITE, sources_of(self.inputs()), now=self.now, own_view=True)
        self.rules = LoadedRules(self.site.view)
        self.shadows = Shadows(self.rules.current())

    def follow(self) -> None:
        if self.rules._view is not self.site.view:
            self.rules = LoadedRules(self.site.view)
        before = [*self.shadows.findings]
        rules = self.rules.current()
        changes = self.shadows.update(rules)
        assert rules == resolved_rules(plan(self.inputs()))
        after = [*Shadows(rules).findings]
        assert [*self.shadows.findings] == after
        assert set(changes.opened) == set(after) - set(before)
        assert set(changes.closed) == set(before) - set(after)


def test_after_edits_of_every_kind_findings_are_those_of_a_fresh_plan() -> None:
    found = 0
    for seed in rolls(25):
        choose = Rolled(seed)
        held = WithOwnView(site_inputs(rolled_world(seed), SITE, NOW))
        held.load()
        for _ in range(STEPS):
            any_edit(choose, held, ()).carry_out(held)
            held.follow()
            found += len([*held.shadows.findings])
        held.check()
    assert found > 50


def test_rules_that_did_not_change_are_the_same_objects() -> None:
    held = WithOwnView(site_inputs(rolled_world(3), SITE, NOW))
    held.load()
    before = held.rules.current()
    held.site.change([Source.of(each) for each in held.documents.values()])
    after = held.rules.current()
    assert before
    assert all(one is other for one, other in zip(before, after, strict=True))
