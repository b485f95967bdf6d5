"""`hanse resolve` and `hanse trace` without a repository: the site itself answers."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from rich.markup import escape

from shared.cli.balanced import balanced_lines
from shared.cli.client import Client
from shared.cli.flows import FlowArguments, read_flows
from shared.cli.output import Output, Plain, console, print_data
from shared.cli.resolving import print_answer
from shared.cli.session import Session, session
from shared.cli.story import flow_text
from shared.errors import Invalid
from shared.ids import COMMON
from shared.model.network import Service
from shared.model.traffic import PORT_PROTOCOLS, parse_ports, parse_protocol
from shared.policy.flows import one_port
from shared.policy.resolve import port_matches
from shared.policy.written_flows import Flow
from shared.tasks.group import Group

# A client keeps 16 connections at most.
_AT_ONCE: Final = 8

_COLOURS: Final = {"allow": "green", "deny": "red", "reject": "red", "pass": "cyan"}

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SiteQuestion:
    """Who is asked, of which node's view (None: the site's), and in what form it is told."""

    context: str | None
    site: str | None
    node: str | None
    staged: bool


async def resolve(question: SiteQuestion, form: Output) -> None:
    """Print the rules that the site, or one of its nodes, makes of policy."""
    async with session(question.context, site=question.site) as opened:
        _check_site(opened, question, "hanse resolve")
        answer = await opened.client.resolve(node=question.node, staged=question.staged)
    print_answer(answer, form)


async def trace_flow(question: SiteQuestion, arguments: FlowArguments, form: Plain) -> None:
    """Print what becomes of one flow, as the nodes at its ends judge it."""
    async with session(question.context, site=question.site) as opened:
        _check_site(opened, question, "hanse trace")
        service = await _service(opened.client, arguments.service, arguments.tenant)
        flow = arguments.flow(*service)
        answer = await _ask(opened.client, flow, question)
    if form is Plain.TABLE:
        _print_story(answer, question.node)
    else:
        print_data(answer, form)


async def trace_flows(question: SiteQuestion, file: str, form: Plain) -> None:
    """Print the verdict of each flow of a file of JSON lines; `-` is stdin."""
    flows = _read(file)
    answers: list[dict[str, Any]] = []
    async with session(question.context, site=question.site) as opened:
        _check_site(opened, question, "hanse trace")
        for start in range(0, len(flows), _AT_ONCE):
            for answer in await _ask_all(opened.client, flows[start : start + _AT_ONCE], question):
                verdict = {name: answer[name] for name in _SHORT if name in answer}
                if form is Plain.YAML:
                    answers.append(verdict)
                else:
                    print(_line(verdict, form))
    if form is Plain.YAML:
        print_data(answers, form)


_SHORT: Final[Sequence[str]] = (
    *("from", "to", "protocol", "port", "sourcePort"),
    *("verdict", "tier", "policy", "rule", "tenant"),
)


def _check_site(opened: Session, question: SiteQuestion, what: str) -> None:
    site = opened.require_site(what)
    if question.site not in (None, site):
        raise Invalid(
            f"context {opened.context.name} is that of site {site}, not {question.site}",
            code="invalid_arguments",
        )


def _read(file: str) -> Sequence[Flow]:
    if file == "-":
        return read_flows(sys.stdin.buffer, file="stdin")
    with Path(file).open("rb") as lines:
        return read_flows(lines, file=file)


async def _ask_all(
    client: Client, flows: Sequence[Flow], question: SiteQuestion
) -> list[dict[str, Any]]:
    async with Group() as group:
        asked = [group.start(_ask(client, flow, question), name="trace") for flow in flows]
        await group.wait()
    return [each.result() for each in asked]


async def _ask(client: Client, flow: Flow, question: SiteQuestion) -> dict[str, Any]:
    """Return the answer with the verdict and the rule that made it, as offline `trace` has it."""
    packet = flow.packet
    body: dict[str, Any] = {
        "from": flow.given["from"],
        "to": flow.given["to"],
        "protocol": packet.protocol,
    }
    if packet.protocol in PORT_PROTOCOLS:
        body |= {"port": packet.port, "sourcePort": packet.source_port}
    answer = await client.trace(body, node=question.node, staged=question.staged)
    deciding = _deciding(answer)
    parts = ("verdict", "tier", "policy", "rule", "tenant")
    return {**flow.given, **{part: deciding.get(part) for part in parts}, **answer}


def _deciding(answer: JSON) -> JSON:
    """Return the judgement that makes the outcome."""
    stories = [*answer["views"].values()] or [answer["view"]]
    return next((each for each in stories if each["verdict"] == answer["outcome"]), stories[0])


async def _service(client: Client, text: str, tenant: str) -> tuple[int, int | None]:
    """Return the one protocol and port that `tcp/5432`, `icmp`, `47` or a Service's name means."""
    protocol, slash, port = text.partition("/")
    try:
        found = parse_protocol(int(protocol) if protocol.isdecimal() else protocol)
    except ValueError as exc:
        if slash:
            raise Invalid(f"{text}: {exc}", code="invalid_service") from exc
        return await _named_service(client, text, tenant)
    if found == "any":
        raise Invalid(f"{text}: name one protocol", code="invalid_service")
    if not slash:
        return found, None
    try:
        ports = parse_ports(port)
    except ValueError as exc:
        raise Invalid(f"{text}: {exc}", code="invalid_service") from exc
    if ports.first != ports.last:
        raise Invalid(f"{text}: a flow has one port", code="invalid_service")
    return found, ports.first


async def _named_service(client: Client, name: str, tenant: str) -> tuple[int, int | None]:
    """Look a Service up at the site: in the tenant, else in common, whatever its scope."""
    for owner in dict.fromkeys((tenant, COMMON)):
        meanings: set[tuple[int, int | None]] = set()
        is_declared = False
        async for each in client.list("Service", tenant=owner, fields=f"metadata.name={name}"):
            is_declared = True
            spec = each.envelope().spec
            if isinstance(spec, Service) and spec.entries:
                meanings.add(one_port(port_matches(spec.entries), name))
        if len(meanings) == 1:
            return meanings.pop()
        if is_declared:
            what = "means different things in different scopes" if meanings else "has no entries"
            raise Invalid(
                f"service {name} {what} here; write protocol and port, for example tcp/5432",
                code="invalid_service",
            )
    raise Invalid(
        f"there is no service {name} here; declare it, or write tcp/PORT", code="unknown_service"
    )


def _line(answer: dict[str, Any], form: Plain) -> str:
    if form is Plain.JSON:
        return orjson.dumps(answer).decode()
    rule = "default action" if answer["rule"] is None else f"{answer['policy']}/{answer['rule']}"
    return f"{answer['verdict']:6}  {flow_text(answer)}: {rule} (tier {answer['tier']})"


def _print_story(answer: dict[str, Any], node: str | None) -> None:
    to = console()
    to.print(f"{flow_text(answer)}, at site {answer['site']}", markup=False, soft_wrap=True)
    for line in balanced_lines(answer):
        to.print(line, markup=False, soft_wrap=True)
    stories = answer["views"] or {f"site {answer['site']}": answer["view"]}
    for where, story in stories.items():
        name = f"node {where}" if answer["views"] else where
        to.print(f"\n[bold]Judged by {escape(name)}[/]: {_verdict(story)}", soft_wrap=True)
        _print_steps(story)
    if node is None and len(stories) > 1:
        to.print("\nBoth ends must allow it.", soft_wrap=True)
    colour = _COLOURS[answer["outcome"]]
    to.print(f"\n[bold {colour}]{answer['outcome']}[/]", soft_wrap=True)


def _print_steps(story: JSON) -> None:
    to = console()
    tier = policy = None
    for step in story["steps"]:
        if step["tier"] != tier:
            tier, policy = step["tier"], None
            to.print(f"  tier {tier}", markup=False)
        if (step["tenant"], step["policy"]) != policy:
            policy = step["tenant"], step["policy"]
            tenant = "" if step["tenant"] == COMMON else f" of tenant {step['tenant']}"
            to.print(f"    policy {step['policy']}{tenant}, {step['origin']}", markup=False)
        colour = _COLOURS[step["action"]]
        shown = (
            f"[{colour}]matches: {step['action']}[/]"
            if step["matched"]
            else f"no match: {escape(step['reason'] or '')}"
        )
        to.print(f"      rule {escape(step['rule'])}: {shown}", soft_wrap=True)
        for name in step["names"]:
            where = f"{name['reference']}, from {name['scope']}"
            to.print(f"          {where}", markup=False, soft_wrap=True)


def _verdict(story: JSON) -> str:
    colour = _COLOURS[story["verdict"]]
    if story["rule"] is None:
        return f"[{colour}]{story['verdict']}[/], the site's default action: no rule decides"
    place = escape(f"rule {story['rule']} of policy {story['policy']} (tier {story['tier']})")
    return f"[{colour}]{story['verdict']}[/], by {place}"
