"""policies/: its tests notice every rule that is weakened, and its parts stand alone."""

import shutil
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from shared.cli.main import run
from shared.cli.repository import Repository, read_repository
from shared.model.policy import SecurityPolicy
from tests.acceptance.mutants import Trial, label_mutants, policy_mutants

POLICIES = Path(__file__).parents[2] / "policies"
PARTS = sorted(each.name for each in (POLICIES / "federation").iterdir() if each.is_dir())
SETS = [each for each in PARTS if each != "names"]
NOW = datetime(2026, 11, 23, tzinfo=UTC)

# Of the shop's default rules: shop-isolation, which is mandatory, has denied these before.
TWICE_KEPT = {
    f"shop: rule {rule}: {side} becomes any"
    for rule in ("web-to-app", "app-to-data")
    for side in ("from", "services")
}
# What people notice on the day on which `proxies-only` is enforced, and nothing else.
STAGED = ["people-browse-the-internet-and-nothing-of-ours"] * 3


@cache
def repository() -> Repository:
    return read_repository(POLICIES)


@cache
def trial(*, staged: bool = False) -> Trial:
    return Trial(repository(), now=NOW, staged=staged)


def _is_staged(spec: object) -> bool:
    return isinstance(spec, SecurityPolicy) and spec.stage == "staged"


@pytest.mark.parametrize("part", SETS)
def test_every_weakened_rule_fails_a_test(part: str) -> None:
    policies = [
        each
        for each in repository().federation.of_kind("SecurityPolicy")
        if (each.file or "").startswith(f"federation/{part}/")
    ]
    assert policies
    mutants = [mutant for each in policies for mutant in policy_mutants(each)]
    survivors = {
        str(each)
        for each in mutants
        if not trial(staged=_is_staged(each.document.spec)).is_noticed(each)
    }
    assert survivors == {each for each in TWICE_KEPT if part == "three-tier"}


def test_a_zone_that_a_site_forgets_fails_a_test() -> None:
    networks = repository().sites["reference"].of_kind("Network")
    survivors = [
        str(mutant)
        for each in networks
        for mutant in label_mutants(each)
        if not trial().is_noticed(mutant)
    ]
    assert survivors == []


def test_a_staged_policy_shows_what_it_would_change() -> None:
    assert trial().failing() == []
    assert trial(staged=True).failing() == STAGED


def test_global_policy_leaves_room_and_repeats_no_priority_within_a_tier() -> None:
    places = [
        (spec.enforcement, spec.priority)
        for each in repository().federation.of_kind("SecurityPolicy")
        if isinstance(spec := each.spec, SecurityPolicy)
    ]
    assert len(set(places)) == len(places)
    assert all(priority % 10 == 0 for _, priority in places)


@pytest.mark.parametrize("part", [each for each in SETS if each != "baseline"])
def test_a_part_can_be_taken_out_with_its_tests(part: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(POLICIES, copy)
    shutil.rmtree(copy / "federation" / part)
    (copy / "tests" / f"{part}.yaml").unlink()
    assert run(["validate", str(copy), "--strict"]) == 0


@pytest.mark.parametrize("part", SETS)
def test_a_part_says_what_it_is_for_and_what_it_does_not_do(part: str) -> None:
    text = (POLICIES / "federation" / part / "README.md").read_text()
    for heading in ("Protects from", "Who changes what", "Adapt it", "What it doesn't do"):
        assert f"\n**{heading}.** " in text, heading
    assert (POLICIES / "tests" / f"{part}.yaml").is_file()
