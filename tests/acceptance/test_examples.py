"""What we ship as policy is sound, and its own tests pass."""

from pathlib import Path

import pytest

from shared.cli.main import run

ROOT = Path(__file__).parents[2]
REPOSITORIES = [ROOT / "policies", *sorted(each for each in (ROOT / "examples").iterdir())]


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_a_repository_that_we_ship_has_no_fault(repository: Path) -> None:
    assert run(["validate", str(repository), "--strict"]) == 0


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_the_tests_of_a_repository_that_we_ship_pass(repository: Path) -> None:
    assert run(["policy", "test", str(repository)]) == 0


@pytest.mark.parametrize("repository", REPOSITORIES, ids=lambda path: path.name)
def test_a_repository_that_we_ship_says_what_it_is(repository: Path) -> None:
    assert (repository / "README.md").read_text().startswith("# ")
