"""How conflicts look that aren't about exceptions or rules that meet, as recorded."""

from dataclasses import replace

import pytest

from shared.cli.conflicts.case import Case
from shared.cli.conflicts.screen import show_case, show_list
from shared.cli.repository import read_repository
from shared.ids import Key
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.detect import find_conflicts
from shared.policy.conflicts.remarks import Remarks, WentBack
from shared.policy.inputs import Documents, SiteInputs
from tests.golden.test_conflicts import HERE, NOW, WIDTHS, cases_of, screen

GUESTS = Key("SecurityPolicy", "common", "federation", "guests")
THREE_TIER = GUESTS._replace(name="three-tier")
KNOWN = {
    "enforcement": "mandatory",
    "rules": [
        {
            "name": "ssh",
            "from": "any",
            "to": "any",
            "services": [{"protocol": "tcp", "ports": ["22-23"]}],
            "action": "reject",
        }
    ],
}
REMARKS = Remarks({GUESTS: {"site": 7}}, {THREE_TIER: WentBack(5, 4, KNOWN)})


def apart() -> list[Case]:
    inputs = read_repository(HERE / "apart").inputs("s1", now=NOW)
    local = Documents(replace(each, revision=7) for each in inputs.local)
    planner = SitePlanner(SiteInputs("s1", inputs.federation, local, NOW))
    running = {"n2": ("firewall",)}
    return cases_of(find_conflicts(planner, REMARKS, running), planner)


@pytest.mark.parametrize("width", WIDTHS)
def test_conflicts_of_names_nodes_and_settings_are_shown_as_recorded(
    width: int, update_golden: bool
) -> None:
    shown, file = screen(width)
    show_list(apart(), shown, wide=width > 100)
    for each in apart():
        file.write(f"{'=' * width}\n")
        show_case(each, shown)
    text = "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())
    recorded = HERE / f"conflicts-apart-{width}.txt"
    if update_golden:
        recorded.write_text(text)
    assert text == recorded.read_text()
    lines = text.splitlines()
    assert all(len(each) <= width or each.startswith("    hanse conflicts ") for each in lines)
