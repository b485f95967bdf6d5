"""Terms into rules: exactly, or not at all with the reason.  Pure.

What decides is the first term that matches; a rule decides alike, for a connection's first packet,
if its addresses, protocols and ports are the term's.  A term that never decides (expired, for
another platform, `next`, without an address of the filter's family) is left out and changes
nothing; one that can't be said is left out whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any, Final, Literal, NamedTuple

from shared.cli.importing.aerleon.definitions import Address, Definitions, Port, Unresolved
from shared.cli.importing.aerleon.model import Term
from shared.errors import HanseError
from shared.ids import parse_name

Family = Literal["inet", "inet6", "mixed"]
Side = Literal["source", "destination"]

PROTOCOLS: Final = {
    "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipip": 4, "tcp": 6, "egp": 8, "igp": 9,
    "udp": 17, "rdp": 27, "ipv6": 41, "ipv6-route": 43, "fragment": 44, "rsvp": 46, "gre": 47,
    "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ospf": 89,
    "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}  # fmt: skip
"""Aerleon's names of protocols, by their IANA number."""

ACTIONS: Final = {
    "accept": "allow",
    "deny": "deny",
    "reject": "reject",
    "reject-with-tcp-rst": "reject",
}
_NAMED: Final = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_WITH_PORTS: Final = frozenset({6, 17, 132})
_LOGS: Final = frozenset({"true", "syslog", "local", "log-both"})
_REPLIES: Final = frozenset({"tcp-established", "established"})
_UNDERSTOOD: Final = frozenset(
    {
        "action", "address", "comment", "counter", "destination-address", "destination-exclude",
        "destination-port", "expiration", "logging", "option", "owner", "platform",
        "platform-exclude", "port", "protocol", "protocol-except", "restrict-address-family",
        "source-address", "source-exclude", "source-port", "verbatim",
    }
)  # fmt: skip

_ENDS: Final = frozenset(
    {"source-address", "source-exclude", "destination-address", "destination-exclude"}
)

_VERSIONS: Final[dict[Family, tuple[int, ...]]] = {
    "inet": (4,), "inet6": (6,), "mixed": (4, 6),
}  # fmt: skip
_EVERYTHING: Final = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


class LeftOut(Exception):
    """A term that makes no rule.  `is_harmless`: it never decides, so nothing changes."""

    def __init__(self, keyword: str, reason: str, *, is_harmless: bool = False) -> None:
        super().__init__(reason)
        self.keyword = keyword
        self.reason = reason
        self.is_harmless = is_harmless


@dataclass(frozen=True, slots=True)
class Asked:
    """What a filter's terms are read for."""

    policy: str
    platform: str
    family: Family
    today: date


@dataclass(slots=True)
class Names:
    """What rules refer to: networks with their addresses, services with their ports."""

    networks: dict[str, Sequence[Address]] = field(default_factory=dict)
    services: dict[str, Sequence[Port]] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    """Networks that no definition has, and how they came about."""


class _Ends(NamedTuple):
    """A side's networks, None for any; and which families they have."""

    names: list[str] | None
    versions: frozenset[int]


class Translator:
    def __init__(self, definitions: Definitions, asked: Asked) -> None:
        self._definitions = definitions
        self._asked = asked
        self.names = Names()

    def rules(self, term: Term) -> list[dict[str, Any]]:
        """Return a term's rules, nearly always one; LeftOut with the reason."""
        before = self.names
        # Nothing stays of the names of a term that is left out in the end.
        self.names = Names(dict(before.networks), dict(before.services), dict(before.derived))
        try:
            self._check_applies(term)
            _check_understood(term)
            action = self._action(term)
            services = self._services(term)
            self._check_options(term, action)
            return list(self._rules(term, action, services))
        except LeftOut:
            self.names = before
            raise

    def _check_applies(self, term: Term) -> None:
        platform = self._asked.platform
        only, excluded = term.words("platform"), term.words("platform-exclude")
        if (only and platform not in only) or platform in excluded:
            keyword = "platform" if only else "platform-exclude"
            raise LeftOut(keyword, f"it isn't for {platform}", is_harmless=True)
        verbatim = term.words("verbatim")
        if verbatim and verbatim[0].partition("=")[0] != platform and len(term.fields) == 1:
            raise LeftOut("verbatim", f"it isn't for {platform}", is_harmless=True)
        for text in term.words("expiration"):
            try:
                last = date.fromisoformat(text)
            except ValueError:
                raise LeftOut("expiration", f"{text!r} is no date") from None
            if last <= self._asked.today:
                raise LeftOut("expiration", f"it expired on {last}", is_harmless=True)
            raise LeftOut("expiration", f"a rule can't end by itself, and it does on {last}")

    def _action(self, term: Term) -> str:
        actions = term.words("action")
        if actions == ["next"]:
            reason = "it decides nothing: what comes next does"
            raise LeftOut("action", reason, is_harmless=True)
        if len(actions) != 1 or actions[0] not in ACTIONS:
            raise LeftOut("action", f"no rule does {' '.join(actions) or 'nothing'}")
        for each in term.words("logging"):
            if each not in _LOGS | {"false", "disable"}:
                raise LeftOut("logging", f"logging {each} can't be said")
        try:
            parse_name(term.name)
        except HanseError as exc:
            raise LeftOut("term", exc.message) from exc
        return ACTIONS[actions[0]]

    def _check_options(self, term: Term, action: str) -> None:
        options = term.words("option")
        if not options:
            return
        if action == "allow" and set(options) <= _REPLIES and term.words("protocol") == ["tcp"]:
            reason = "replies of connections that a rule allows pass by themselves"
            raise LeftOut("option", reason, is_harmless=True)
        raise LeftOut("option", f"option {' '.join(options)} can't be said")

    def _rules(
        self, term: Term, action: str, services: Sequence[Any] | str
    ) -> Iterator[dict[str, Any]]:
        family = self._family(term)
        log = any(each in _LOGS for each in term.words("logging"))

        def rule(name: str, source: _Ends, destination: _Ends) -> dict[str, Any]:
            ends = self._in_family(source, destination, family)
            rest = {} if services == "any" else {"services": services}
            more = {"log": True} if log else {}
            return {"name": name, **ends, **rest, "action": action, **more}

        if "address" in term.fields:
            others = sorted(_ENDS & term.fields.keys())
            if others:
                raise LeftOut("address", f"address together with {', '.join(others)}")
            either = self._ends(term, "address", None, family)
            everything = _Ends(None, frozenset(_VERSIONS[family]))
            yield rule(parse_name(f"{term.name}.from"), either, everything)
            yield rule(parse_name(f"{term.name}.to"), everything, either)
            return
        source = self._ends(term, "source-address", "source-exclude", family)
        destination = self._ends(term, "destination-address", "destination-exclude", family)
        yield rule(term.name, source, destination)

    def _family(self, term: Term) -> Family:
        given = term.words("restrict-address-family")
        if not given:
            return self._asked.family
        family = given[0]
        if family == self._asked.family or (self._asked.family == "mixed" and family in _VERSIONS):
            return "inet" if family == "inet" else "inet6" if family == "inet6" else "mixed"
        if family in _VERSIONS:
            reason = f"{family} in a filter for {self._asked.family} matches nothing"
            raise LeftOut("restrict-address-family", reason, is_harmless=True)
        raise LeftOut("restrict-address-family", f"there is no family {family}")

    def _ends(self, term: Term, keyword: str, excluding: str | None, family: Family) -> _Ends:
        """Return the names of a side, of which each has an address of the family."""
        wanted = _VERSIONS[family]
        excluded = term.words(excluding) if excluding else []
        given = term.words(keyword)
        try:
            each = {name: self._definitions.addresses(name) for name in given}
            without = [a for name in excluded for a in self._definitions.addresses(name)]
        except Unresolved as exc:
            raise LeftOut(keyword, str(exc)) from exc
        if excluded and excluding is not None:
            whole = [address for found in each.values() for address in found]
            left = _difference(whole or _EVERYTHING.values(), without, wanted)
            if not left:
                raise LeftOut(excluding, "nothing is left of its addresses", is_harmless=True)
            name = self._named(f"{self._asked.policy}.{term.name}.{keyword}", left)
            words = " ".join(given) or "everything"
            self.names.derived[name] = f"{words} without {' '.join(excluded)}"
            return _Ends([name], frozenset(a.version for a in left))
        if not given:
            return _Ends(None, frozenset(wanted))
        names: list[str] = []
        versions: set[int] = set()
        for name, found in each.items():
            kept = [address for address in found if address.version in wanted]
            if not kept:
                continue
            versions.update(address.version for address in kept)
            if len(kept) < len(found):
                shorter = self._named(f"{name}.{family}", kept)
                self.names.derived[shorter] = f"the {family} addresses of {name}"
                names.append(shorter)
            else:
                names.append(self._named(name, kept))
        if not names:
            raise LeftOut(keyword, f"it has no address of {family}", is_harmless=True)
        return _Ends(names, frozenset(versions))

    def _in_family(self, source: _Ends, destination: _Ends, family: Family) -> dict[str, Any]:
        """Return `from` and `to`; any on both sides would take in a family that isn't meant."""
        if not source.versions & destination.versions:
            raise LeftOut("source-address", "its ends have no family in common", is_harmless=True)
        if source.names is None and destination.names is None and family != "mixed":
            name = self._named(f"all-{family}", [_EVERYTHING[v] for v in _VERSIONS[family]])
            self.names.derived[name] = f"every {family} address"
            source = _Ends([name], source.versions)
        return {"from": _peers(source.names), "to": _peers(destination.names)}

    def _named(self, name: str, addresses: Sequence[Address]) -> str:
        try:
            parse_name(name)
        except HanseError as exc:
            raise LeftOut("source-address", exc.message) from exc
        self.names.networks[name] = addresses
        return name

    def _services(self, term: Term) -> list[dict[str, Any]] | Literal["any"]:
        protocols = _numbers(term, "protocol")
        excepted = _numbers(term, "protocol-except")
        if protocols and excepted:
            raise LeftOut("protocol-except", "protocol and protocol-except together")
        has_ports = {"port", "source-port", "destination-port"} & term.fields.keys()
        if excepted:
            if has_ports:
                raise LeftOut("protocol-except", "ports of protocols that aren't named")
            return [{"protocol": _NAMED.get(n, n)} for n in range(256) if n not in excepted]
        if not has_ports:
            entries = [{"protocol": _NAMED.get(number, number)} for number in protocols]
            return entries or "any"
        if not protocols or not set(protocols) <= _WITH_PORTS:
            keyword = "protocol" if protocols else min(has_ports)
            raise LeftOut(keyword, "ports go only with tcp, udp and sctp")
        spoken = [_NAMED[number] for number in protocols]
        if "port" in term.fields and len(has_ports) > 1:
            raise LeftOut("port", "port together with source-port or destination-port")
        if has_ports == {"destination-port"} and self._is_named(term, spoken):
            return [{"service": name} for name in dict.fromkeys(term.words("destination-port"))]
        return list(self._inline(term, spoken))

    def _inline(self, term: Term, protocols: Sequence[str]) -> Iterator[dict[str, Any]]:
        # As Aerleon has it, the ports of all services on all protocols go with each protocol.
        ports = {
            keyword: self._ports(term, keyword, protocols)
            for keyword in ("port", "source-port", "destination-port")
            if keyword in term.fields
        }
        for protocol in protocols:
            if "port" in ports:
                yield {"protocol": protocol, "ports": ports["port"]}
                yield {"protocol": protocol, "sourcePorts": ports["port"]}
                continue
            more: dict[str, Any] = {}
            if "destination-port" in ports:
                more["ports"] = ports["destination-port"]
            if "source-port" in ports:
                more["sourcePorts"] = ports["source-port"]
            yield {"protocol": protocol, **more}

    def _entries(self, term: Term, keyword: str) -> dict[str, list[Port]]:
        try:
            return {name: self._definitions.ports(name) for name in term.words(keyword)}
        except Unresolved as exc:
            raise LeftOut(keyword, str(exc)) from exc

    def _ports(self, term: Term, keyword: str, protocols: Sequence[str]) -> list[str]:
        found = [
            port
            for entries in self._entries(term, keyword).values()
            for port in entries
            if port.protocol in protocols
        ]
        if not found:
            raise LeftOut(keyword, f"no service has ports of {' '.join(protocols)}")
        return list(dict.fromkeys(port.text for port in found))

    def _is_named(self, term: Term, protocols: Sequence[str]) -> bool:
        """Say whether the services' names mean what the term matches; if so, take them in."""
        entries = self._entries(term, "destination-port")
        of = {
            protocol: {
                (port.first, port.last)
                for found in entries.values()
                for port in found
                if port.protocol == protocol
            }
            for protocol in protocols
        }
        others = {port.protocol for found in entries.values() for port in found} - set(protocols)
        names_fit = all(_is_name(name) for name in entries)
        if others or not names_fit or len({frozenset(each) for each in of.values()}) != 1:
            return False
        if not of[protocols[0]]:
            return False
        self.names.services.update(entries)
        return True


def _check_understood(term: Term) -> None:
    unknown = [each for each in term.fields if each not in _UNDERSTOOD]
    if unknown:
        raise LeftOut(unknown[0], f"{', '.join(unknown)} can't be said")
    if "verbatim" in term.fields:
        raise LeftOut("verbatim", "a platform's own words can't be read")


def _numbers(term: Term, keyword: str) -> list[int]:
    found = []
    for text in term.words(keyword):
        number = PROTOCOLS.get(text.lower())
        if number is None and text.isascii() and text.isdecimal() and int(text) < 256:
            number = int(text)
        if number is None:
            raise LeftOut(keyword, f"there is no protocol {text!r}")
        found.append(number)
    if keyword in term.fields and not found:
        raise LeftOut(keyword, "no protocol is named")
    return list(dict.fromkeys(found))


def _difference(
    whole: Iterable[Address], without: Iterable[Address], versions: Sequence[int]
) -> list[Address]:
    """Return what is left of addresses, of some families, in order and merged."""
    left = [a for a in whole if a.version in versions]
    for hole in without:
        left = [part for each in left for part in _cut(each, hole)]
    four = collapse_addresses([each for each in left if isinstance(each, IPv4Network)])
    six = collapse_addresses([each for each in left if isinstance(each, IPv6Network)])
    return [*four, *six]


def _cut(whole: Address, hole: Address) -> Iterator[Address]:
    """Yield what is left of an address without another."""
    if whole.version != hole.version or not whole.overlaps(hole):
        yield whole
    elif hole.prefixlen > whole.prefixlen:
        # The same family was asked for above.
        yield from whole.address_exclude(hole)  # type: ignore[arg-type]


def _peers(names: Sequence[str] | None) -> Any:
    return "any" if names is None else [{"network": name} for name in names]


def _is_name(text: str) -> bool:
    try:
        parse_name(text)
    except HanseError:
        return False
    return True
