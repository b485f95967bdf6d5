"""A site's policy as nftables text says what tracing a flow says."""

import subprocess
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shared.cli.bench.workload import NAME, sources
from shared.model.kinds import KINDS
from shared.policy.compile import SitePlanner
from shared.policy.inputs import Document, Documents, SiteInputs
from shared.policy.loaded.site import LoadedSite
from shared.policy.loaded.source import sources_of
from shared.policy.nftables import nftables_text
from shared.policy.verdict import FlowJudge
from tests.bench.verdicts import Reading, RulesetJudge, differing_verdicts
from tests.bench.workload import Parameters, generate
from tests.property import oracle
from tests.property.borders import flows
from tests.property.generated_documents import NOW, SITE
from tests.property.generators import rolled_world
from tests.property.nft_text import read
from tests.property.oracle_inheritance import Asking
from tests.property.planner_worlds import packet, site_inputs
from tests.property.profile import rolls
from tests.servers import require


def text_of(objects: Any, name: str, now: datetime) -> str:
    site = LoadedSite(name, objects, now=now)
    return nftables_text(site.columns(), site.default_action)


def test_the_text_gives_flows_on_the_borders_of_rules_the_traced_verdict() -> None:
    verdicts = set()
    for seed in rolls(40):
        verdicts |= assert_traced(seed, 25)
    assert verdicts == {"allow", "deny", "reject"}


def assert_traced(seed: int, count: int) -> set[str]:
    world = rolled_world(seed)
    inputs = site_inputs(world, SITE, NOW)
    ruleset = read(text_of(sources_of(inputs), SITE, NOW))
    quick = RulesetJudge(ruleset)
    judge = FlowJudge(SitePlanner(inputs).plan())
    seen = oracle.view(Asking(world, SITE, None, NOW, False))
    verdicts = set()
    for flow in flows(Random(seed), world, seen, count):
        expected = judge.judge(packet(flow)).verdict
        assert ruleset.verdict(packet(flow)) == expected, (seed, flow)
        assert quick.verdict(packet(flow)) == expected, (seed, flow)
        verdicts.add(expected)
    return verdicts


@pytest.mark.kernel
def test_the_kernel_takes_the_text_of_random_worlds(tmp_path: Path) -> None:
    for seed in range(0, 24, 4):
        assert_loads(
            text_of(sources_of(site_inputs(rolled_world(seed), SITE, NOW)), SITE, NOW), tmp_path
        )


@pytest.mark.kernel
def test_the_kernel_takes_the_text_of_a_workload(tmp_path: Path) -> None:
    workload = generate(Parameters(networks=60, rules=60, services=20, v6=0.3), seed=3)
    assert_loads(text_of(sources(workload), NAME, NOW), tmp_path)


def assert_loads(text: str, folder: Path) -> None:
    programs = require("nft", "unshare", root=True)
    file = folder / "ruleset.nft"
    file.write_text(text)
    done = subprocess.run(
        [programs["unshare"], "--net", programs["nft"], "-c", "-f", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


SMALL = Parameters(networks=120, rules=150, services=30)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(SMALL, id="IPv4"),
        pytest.param(Parameters(networks=80, rules=80, services=20, v6=0.5), id="both families"),
        pytest.param(Parameters(networks=40, rules=40, services=10, v6=1.0), id="IPv6"),
        pytest.param(Parameters(networks=20, rules=0, services=5), id="without rules"),
        pytest.param(Parameters(networks=3, rules=230, services=2), id="three policies, few names"),
    ],
)
def test_a_workloads_text_gives_sampled_flows_its_verdict(parameters: Parameters) -> None:
    workload = generate(parameters, seed=7)
    text = text_of(sources(workload), NAME, NOW)
    assert differing_verdicts(workload, text, 10_000 if parameters is SMALL else 1000, 7) == 0


def test_sampled_flows_meet_rules_of_both_actions_and_none() -> None:
    workload = generate(SMALL, seed=7)
    reading = Reading(workload)
    judge = FlowJudge(planner_of(workload).plan())
    found = {"allow": 0, "deny": 0, "site": 0}
    for flow in reading.flows(Random(7), 2000):
        decision = judge.judge(flow)
        assert decision.verdict == reading.verdict(flow)
        found["site" if decision.rule is None else decision.verdict] += 1
    assert min(found.values()) > 20, found


def planner_of(workload: Any) -> SitePlanner:
    """Return the planner that traces flows, for a workload's objects."""
    documents = [
        Document(each.key, KINDS[each.key.kind].spec.model_validate(each.data), each.labels)
        for each in sources(workload)
    ]
    federation = Documents(each for each in documents if each.key.kind == "Site")
    local = Documents(each for each in documents if each.key.kind != "Site")
    return SitePlanner(SiteInputs(NAME, federation, local, NOW))


def test_an_empty_workload_denies_everything() -> None:
    workload = {"format": "fwbench-workload/1", "networks": {}, "services": {}, "rules": []}
    ruleset = read(text_of(sources(workload), NAME, NOW))
    assert (ruleset.policy, ruleset.chains) == ("drop", [[], [], []])


@pytest.mark.parametrize(
    ("there", "instead"),
    [(" accept ", " drop "), (" saddr ", " daddr "), ("\tjump local\n", ""), ("/32", "/31")],
)
def test_a_ruleset_that_says_something_else_is_noticed(there: str, instead: str) -> None:
    workload = generate(SMALL, seed=7)
    text = text_of(sources(workload), NAME, NOW)
    assert there in text
    changed = text.replace(there, instead)
    try:
        assert differing_verdicts(workload, changed, 2000, 7) > 0
    except ValueError:
        assert instead == "/31", "bits beyond a prefix are refused"
