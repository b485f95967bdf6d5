"""/docs: which pages there are, in which order, and where their links lead."""

from shared.http import docs
from tests.unit.shared.docs.blocks import DOCS, PAGES


def test_every_page_is_published_and_those_for_newcomers_come_first() -> None:
    names = docs._names()
    assert {DOCS / f"{name}.md" for name in names} == set(PAGES)
    assert names[:3] == ["start", "policies", "semantics"]


def test_decisions_come_last_in_their_order() -> None:
    decisions = [name for name in docs._names() if name.startswith("decisions/")]
    assert docs._names()[-len(decisions) :] == sorted(decisions)
    assert [int(name.removeprefix("decisions/")[:4]) for name in decisions] == list(
        range(1, len(decisions) + 1)
    )


def test_links_between_pages_become_addresses() -> None:
    assert 'href="/docs/policies"' in docs._render("start")
    for name in docs._names():
        assert '.md"' not in docs._render(name)
