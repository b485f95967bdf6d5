"""Rows of a table as Networks and Workloads, by columns' usual names, nothing guessed.  Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from shared.cli.importing.findings import Gap
from shared.cli.importing.table import Row, Table, is_formula
from shared.errors import FieldError, HanseError
from shared.ids import COMMON, parse_dns_label, parse_name
from shared.model.base import Address, LabelKey, LabelValue, Subnet

Kind = Literal["Network", "Workload"]

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("name", "network", "network name", "workload", "host", "hostname", "host name", "vm"),
    "subnet": ("subnet", "subnets", "cidr", "prefix", "prefixes", "ip prefix", "network address"),
    "vlan": ("vlan", "vlan id", "vlanid", "vid"),
    "address": ("address", "addresses", "ip", "ips", "ip address", "ip addresses", "primary ip"),
    "node": ("node", "dsn", "enforced by"),
    "site": ("site", "location"),
    "tenant": ("tenant",),
    "labels": ("labels", "tags"),
    "description": ("description", "comment", "comments", "note", "notes"),
}
"""Which header means which field; case, and `_` or `-` for a space, don't matter."""

LABEL: Final = "label:"
_FIELDS: Final[Mapping[Kind, frozenset[str]]] = {
    "Network": frozenset({"name", "subnet", "vlan", "site", "tenant", "labels", "description"}),
    "Workload": frozenset({"name", "address", "node", "site", "tenant", "labels", "description"}),
}
_SUBNET: Final[TypeAdapter[Any]] = TypeAdapter(Subnet)
_ADDRESS: Final[TypeAdapter[Any]] = TypeAdapter(Address)
_KEY: Final[TypeAdapter[Any]] = TypeAdapter(LabelKey)
_VALUE: Final[TypeAdapter[Any]] = TypeAdapter(LabelValue)


@dataclass(slots=True)
class Entry:
    """One Network or Workload, of one row or several."""

    kind: Kind
    site: str
    tenant: str
    name: str
    row: Row
    values: list[str] = field(default_factory=list)
    """Subnets or addresses."""
    single: dict[str, Any] = field(default_factory=dict)
    """vlan or node."""
    labels: dict[str, str] = field(default_factory=dict)
    description: str | None = None

    def spec(self) -> dict[str, Any]:
        part = "subnets" if self.kind == "Network" else "addresses"
        return {**({part: self.values} if self.values else {}), **self.single}


def columns_of(table: Table, kind: Kind | None) -> tuple[Kind, dict[str, str]] | str:
    """Return what a table is of and which column is which field; a sentence if it can't be told."""
    fields: dict[str, str] = {}
    for column in table.columns:
        meant = _field_of(column)
        if meant is None:
            continue
        if meant in fields:
            return f"{fields[meant]!r} and {column!r} both mean {meant}; rename one"
        fields[meant] = column
    if kind is None:
        if ("subnet" in fields) == ("address" in fields):
            return (
                "the header has to have either a column of subnets or one of addresses; say which "
                "with --kind networks or --kind workloads"
            )
        kind = "Network" if "subnet" in fields else "Workload"
    if "name" not in fields:
        return f"no column is the name: call it one of {', '.join(ALIASES['name'])}"
    return kind, {meant: column for meant, column in fields.items() if meant in _FIELDS[kind]}


def _field_of(column: str) -> str | None:
    plain = " ".join(column.lower().replace("_", " ").replace("-", " ").split())
    return next((meant for meant, names in ALIASES.items() if plain in names), None)


def left_out_columns(
    table: Table, fields: Mapping[str, str], file: str, ignored: Sequence[str]
) -> Iterator[Gap]:
    """Yield the columns that mean nothing here."""
    used = {*fields.values(), *ignored}
    for column in table.columns:
        if column not in used and not column.lower().startswith(LABEL):
            reason = f"no field is called so; see --help, or say --ignore-column {column!r}"
            yield Gap(file, 1, f"column {column}", column, reason)


class Inventory:
    """Collects entries from rows; `faults` are all that is wrong with them."""

    def __init__(self, *, site: str | None, faults: list[FieldError]) -> None:
        self._site = site
        self._faults = faults
        self._entries: dict[tuple[str, str, str, str], Entry] = {}

    @property
    def entries(self) -> list[Entry]:
        return list(self._entries.values())

    def add(self, kind: Kind, row: Row, fields: Mapping[str, str]) -> None:
        """Take one row in; a name that was there already gets more subnets or addresses."""
        before = len(self._faults)
        name = self._parsed(row, fields, "name", parse_name, needed=True)
        site = self._parsed(row, fields, "site", parse_dns_label) or self._site
        tenant = self._parsed(row, fields, "tenant", parse_name) or COMMON
        if site is None:
            column = fields.get("site", "site")
            self._faults.append(
                row.fault(column, "say which site, or --site NAME", code="missing_field")
            )
        values = self._values(kind, row, fields)
        single = self._single(kind, row, fields)
        labels = self._labels(row, fields)
        description = row.cells.get(fields.get("description", ""))
        if description is not None and is_formula(description):
            self._formula(row, fields["description"], description)
        if len(self._faults) > before or name is None or site is None:
            return
        key = (kind, site, tenant, name)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(kind, site, tenant, name, row)
        entry.description = entry.description or description
        self._merge(entry.single, single, entry, row)
        self._merge(entry.labels, labels, entry, row)
        for value in values:
            if value in entry.values:
                sentence = f"{entry.name} has {value} already, from line {entry.row.line}"
                self._faults.append(row.fault("name", sentence, code="duplicate"))
            else:
                entry.values.append(value)

    def _merge(
        self, into: dict[str, Any], found: Mapping[str, Any], entry: Entry, row: Row
    ) -> None:
        for part, value in found.items():
            if into.setdefault(part, value) != value:
                first = f"{entry.name} has {part} {into[part]} from line {entry.row.line}"
                self._faults.append(
                    row.fault(part, f"{first}, and here {value}", code="contradiction")
                )

    def _parsed(
        self, row: Row, fields: Mapping[str, str], part: str, parse: Any, *, needed: bool = False
    ) -> str | None:
        column = fields.get(part)
        text = row.cells.get(column) if column else None
        if text is None:
            if needed and column:
                self._faults.append(
                    row.fault(column, f"the {part} is missing", code="missing_field")
                )
            return None
        try:
            return str(parse(text))
        except HanseError as exc:
            self._faults.append(row.fault(column or part, exc.message, code=exc.code))
            return None

    def _values(self, kind: Kind, row: Row, fields: Mapping[str, str]) -> list[str]:
        part = "subnet" if kind == "Network" else "address"
        column = fields.get(part)
        text = row.cells.get(column) if column else None
        if column is None or text is None:
            if kind == "Workload":
                sentence = "a workload needs an address"
                self._faults.append(row.fault(column or part, sentence, code="missing_field"))
            return []
        adapter = _SUBNET if kind == "Network" else _ADDRESS
        found = []
        for each in text.replace(",", " ").replace(";", " ").split():
            try:
                found.append(str(adapter.validate_python(each)))
            except ValidationError as exc:
                error = exc.errors(include_url=False)[0]
                self._faults.append(row.fault(column, str(error["msg"]), code=str(error["type"])))
        return found

    def _single(self, kind: Kind, row: Row, fields: Mapping[str, str]) -> dict[str, Any]:
        if kind == "Workload":
            node = self._parsed(row, fields, "node", parse_dns_label)
            return {} if node is None else {"node": node}
        column = fields.get("vlan")
        text = row.cells.get(column) if column else None
        if column is None or text is None:
            return {}
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 4094):
            sentence = f"{text!r} is no VLAN: a number from 1 to 4094"
            self._faults.append(row.fault(column, sentence, code="invalid_value"))
            return {}
        return {"vlan": int(text)}

    def _labels(self, row: Row, fields: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        pairs = []
        column = fields.get("labels", "")
        for each in row.cells.get(column, "").replace(",", ";").split(";"):
            if not each.strip():
                continue
            key, equals, value = each.partition("=")
            if not equals:
                sentence = f"{each.strip()!r} is no label: write KEY=VALUE; KEY=VALUE"
                self._faults.append(row.fault(column, sentence, code="invalid_label"))
                continue
            pairs.append((column, key.strip(), value.strip()))
        for name, cell in row.cells.items():
            if name.lower().startswith(LABEL):
                pairs.append((name, name[len(LABEL) :].strip(), cell))
        for where, key, value in pairs:
            if is_formula(value):
                self._formula(row, where, value)
                continue
            try:
                found[_KEY.validate_python(key)] = _VALUE.validate_python(value)
            except ValidationError as exc:
                sentence = str(exc.errors(include_url=False)[0]["msg"])
                self._faults.append(row.fault(where, sentence, code="invalid_label"))
        return found

    def _formula(self, row: Row, column: str, text: str) -> None:
        sentence = f"{text[:40]!r} begins as a formula does, which a spreadsheet would run"
        self._faults.append(row.fault(column, sentence, code="formula"))
