"""What we ship as policy is sound, and its own tests pass."""

from pathlib import Path

import pytest

from shared.cli.main import run

ROOT = Path(__file__).parents[2]
# The outage is played with the clinics' repository, and has none of its own.
REPOSITORIES = [
    ROOT / "policies",
    *(each for each in sorted((ROOT / "examples").iterdir()) if each.name != "outage"),
]


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_a_repository_that_we_ship_has_no_fault(repository: Path) -> None:
    assert run(["validate", str(repository), "--strict"]) == 0


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_the_tests_of_a_repository_that_we_ship_pass(repository: Path) -> None:
    assert run(["policy", "test", str(repository)]) == 0


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_a_repository_that_we_ship_says_what_it_is(repository: Path) -> None:
    assert (repository / "README.md").read_text().startswith("# ")
