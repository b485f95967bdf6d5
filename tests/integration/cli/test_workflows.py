"""The workflows in deploy/gitops do what they say: their own commands, run against a real FSM."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.cli.contexts import VARIABLE
from tests.integration.cli.background import PASSWORD, Place, fsm_running, prepare_fsm

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "gitops"
_EXPRESSION = re.compile(r"\$\{\{ (?:vars|secrets)\.(\w+) \}\}")
INSTALL = "pip install hanse"


@dataclass(frozen=True)
class Step:
    """A command of a workflow, with the variables that it is given."""

    command: str
    environment: Mapping[str, str]
    always: bool = False


def github(job: str) -> list[Step]:
    found = yaml.safe_load((FOLDER / "github.yaml").read_text())["jobs"][job]
    return [
        Step(each["run"], {**found["env"], **each.get("env", {})}, each.get("if") == "always()")
        for each in found["steps"]
        if "run" in each
    ]


def gitlab(job: str) -> list[Step]:
    whole = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
    commands = [*whole["default"]["before_script"], *whole[job]["script"]]
    # GitLab runs them as one script that ends where one fails.
    return [Step("\n".join(commands), {})]


class Runner:
    """Runs a job's steps as the services do: bash, in the repository, nothing after a failure."""

    def __init__(self, repository: Path, folder: Path, fsm: Place) -> None:
        self.repository = repository
        self.summary = folder / "summary.md"
        self._values = {
            "HANSE_SERVER": fsm.url,
            "HANSE_READER": "admin",
            "HANSE_WRITER": "admin",
            "HANSE_READER_PASSWORD": PASSWORD,
            "HANSE_WRITER_PASSWORD": PASSWORD,
        }
        self._github = {**self._values, "HANSE_CA": fsm.ca.read_text()}
        self._gitlab = {**self._values, "HANSE_CA": str(fsm.ca)}
        self._folder = folder

    def run(self, service: str, job: str) -> int:
        steps = github(job) if service == "github" else gitlab(job)
        self.summary.write_text("")
        self.output = ""
        status = 0
        for step in steps:
            if status and not step.always:
                continue
            code = self._step(step, service)
            status = status or code
        return status

    def reports(self) -> str:
        """What a person sees of a run: the step summary, or the reports that are kept."""
        kept = [each.read_text() for each in sorted((self.repository / "reports").glob("*.md"))]
        return self.summary.read_text() or "".join(kept)

    def _step(self, step: Step, service: str) -> int:
        lines = [line for line in step.command.splitlines() if line != INSTALL]
        values = self._github if service == "github" else self._gitlab
        given = {
            name: _EXPRESSION.sub(lambda found: values[found[1]], value)
            for name, value in step.environment.items()
        }
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self._folder),
            VARIABLE: str(self._folder / "contexts.yaml"),
            "RUNNER_TEMP": str(self._folder),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_SHA": "0123abc",
            "CI_COMMIT_SHA": "0123abc",
            **({} if service == "github" else values),
            **given,
        }
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.output += done.stdout + done.stderr
        return done.returncode


@pytest.fixture(scope="module")
def own_fsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An FSM that has nothing else on it."""
    place = prepare_fsm(tmp_path_factory.mktemp("workflows"))
    with fsm_running(place):
        yield place


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "policy"
    shutil.copytree(ROOT / "examples" / "two-sites", root)
    (root / "hanse.yaml").write_text("manifest: shop\n")
    return root


@pytest.mark.parametrize("service", ["github", "gitlab"])
def test_a_workflow_checks_a_pull_request_applies_main_and_finds_drift(
    service: str, own_fsm: Place, repository: Path, tmp_path: Path
) -> None:
    runner = Runner(repository, tmp_path, own_fsm)
    extra = repository / "federation" / "extra.yaml"
    extra.write_text(network(f"Of-{service}"))
    assert runner.run(service, "check") == 0, runner.output
    assert "Hanse: policy tests pass" in runner.reports()
    assert f"<code>network/Of-{service}</code> | create" in runner.reports()

    assert runner.run(service, "apply") == 0, runner.output
    assert f"network/Of-{service} created" in runner.output
    asyncio.run(changed_by_hand(own_fsm, f"Of-{service}"))
    assert runner.run(service, "drift") == 1
    assert "changed on the server" in runner.reports()
    assert "user&#58;admin" in runner.reports()

    if service == "gitlab":
        return  # the same commands again
    extra.unlink()
    assert runner.run(service, "check") == 0, runner.output
    assert f"<code>network/Of-{service}</code> | **prune**" in runner.reports()
    assert runner.run(service, "apply") == 0, runner.output
    assert runner.run(service, "drift") == 0, runner.output


def test_a_pull_request_with_faults_fails_and_says_which(
    own_fsm: Place, repository: Path, tmp_path: Path
) -> None:
    runner = Runner(repository, tmp_path, own_fsm)
    (repository / "federation" / "bad.yaml").write_text(network("Bad", "10.0.0.1/24"))
    assert runner.run("github", "check") == 2
    assert "Hanse: faults" in runner.reports()
    assert "federation/bad&#46;yaml&#58;4" in runner.reports()
    assert (repository / "reports" / "validate.xml").exists()
    assert "::error file=federation/bad.yaml,line=4::" in runner.output


def test_no_command_of_a_workflow_is_put_together_from_what_others_write() -> None:
    for job in ("check", "apply", "drift"):
        for step in github(job):
            assert "${{" not in step.command
    # Only the job that writes has the writer's password.
    for job in ("check", "drift"):
        assert "WRITER" not in str([each.environment for each in github(job)])


def test_each_workflow_installs_what_it_runs() -> None:
    for steps in (github, gitlab):
        for job in ("check", "apply", "drift"):
            assert installs(steps(job)) == 1


def installs(steps: Sequence[Step]) -> int:
    return sum(each.command.splitlines().count(INSTALL) for each in steps)


def network(name: str, subnet: str | None = None) -> str:
    spec = f"{{subnets: [{subnet}]}}" if subnet else "{}"
    return f"apiVersion: hanse/v1\nkind: Network\nmetadata: {{name: {name}}}\nspec: {spec}\n"


async def changed_by_hand(fsm: Place, name: str) -> None:
    async with fsm.client() as client:
        await client.login("admin", PASSWORD)
        patch: dict[str, Any] = {"spec": {"vlan": 66}}
        await client.patch("Network", name, patch)
