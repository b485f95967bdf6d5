"""An FSM takes what we ship as it stands."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Hanse

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("repository", ["policies", "examples/clinics", "examples/two-sites"])
def test_an_fsm_takes_a_repository_that_we_ship_in_one_transaction(
    logged_in: Hanse, repository: str
) -> None:
    done = logged_in("apply", "-c", "fsm", "-f", ROOT / repository, "--dry-run")
    assert done.status == 0, done.err
    kinds = {line.partition("/")[0] for line in done.out.splitlines()}
    assert {"network", "service", "securitypolicy", "site"} <= kinds
