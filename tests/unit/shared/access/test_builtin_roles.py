from pathlib import Path

import pytest

from shared.model.builtin_roles import BUILT_IN_ROLES
from shared.model.verbs import SPECIAL_VERBS

PAGE = (Path(__file__).parents[4] / "shared/docs/roles.md").read_text("utf-8")


@pytest.mark.parametrize("name", BUILT_IN_ROLES)
def test_the_page_says_what_each_built_in_role_is_for(name: str) -> None:
    assert f"| `{name}` | {BUILT_IN_ROLES[name].why} |" in PAGE


@pytest.mark.parametrize("verb", SPECIAL_VERBS)
def test_the_page_says_what_each_special_verb_allows(verb: str) -> None:
    assert f"| `{verb}` | " in PAGE
