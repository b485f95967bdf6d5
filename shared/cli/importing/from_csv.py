"""`hanse import csv`: subnets, VLANs and workloads of a spreadsheet into a policy repository."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cli.asking import moment
from shared.cli.importing.findings import Gap, Report, print_report, refuse
from shared.cli.importing.folder import Target, document
from shared.cli.importing.inventory import Entry, Inventory, Kind, columns_of, left_out_columns
from shared.cli.importing.table import MOST_BYTES, decode_table, read_table
from shared.cli.output import Plain
from shared.errors import FieldError, Invalid
from shared.ids import COMMON, parse_dns_label

_FILES = {"Network": "networks.yaml", "Workload": "workloads.yaml", "Node": "nodes.yaml"}


@dataclass(frozen=True, slots=True)
class CSVArguments:
    """What to read and how to take it."""

    files: Sequence[Path]
    into: Path
    site: str | None
    kind: Kind | None
    encoding: str | None
    delimiter: str | None
    ignored: Sequence[str]
    declare: bool
    declare_nodes: bool
    force: bool
    accept_gaps: bool
    form: Plain


def import_csv(asked: CSVArguments) -> int:
    """Write the documents and print the report; return the exit status.

    Invalid (`invalid_source`) with every bad row: then nothing is written.
    """
    target = Target(asked.into, force=asked.force)
    faults: list[FieldError] = []
    gaps: list[Gap] = []
    site = None if asked.site is None else parse_dns_label(asked.site)
    inventory = Inventory(site=site, faults=faults)
    for file in asked.files:
        _read(file, asked, inventory, gaps, faults)
    entries = inventory.entries
    faults += _unknown_nodes(entries, target, asked)
    refuse(sorted(faults, key=lambda each: (each.file or "", each.line or 0)))
    if not entries:
        raise Invalid("there are no rows in it; nothing was written", code="no_documents")
    documents = _documents(entries, target, asked)
    notes = target.write(documents, now=moment(None))
    counts = Counter(each["kind"] for found in documents.values() for each in found)
    written = [str(asked.into / name) for name in documents]
    print_report(Report(dict(counts), written, gaps, notes), asked.form)
    return 1 if gaps and not asked.accept_gaps else 0


def _read(
    file: Path,
    asked: CSVArguments,
    inventory: Inventory,
    gaps: list[Gap],
    faults: list[FieldError],
) -> None:
    name = str(file)
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as exc:
        sentence = f"this can't be read: {exc.strerror or exc}"
        faults.append(FieldError("", "unreadable", sentence, file=name))
        return
    text = decode_table(data, file=name, encoding=asked.encoding)
    if isinstance(text, FieldError):
        faults.append(text)
        return
    table = read_table(text, file=name, delimiter=asked.delimiter, faults=faults)
    if table is None:
        return
    meant = columns_of(table, asked.kind)
    if isinstance(meant, str):
        faults.append(FieldError("", "invalid_header", meant, file=name, line=1))
        return
    kind, fields = meant
    gaps += left_out_columns(table, fields, name, asked.ignored)
    for row in table.rows:
        inventory.add(kind, row, fields)


def _unknown_nodes(
    entries: Sequence[Entry], target: Target, asked: CSVArguments
) -> list[FieldError]:
    if asked.declare_nodes:
        return []
    return [
        each.row.fault(
            "node",
            f"there is no Node {node} at site {each.site} in {asked.into}; declare it there, or "
            "let --declare-nodes do it",
            code="unknown_node",
        )
        for each in entries
        if (node := each.single.get("node")) and not target.has("Node", node, site=each.site)
    ]


def _documents(
    entries: Sequence[Entry], target: Target, asked: CSVArguments
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    above = [
        document("Site", site, {})
        for site in dict.fromkeys(each.site for each in entries)
        if not target.has("Site", site)
    ]
    above += [
        document("Tenant", tenant, {})
        for tenant in dict.fromkeys(each.tenant for each in entries)
        if tenant != COMMON and not target.has("Tenant", tenant)
    ]
    if asked.declare:
        names = dict.fromkeys((e.tenant, e.name) for e in entries if e.kind == "Network")
        above += [
            document("Network", name, {}, tenant=tenant)
            for tenant, name in names
            if not target.has("Network", name)
        ]
    if above:
        found[target.free_name("federation/imported")] = above
    for each in entries:
        notes = {"description": each.description} if each.description else None
        made = document(
            each.kind,
            each.name,
            each.spec(),
            tenant=each.tenant,
            labels=each.labels,
            annotations=notes,
        )
        found.setdefault(f"sites/{each.site}/{_FILES[each.kind]}", []).append(made)
    if asked.declare_nodes:
        for site, node in dict.fromkeys(
            (each.site, each.single["node"]) for each in entries if "node" in each.single
        ):
            if not target.has("Node", node, site=site):
                made = document("Node", node, {})
                found.setdefault(f"sites/{site}/{_FILES['Node']}", []).append(made)
    return found
