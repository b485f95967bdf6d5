"""What both sides of an outage did to one list: each side's part is kept, by name."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.cli.repository import read_repository
from shared.model.override import Conflict
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.impact.site import site_impact
from shared.policy.merging import keep_what_each_added, merge
from shared.policy.ways.contract import applied
from shared.policy.ways.out import ways_out
from tests.property.test_conflicts import conflict_of

ROOT = Path(__file__).parents[4] / "examples"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def write(path: Path, found: list[dict[str, Any]]) -> None:
    path.write_text(yaml.safe_dump_all(found, sort_keys=False, default_flow_style=False))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The clinics after the outage: Kiel's exception is of what visitors were before."""
    root = tmp_path / "clinics"
    shutil.copytree(ROOT / "clinics", root)
    common = root / "federation/policies/common.yaml"
    ours = documents(common)
    (changed,) = [
        each
        for each in documents(ROOT / "outage/federation.yaml")
        if each["metadata"]["name"] == "visitors"
    ]
    (before,) = [each for each in ours if each["metadata"]["name"] == "visitors"]
    write(common, [each for each in ours if each is not before] + [changed])
    (override,) = [
        each for each in documents(ROOT / "outage/kiel.yaml") if each["kind"] == "Override"
    ]
    override["spec"]["expiresAt"] = "2035-12-31T00:00:00Z"
    override["spec"]["basedOn"] = {"revision": 1, "spec": before["spec"]}
    write(root / "sites/kiel/override.yaml", [override])
    return root


def test_narrow_keeps_what_each_side_added_to_a_list(repository: Path) -> None:
    planner = SitePlanner(read_repository(repository).inputs("kiel", now=NOW))
    (finding,) = [each for each in find_conflicts(planner) if each.type == "edited_both"]
    conflict: Conflict = conflict_of(finding)
    (way,) = [each for each in ways_out(planner, conflict) if each.name == "narrow"]
    (web,) = [each for each in way.spec["rules"] if each["name"] == "web"]  # type: ignore[union-attr]
    assert web["services"] == [
        {"service": "https"},
        {"protocol": "udp", "ports": ["3478-3481"]},
    ]
    after = SitePlanner(applied(planner.inputs, way))  # type: ignore[arg-type]
    impact = site_impact(planner, after).to_json(max_boxes=10)
    assert impact["newlyAllowed"]["packets"] == "0"
    assert impact["newlyDenied"]["example"]["port"] == 80


@pytest.mark.parametrize(
    ("base", "local", "inherited", "wanted"),
    [
        (["a", "b"], ["a", "b", "c"], ["b"], ["b", "c"]),
        (["a", "b"], ["a"], ["a", "b", "d"], ["a", "d"]),
        (["a"], ["b"], ["c"], ["c", "b"]),
        (["a"], ["b"], "any", "any"),
        (1, 2, 3, 3),
    ],
)
def test_of_a_list_that_both_sides_changed_what_each_added_is_kept(
    base: Any, local: Any, inherited: Any, wanted: Any
) -> None:
    found = merge({"f": base}, {"f": local}, {"f": inherited}, settle=keep_what_each_added)
    assert found.spec == {"f": wanted}
    assert found.overlaps == ("f",)
