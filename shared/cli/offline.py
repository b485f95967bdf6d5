"""The commands on policy repositories: no server, and the same planner as at a site.

This module only says how the commands are called; what they do is imported when one runs, which
keeps `hanse --help` quick.
"""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.importing.command import commands as importing
from shared.cli.live import ContextOption
from shared.cli.output import Output, Plain

REPOSITORIES = "Policy repositories"

Repo = Annotated[
    Path, typer.Argument(help="A policy repository: federation/, sites/NAME/, tests/.")
]
RepoOrNone = Annotated[
    Path | None,
    typer.Argument(help="A policy repository; left out, the site itself is asked."),
]
Site = Annotated[
    str | None,
    typer.Option("--site", "-s", help="The site whose view is asked for; of a repository, needed."),
]
Node = Annotated[str | None, typer.Option("--node", "-n", help="The node whose view is asked for.")]
Staged = Annotated[bool, typer.Option("--staged", help="Count staged policies as enforced.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Judge the expiry of overrides at this time, for example 2027-03-31T00:00:00Z "
        "(without a zone: UTC).",
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="The form of the answer.")]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML.")
]
MarkdownOption = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Also write a summary for a pull request."),
]
Annotate = Annotated[
    bool, typer.Option("--annotate", help="Also mark lines, as GitHub's workflows take it.")
]
PlainOption = Annotated[Plain, typer.Option("--output", "-o", help="The form of the answer.")]


def validate(
    repo: Repo,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if there are warnings.")
    ] = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    annotate: Annotate = False,
    output: PlainOption = Plain.TABLE,
) -> None:
    """Report every fault of a policy repository.

    Exit status 0: sound; 2: faults; with --strict 1: only warnings.
    """
    from shared.cli.gitops.reports import Reports
    from shared.cli.validating import run_validate

    reports = Reports(junit, markdown, annotate)
    raise typer.Exit(run_validate(repo, strict=strict, form=output, reports=reports))


def resolve(
    repo: RepoOrNone = None,
    *,
    site: Site = None,
    node: Node = None,
    staged: Staged = False,
    at: At = None,
    nft: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the rules here, as one nftables table; with REPO only."
        ),
    ] = None,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the rules that a site, or one of its nodes, makes of policy."""
    if repo is None:
        _only_now(at)
        if nft is not None:
            raise typer.BadParameter("--nft goes with a repository; say which: hanse resolve REPO")
        from shared.cli.judging import SiteQuestion
        from shared.cli.judging import resolve as ask
        from shared.cli.session import run

        run(ask(SiteQuestion(context, site, node, staged), output))
        return
    if site is None:
        raise typer.BadParameter("say of which site of the repository: --site NAME")
    from shared.cli.resolving import run_resolve

    run_resolve(repo, site=site, node=node, staged=staged, at=at, form=output, nft=nft)


def trace(
    repo: RepoOrNone = None,
    *,
    site: Site = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="The flow's source.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ADDRESS", help="The flow's destination.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--service", help="tcp/5432, icmp, or the name of a Service with one port."),
    ] = None,
    source_port: Annotated[
        int | None, typer.Option("--source-port", min=0, max=65535, help="Default: 49152.")
    ] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help="The tenant in which a Service's name is looked up.")
    ] = "common",
    flows: Annotated[
        str | None,
        typer.Option(
            "--flows", metavar="FILE", help="Judge many flows, one a line in JSON; - is stdin."
        ),
    ] = None,
    node: Node = None,
    staged: Staged = False,
    at: At = None,
    context: ContextOption = None,
    output: PlainOption = Plain.TABLE,
) -> None:
    """Say what becomes of a flow, by which rule, and why."""
    given = (from_, to, service, source_port)
    if flows is not None and any(value is not None for value in given):
        raise typer.BadParameter("give either --flows, or --from, --to and --service")
    if flows is None and (from_ is None or to is None or service is None):
        raise typer.BadParameter("give --from, --to and --service, or --flows")
    from shared.cli.flows import FlowArguments
    from shared.cli.tracing import Question, trace_flow, trace_flows

    flow = FlowArguments(from_ or "", to or "", service or "", source_port, tenant)
    if repo is None:
        _only_now(at)
        from shared.cli import judging
        from shared.cli.session import run

        asked = judging.SiteQuestion(context, site, node, staged)
        many = judging.trace_flows(asked, flows, output) if flows is not None else None
        run(many or judging.trace_flow(asked, flow, output))
        return
    if site is None:
        raise typer.BadParameter("say of which site of the repository: --site NAME")
    question = Question(repo, site, node, staged=staged, at=at, form=output)
    if flows is not None:
        trace_flows(question, flows)
    else:
        trace_flow(question, flow)


def _only_now(at: str | None) -> None:
    if at is not None:
        raise typer.BadParameter("a site judges as of now; --at is for repositories")


def compare(
    before: Annotated[Path, typer.Argument(help="The policy repository as it was.")],
    after: Annotated[Path, typer.Argument(help="The policy repository as it is to be.")],
    *,
    site: Annotated[str, typer.Option("--site", "-s", help="The site whose views are compared.")],
    node: Node = None,
    max_boxes: Annotated[
        int, typer.Option("--max-boxes", min=0, help="Show at most so many boxes of each kind.")
    ] = 1000,
    flows: Annotated[
        Path | None,
        typer.Option(
            "--flows",
            metavar="FILE",
            help="Observed flows, one a line in JSON: whose verdict turns?",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME|DURATION",
            help="Only flows last seen since: 2027-03-31T00:00:00Z, or 8h, 7d.",
        ),
    ] = None,
    staged: Staged = False,
    at: At = None,
    output: PlainOption = Plain.TABLE,
) -> None:
    """Show exactly which packets a change newly allows and denies, and what depends on it.

    Exit status 0: nothing changes; 1: a view changes, the site's or a node's.
    """
    if since is not None and flows is None:
        raise typer.BadParameter("--since goes with --flows FILE")
    from shared.cli.comparing import Comparison, run_compare

    asked = Comparison(site, node, staged=staged, max_boxes=max_boxes, flows=flows, since=since)
    raise typer.Exit(run_compare(before, after, asked, at=at, form=output))


def policy_test(
    repo: Repo,
    *,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    annotate: Annotate = False,
    staged: Staged = False,
    at: At = None,
    output: PlainOption = Plain.TABLE,
) -> None:
    """Run the PolicyTest documents of a repository; exit with 1 if one fails."""
    from shared.cli.gitops.reports import Reports
    from shared.cli.testing import run_tests

    reports = Reports(junit, markdown, annotate)
    raise typer.Exit(run_tests(repo, reports=reports, staged=staged, at=at, form=output))


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(rich_help_panel=REPOSITORIES)(validate)
    app.command(rich_help_panel=REPOSITORIES)(resolve)
    app.command(rich_help_panel=REPOSITORIES)(trace)
    app.command(rich_help_panel=REPOSITORIES)(compare)
    policy = typer.Typer(no_args_is_help=True, help="Commands on policy as a whole.")
    policy.command("test")(policy_test)
    app.add_typer(policy, name="policy", rich_help_panel=REPOSITORIES)
    app.add_typer(importing, name="import", rich_help_panel=REPOSITORIES)
