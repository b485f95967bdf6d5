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
