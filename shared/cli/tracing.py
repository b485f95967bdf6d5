"""`hanse trace` on a repository: one flow with its story, or many flows quickly."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson
from rich.progress import Progress

from shared.cli.asking import moment, sound_site
from shared.cli.flows import FlowArguments, read_flows
from shared.cli.output import Plain, console, print_data
from shared.cli.story import flow_text, print_story, story_json
from shared.policy.flows import one_port, parse_service
from shared.policy.leading import UNSERVED, Leading, backend_json, worst
from shared.policy.nodeconfig import Packet
from shared.policy.plan import Plan
from shared.policy.verdict import Decision, FlowJudge, Story, judge
from shared.policy.written_flows import Flow

# Fewer are done before a progress bar could be read.
_WORTH_A_BAR: Final = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """Where and when flows are judged, and in what form it is told."""

    repo: Path
    site: str
    node: str | None
    staged: bool
    at: str | None
    form: Plain


def trace_flow(question: Question, arguments: FlowArguments) -> None:
    """Print one flow's verdict and story."""
    repository, planner = sound_site(question.repo, question.site, at=moment(question.at))
    plan = planner.plan(question.node, staged=question.staged)
    view = planner.view(question.node, staged=question.staged)
    matches = parse_service(arguments.service, view, arguments.tenant)
    flow = arguments.flow(*one_port(matches, arguments.service))
    decision, story, balanced = _told(plan, Leading(planner), flow.packet, question.node)
    answer = {
        **flow.given,
        **_verdict(decision),
        **story_json(story, repository.line_of),
        **balanced,
    }
    if question.form is Plain.TABLE:
        print_story(answer)
    else:
        print_data(answer, question.form)


def trace_flows(question: Question, file: str) -> None:
    """Print the verdict of each flow of a file of JSON lines; `-` is stdin."""
    _, planner = sound_site(question.repo, question.site, at=moment(question.at))
    plan = planner.plan(question.node, staged=question.staged)
    with _opened(file) as lines:
        flows = read_flows(lines, file="stdin" if file == "-" else file)
    quick, leading = FlowJudge(plan), Leading(planner)

    def decided(packet: Packet) -> Decision:
        led = leading.lead(packet, question.node)
        if led is None:
            return quick.judge(packet)
        return worst(tuple(map(quick.judge, led.likely)) or (UNSERVED,))

    answers = ({**flow.given, **_verdict(decided(flow.packet))} for flow in _tracked(flows))
    if question.form is Plain.JSON:
        _write_lines(answers)
    elif question.form is Plain.YAML:
        print_data(list(answers), question.form)
    else:
        for answer in answers:
            print(_line(answer))


def _told(
    plan: Plan, leading: Leading, packet: Packet, node: str | None
) -> tuple[Decision, Story, dict[str, Any]]:
    """Return a flow's verdict and its story, and how it is led where a balancer does that."""
    led = leading.lead(packet, node)
    if led is None:
        story = judge(plan, packet)
        return story.decision, story, {}
    stories = [judge(plan, each) for each in led.packets]
    backends = [{**backend_json(each.packet), **_verdict(each.decision)} for each in stories]
    balanced = {"balanced": {**led.to_json(), "backends": backends}}
    likely = [each for each in stories if each.packet in led.likely]
    if not likely:
        return UNSERVED, judge(plan, packet), balanced
    decision = worst(tuple(each.decision for each in likely))
    return decision, next(each for each in likely if each.decision is decision), balanced


def _line(answer: dict[str, Any]) -> str:
    rule = "default action" if answer["rule"] is None else f"{answer['policy']}/{answer['rule']}"
    return f"{answer['verdict']:6}  {flow_text(answer)}: {rule} (tier {answer['tier']})"


def _verdict(decision: Decision) -> dict[str, Any]:
    rule = decision.rule
    return {
        "verdict": decision.verdict,
        "tier": decision.tier,
        "policy": None if rule is None else rule.policy,
        "rule": None if rule is None else rule.rule,
        "tenant": None if rule is None else rule.tenant,
    }


@contextmanager
def _opened(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as lines:
        yield lines


def _tracked(flows: Sequence[Flow]) -> Iterator[Flow]:
    """Yield the flows, with a progress bar if it takes long and somebody looks on."""
    if len(flows) < _WORTH_A_BAR or not sys.stderr.isatty():
        yield from flows
        return
    with Progress(console=console(stderr=True), transient=True) as progress:
        yield from progress.track(flows, description="Judging flows")


def _write_lines(answers: Iterable[dict[str, Any]]) -> None:
    for answer in answers:
        line = orjson.dumps(answer).decode()
        # Some readers split lines at U+2028 as well; json escapes it, and is slower.
        sys.stdout.write((line if line.isascii() else json.dumps(answer)) + "\n")
