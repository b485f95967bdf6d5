"""`hanse import`: how its commands are called; what they do is imported when one runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from shared.cli.output import Plain

commands = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Bring what one has into a policy repository; what can't be said is listed.",
)

_KINDS: Final[Mapping[str, Literal["Network", "Workload"]]] = {
    "networks": "Network",
    "workloads": "Workload",
}
_FAMILIES: Final[Mapping[str, Literal["inet", "inet6", "mixed"]]] = {
    "inet": "inet",
    "inet6": "inet6",
    "mixed": "mixed",
}

Into = Annotated[
    Path,
    typer.Option(
        "--into", metavar="FOLDER", help="The policy repository, new or there already, to write to."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]
AcceptGaps = Annotated[
    bool, typer.Option("--accept-gaps", help="Exit with 0 although something was left out.")
]
OutputOption = Annotated[Plain, typer.Option("--output", "-o", help="The form of the report.")]


@commands.command("csv")
def csv_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Tables with a header, as CSV.")
    ],
    *,
    into: Into,
    site: Annotated[
        str | None,
        typer.Option("--site", "-s", help="Whose rows these are, where no column says so."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="networks|workloads",
            help="What the rows are; else by their columns.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", metavar="NAME", help="Else UTF-8, or as its mark says."),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", metavar="CHARACTER", help="Else , ; tab or | by the header."),
    ] = None,
    ignore_column: Annotated[
        list[str] | None,
        typer.Option("--ignore-column", metavar="NAME", help="Leave it out without a word."),
    ] = None,
    declare: Annotated[
        bool,
        typer.Option("--declare", help="Declare the networks' names on the FSM as well."),
    ] = False,
    declare_nodes: Annotated[
        bool, typer.Option("--declare-nodes", help="Write Nodes that workloads name, admitted.")
    ] = False,
    force: ForceOption = False,
    accept_gaps: AcceptGaps = False,
    output: OutputOption = Plain.TABLE,
) -> None:
    """Import subnets with their VLANs, or workloads, from tables.

    Columns are known by their usual names, in any case: name (network, host, ...), subnet (cidr,
    prefix), vlan (vlan id, vid), address (ip, ip address), node, site, tenant, description, labels
    (KEY=VALUE; KEY=VALUE), and label:KEY.  A name may have several rows, or several subnets or
    addresses in a cell.  Bad rows are all told at once, and then nothing is written.
    """
    from shared.cli.importing.from_csv import CSVArguments, import_csv

    if kind is not None and kind not in _KINDS:
        raise typer.BadParameter("it is networks or workloads", param_hint="--kind")
    if delimiter is not None and len(delimiter) != 1:
        raise typer.BadParameter("it is one character", param_hint="--delimiter")
    asked = CSVArguments(
        files=files,
        into=into,
        site=site,
        kind=None if kind is None else _KINDS[kind],
        encoding=encoding,
        delimiter=delimiter,
        ignored=ignore_column or (),
        declare=declare,
        declare_nodes=declare_nodes,
        force=force,
        accept_gaps=accept_gaps,
        form=output,
    )
    raise typer.Exit(import_csv(asked))


@commands.command("aerleon")
def aerleon(
    policy: Annotated[
        Path, typer.Argument(metavar="POLICY", help="A policy: .pol, or YAML with filters.")
    ],
    *,
    into: Into,
    site: Annotated[str, typer.Option("--site", "-s", help="Whose networks the definitions are.")],
    definitions: Annotated[
        Path,
        typer.Option(
            "--definitions", "-d", metavar="FOLDER", help="With .net and .svc files, or YAML."
        ),
    ] = Path("def"),
    base: Annotated[
        Path | None,
        typer.Option("--base", metavar="FOLDER", help="Where includes are; else the policy's."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call the SecurityPolicy; else as the file."),
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="NAME|NUMBER", help="Which of several: by its name, or from 1."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="PLATFORM", help="For which of several it is meant."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family", metavar="inet|inet6|mixed", help="Else as its options and platform say."
        ),
    ] = None,
    priority: Annotated[int, typer.Option("--priority", min=100, max=1000)] = 500,
    force: ForceOption = False,
    accept_gaps: AcceptGaps = False,
    output: OutputOption = Plain.TABLE,
) -> None:
    """Import a filter of Capirca or Aerleon: its names, and its terms as rules.

    A term that can't be said exactly is left out whole and listed. If more would pass without
    it, nothing is written but with --accept-gaps.
    """
    from shared.cli.importing.from_aerleon import AerleonArguments, import_aerleon

    if family is not None and family not in _FAMILIES:
        raise typer.BadParameter("it is inet, inet6 or mixed", param_hint="--family")
    asked = AerleonArguments(
        policy=policy,
        definitions=definitions,
        base=base or policy.parent,
        into=into,
        site=site,
        name=name or policy.stem,
        filter=filter_,
        target=target,
        family=None if family is None else _FAMILIES[family],
        priority=priority,
        force=force,
        accept_gaps=accept_gaps,
        form=output,
    )
    raise typer.Exit(import_aerleon(asked))
