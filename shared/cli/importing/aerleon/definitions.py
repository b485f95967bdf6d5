"""Names of networks and services: `.net` and `.svc` files, and YAML with the same in it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from shared.cli.importing.table import MOST_BYTES
from shared.errors import FieldError
from shared.model.source import Faults, GiveUp, Source, decode
from shared.model.yaml_source import read_yaml

Address = IPv4Network | IPv6Network
Sort = Literal["network", "service"]

_TOKEN: Final = re.compile(r"[-_A-Za-z0-9]+")
_PORT: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(\w+)")
_SUFFIXES: Final[Mapping[str, Sort | None]] = {
    ".net": "network",
    ".svc": "service",
    ".yaml": None,
    ".yml": None,
}


_PARTS: Final[tuple[tuple[str, Sort], ...]] = (("networks", "network"), ("services", "service"))


class At(NamedTuple):
    """A place in a file."""

    file: str
    line: int


class Unresolved(Exception):
    """A name stands for something that can't be said; the text is why."""


@dataclass(frozen=True, slots=True)
class Port:
    """One entry of a service: a protocol's name and its ports, first to last."""

    protocol: str
    first: int
    last: int

    @property
    def text(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(slots=True)
class Definitions:
    """Each name's items as written: addresses, `PORT/PROTOCOL`, or other names."""

    networks: dict[str, list[str]] = field(default_factory=dict)
    services: dict[str, list[str]] = field(default_factory=dict)

    def addresses(self, name: str, above: tuple[str, ...] = ()) -> list[Address]:
        """Return a network's addresses in order, nested names followed; Unresolved."""
        if name in above:
            raise Unresolved(f"{name} contains itself")
        if name not in self.networks:
            raise Unresolved(f"there is no network {name} in the definitions")
        found: list[Address] = []
        for item in self.networks[name]:
            if item.startswith("fqdn "):
                raise Unresolved(f"{name} holds the host name {item[5:]}, not an address")
            if _TOKEN.fullmatch(item):
                found += self.addresses(item, (*above, name))
                continue
            try:
                # Aerleon takes host bits for a slip of the pen as well.
                found.append(ip_network(item, strict=False))
            except ValueError:
                raise Unresolved(f"{item!r} in {name} is no address") from None
        if not found:
            raise Unresolved(f"{name} has no addresses")
        return list(dict.fromkeys(found))

    def ports(self, name: str, above: tuple[str, ...] = ()) -> list[Port]:
        """Return a service's entries in order, nested names followed; Unresolved."""
        if name in above:
            raise Unresolved(f"{name} contains itself")
        if name not in self.services:
            raise Unresolved(f"there is no service {name} in the definitions")
        found: list[Port] = []
        for item in self.services[name]:
            written = _PORT.fullmatch(item)
            if written is None:
                if not _TOKEN.fullmatch(item):
                    raise Unresolved(f"{item!r} in {name} is neither PORT/PROTOCOL nor a service")
                found += self.ports(item, (*above, name))
                continue
            first, last = int(written[1]), int(written[2] or written[1])
            if not first <= last <= 65535:
                raise Unresolved(f"{item!r} in {name} is no range of ports")
            found.append(Port(written[3].lower(), first, last))
        if not found:
            raise Unresolved(f"{name} has no ports")
        return list(dict.fromkeys(found))


def read_definitions(folder: Path, faults: list[FieldError]) -> Definitions:
    """Read a folder's `.net`, `.svc` and YAML files; what is wrong goes to `faults`."""
    result = Definitions()
    if not folder.is_dir():
        sentence = "this is no folder of definitions; name it with --definitions"
        faults.append(FieldError("", "unreadable", sentence, file=str(folder)))
        return result
    for file in sorted(folder.iterdir()):
        if file.suffix not in _SUFFIXES or not file.is_file():
            continue
        text = read_text(file, faults)
        if text is None:
            continue
        sort = _SUFFIXES[file.suffix]
        if sort is None:
            _read_yaml(text, str(file), result, faults)
        else:
            _read_lines(text, str(file), sort, result, faults)
    return result


def read_text(file: Path, faults: list[FieldError]) -> str | None:
    """Return a file's text as UTF-8, or None with a fault."""
    problems = Faults(str(file))
    try:
        with file.open("rb") as opened:
            return decode(opened.read(MOST_BYTES + 1), limit=MOST_BYTES, faults=problems)
    except OSError as exc:
        sentence = f"this can't be read: {exc.strerror or exc}"
        faults.append(FieldError("", "unreadable", sentence, file=str(file)))
    except GiveUp:
        faults += problems.found
    return None


def yaml_sources(text: str, file: str, faults: list[FieldError]) -> list[Source]:
    """Return a YAML text's documents, read strictly; what is wrong goes to `faults`."""
    problems = Faults(file)
    found: list[Source] = []
    with suppress(GiveUp):  # the faults say why
        found += read_yaml(text, problems)
    faults += problems.found
    return found


def _read_lines(
    text: str, file: str, sort: Sort, into: Definitions, faults: list[FieldError]
) -> None:
    names = into.networks if sort == "network" else into.services
    items: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        said = line.split("#", 1)[0].strip()
        if not said:
            continue
        name, equals, values = said.partition("=")
        if equals:
            items = _new(names, name.strip(), sort, faults, at=At(file, number))
        else:
            values = said
        if items is None:
            sentence = "a value stands before any NAME ="
            faults.append(FieldError("", "invalid_definition", sentence, file=file, line=number))
            continue
        items += values.split()


def _new(
    names: dict[str, list[str]], name: str, sort: Sort, faults: list[FieldError], *, at: At
) -> list[str]:
    if not _TOKEN.fullmatch(name):
        sentence = f"{name!r} is no name of a {sort}"
        faults.append(FieldError("", "invalid_definition", sentence, at.file, at.line))
    elif name in names:
        sentence = f"the {sort} {name} is defined twice"
        faults.append(FieldError("", "duplicate", sentence, at.file, at.line))
    return names.setdefault(name, [])


def _read_yaml(text: str, file: str, into: Definitions, faults: list[FieldError]) -> None:
    for source in yaml_sources(text, file, faults):
        data = source.data if isinstance(source.data, dict) else {}
        for part, sort in _PARTS:
            found = data.get(part, {})
            if isinstance(found, dict):
                for name, value in found.items():
                    place = source.place().at((part, name))
                    names = into.networks if sort == "network" else into.services
                    items = _new(names, name, sort, faults, at=At(file, place.line))
                    items += _listed(name, value, sort, faults, at=At(file, place.line))
                continue
            sentence = f"{part} must be a mapping of names"
            line = source.place().at((part,)).line
            faults.append(FieldError(part, "invalid_definition", sentence, file, line))


def _listed(
    name: str, value: Any, sort: Sort, faults: list[FieldError], *, at: At
) -> Iterator[str]:
    listed = value.get("values") if isinstance(value, dict) else value
    for item in listed if isinstance(listed, list) else [None]:
        words = list(_items(item, sort))
        if not words:
            sentence = f"{name} has an item that is neither a {sort} nor a name of one"
            faults.append(FieldError("", "invalid_definition", sentence, at.file, at.line))
        yield from words


def _items(item: Any, sort: Sort) -> Iterator[str]:
    if isinstance(item, str):
        yield item
        return
    if not isinstance(item, dict) or item.keys() - _ITEM_KEYS:
        return
    if isinstance(item.get("name"), str):
        yield item["name"]
    elif sort == "network" and isinstance(item.get("address"), str):
        yield item["address"]
    elif sort == "network" and isinstance(item.get("ip"), str):  # its older name
        yield item["ip"]
    elif sort == "network" and isinstance(item.get("fqdn"), str):
        yield f"fqdn {item['fqdn']}"
    elif sort == "service" and "port" in item and "protocol" in item:
        yield f"{item['port']}/{item['protocol']}"


_ITEM_KEYS: Final = frozenset({"name", "address", "ip", "fqdn", "port", "protocol", "comment"})
