"""`hanse policy test`: run a repository's PolicyTests, for people and for CI."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from shared.cli.asking import moment
from shared.cli.checking import require_all_sound
from shared.cli.gitops import markdown as md
from shared.cli.gitops.annotations import prefix_of, print_annotations
from shared.cli.gitops.junit import Case, Problem, Suite, write_suites
from shared.cli.gitops.reports import NO_REPORTS, Reports
from shared.cli.gitops.summaries import flows_summary, validate_summary
from shared.cli.output import Plain, console, print_data
from shared.cli.repository import Repository, read_repository
from shared.cli.story import LineOf, flow_text, rule_place
from shared.errors import FieldError, Invalid
from shared.model.policytest import End, PolicyTest
from shared.policy.compile import SitePlanner
from shared.policy.flows import packet_json
from shared.policy.inputs import Document
from shared.policy.policytest import FlowResult, Outcome, run_test


@dataclass(frozen=True, slots=True)
class TestRun:
    """One PolicyTest with its flows' results."""

    test: Document
    results: Sequence[FlowResult]

    @property
    def failed(self) -> int:
        return sum(1 for each in self.results if not each.holds)


def run_tests(
    repo: Path, *, reports: Reports = NO_REPORTS, staged: bool, at: str | None, form: Plain
) -> int:
    """Run and print a repository's tests; return the exit status."""
    repository = read_repository(repo)
    now = moment(at)
    try:
        require_all_sound(repository, now=now)
    except Invalid as exc:
        _report_unsound(exc, reports, repo)
        raise
    runs = list(_runs(repository, now, staged=staged))
    line_of = repository.line_of
    if reports.junit is not None:
        write_junit(runs, reports.junit, line_of)
    if reports.markdown is not None:
        md.write(reports.markdown, _summary(runs, line_of))
    if reports.annotate:
        faults = [fault for run in runs for fault, _ in _failed(run, line_of)]
        print_annotations(faults, level="error", prefix=prefix_of(repo))
    if form is Plain.TABLE:
        _print(runs, line_of)
    else:
        print_data(_answer(runs, line_of), form)
    return 1 if any(run.failed for run in runs) else 0


def _report_unsound(error: Invalid, reports: Reports, repo: Path) -> None:
    """Say in the reports as well that no test could be judged, and why."""
    if reports.junit is not None:
        problem = Problem("error", error.message, "\n".join(map(str, error.fields)), error.code)
        case = Case("policy test", "the repository is sound", None, None, problem)
        write_suites([Suite("policy test", [case])], reports.junit)
    if reports.markdown is not None:
        md.write(reports.markdown, validate_summary(error.fields, ()))
    if reports.annotate:
        print_annotations(error.fields, level="error", prefix=prefix_of(repo))


def _runs(repository: Repository, now: datetime, *, staged: bool) -> Iterator[TestRun]:
    planners: dict[str, SitePlanner] = {}
    for test in (*repository.federation.of_kind("PolicyTest"), *repository.tests):
        spec = test.spec
        if not isinstance(spec, PolicyTest):
            continue
        if spec.site not in planners:
            planners[spec.site] = SitePlanner(repository.inputs(spec.site, now=now))
        yield TestRun(test, run_test(test, planners[spec.site], staged=staged))


def _answer(runs: Sequence[TestRun], line_of: LineOf) -> dict[str, Any]:
    failed = sum(run.failed for run in runs)
    return {
        "passed": sum(len(run.results) for run in runs) - failed,
        "failed": failed,
        "tests": [_test_json(run, line_of) for run in runs],
    }


def _test_json(run: TestRun, line_of: LineOf) -> dict[str, Any]:
    test, spec = run.test, run.test.spec
    assert isinstance(spec, PolicyTest), "only PolicyTests are run"
    return {
        "test": test.key.name,
        "tenant": test.key.tenant,
        "site": spec.site,
        "node": spec.node,
        "file": test.file,
        "line": test.line,
        "flows": [_result_json(test, each, line_of) for each in run.results],
    }


def _result_json(test: Document, result: FlowResult, line_of: LineOf) -> dict[str, Any]:
    return {
        **result.flow.to_json(),
        "passed": result.holds,
        "reason": result.reason,
        "line": line_of(test, f"spec.flows[{result.index}]"),
        "outcomes": [_outcome_json(each, line_of) for each in result.outcomes],
    }


def _outcome_json(outcome: Outcome, line_of: LineOf) -> dict[str, Any]:
    decision = outcome.decision
    rule = decision.rule
    return {
        "verdict": decision.verdict,
        "example": packet_json(outcome.example),
        "tier": decision.tier,
        "policy": None if rule is None else rule.policy,
        "rule": None if rule is None else rule.rule,
        "tenant": None if rule is None else rule.tenant,
        **({} if rule is None else rule_place(rule, line_of)),
    }


def _print(runs: Sequence[TestRun], line_of: LineOf) -> None:
    to = console()
    if not runs:
        to.print("There are no PolicyTest documents.")
        return
    for run in runs:
        mark = "[red]FAIL[/]" if run.failed else "[green]ok[/]  "
        place = f"{run.test.file}:{run.test.line}"
        to.print(f"{mark} {escape(run.test.key.name)} ({escape(place)})", soft_wrap=True)
        for result in run.results:
            if not result.holds:
                for line in _failure(run.test, result, line_of):
                    to.print(f"     {escape(line)}", soft_wrap=True)
    failed = sum(run.failed for run in runs)
    total = sum(len(run.results) for run in runs)
    to.print(f"{len(runs)} tests, {total} flows, {failed} failed")


def _failure(test: Document, result: FlowResult, line_of: LineOf) -> Iterator[str]:
    """Yield the lines that tell why a flow failed."""
    flow = result.flow
    line = line_of(test, f"spec.flows[{result.index}]")
    ends = f"{_end_text(flow.from_)} to {_end_text(flow.to)}"
    yield f"flow {result.index + 1} (line {line}): {flow.service} from {ends}: {result.reason}"
    for outcome in result.outcomes:
        example = flow_text(packet_json(outcome.example))
        yield f"  {example}: {outcome.decision.verdict}, {_decided_by(outcome, line_of)}"


def _decided_by(outcome: Outcome, line_of: LineOf) -> str:
    rule = outcome.decision.rule
    if rule is None:
        return "the site's default action"
    place = rule_place(rule, line_of)
    where = f" ({place['file']}:{place['line']})" if place else ""
    return f"by rule {rule.rule} of policy {rule.policy}, tier {rule.tier}{where}"


def _end_text(end: End) -> str:
    ((field, value),) = end.to_json().items()
    return f"{field} {value if isinstance(value, str) else json.dumps(value)}"


def write_junit(runs: Sequence[TestRun], file: Path, line_of: LineOf) -> None:
    """Write JUnit XML: a suite for each PolicyTest, a case for each flow."""
    suites = [
        Suite(run.test.key.name, [_case(run.test, each, line_of) for each in run.results])
        for run in runs
    ]
    write_suites(suites, file)


def _case(test: Document, result: FlowResult, line_of: LineOf) -> Case:
    flow = result.flow
    ends = f"{_end_text(flow.from_)} to {_end_text(flow.to)}"
    problem = None
    if result.reason is not None:
        text = "\n".join(_failure(test, result, line_of))
        problem = Problem("failure", result.reason, text, "verdict")
    return Case(
        classname=f"{test.key.tenant}.{test.key.name}",
        name=f"{result.index + 1}: {flow.service} from {ends}: {flow.expect}",
        file=test.file,
        line=line_of(test, f"spec.flows[{result.index}]"),
        problem=problem,
    )


def _failed(run: TestRun, line_of: LineOf) -> Iterator[tuple[FieldError, Sequence[str]]]:
    """Yield each failed flow as a fault at its line, with the lines that tell why."""
    for each in run.results:
        if not each.holds:
            path = f"spec.flows[{each.index}]"
            line = line_of(run.test, path)
            sentence = f"{run.test.key.name}: {each.reason}"
            fault = FieldError(path, "policy_test", sentence, run.test.file, line)
            yield fault, list(_failure(run.test, each, line_of))


def _summary(runs: Sequence[TestRun], line_of: LineOf) -> str:
    failures = [
        (run.test.key.name, f"{fault.file}:{fault.line}", lines)
        for run in runs
        for fault, lines in _failed(run, line_of)
    ]
    return flows_summary(len(runs), sum(len(run.results) for run in runs), failures)
