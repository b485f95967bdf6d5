"""What a view makes of policy as the text of one nftables table.

For people who want to read or load a site's whole policy.  Nodes get less, each its own share:
shared.policy.nodeconfig.

    forward                     what connection tracking knows, neighbour discovery, the tiers,
                                the default action as the chain's policy
    mandatory, local, default   a tier's rules; `pass` returns
    s1_4, s1_6 …                the addresses of a rule's side, by family, shared by rules
    p1 …                        ports, where there are several

Names of policies and rules hold no quote, no control character and no space, so they may stand
in a comment.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from shared.policy.loaded.columns import NONE, Columns
from shared.policy.nodeconfig import PORT_PROTOCOLS, TIERS, NodeService

_VERDICT: Final = {"allow": "accept", "deny": "drop", "reject": "reject", "pass": "return"}
_PROTOCOL: Final = {6: "tcp", 17: "udp", 132: "sctp"}
_COMMENT_LENGTH: Final = len('comment "') + 127  # nft refuses longer ones

# Neighbour and router discovery, inverse discovery: RFC 4890 section 4.4.1, RFC 4861, RFC 3122.
_DISCOVERY: Final = "icmpv6 type { 133, 134, 135, 136, 141, 142 } ip6 hoplimit 255 accept"

_ANY: Final = ("",)
_FREE: Final = "any"
_EITHER: Final = (_FREE, _FREE)

Ports = tuple[tuple[int, int], ...]


def nftables_text(columns: Columns, default_action: Literal["allow", "deny"]) -> str:
    """Return the table; `default_action` is the site's."""
    return "".join(_Text(columns).lines(default_action))


class _Text:
    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._ports: dict[Ports, str] = {}

    def lines(self, default_action: str) -> Iterator[str]:
        columns = self._columns
        sets: list[str] = []
        names = [_define(row, cidrs, sets) for row, cidrs in enumerate(columns.cidrs)]
        services = [self._services(each.matches) for each in columns.services]
        chains = self._chains(names, services)
        yield "table inet hanse_site {\n"
        yield from sets
        for ports, name in self._ports.items():
            yield (
                f"\tset {name} {{ type inet_service; flags interval; "
                f"elements = {{ {', '.join(_range(*each) for each in ports)} }} }}\n"
            )
        for tier, lines in chains.items():
            yield f"\tchain {tier} {{\n"
            yield from lines
            yield "\t}\n"
        yield (
            "\tchain forward {\n\t\ttype filter hook forward priority filter; "
            f"policy {_VERDICT[default_action]};\n"
            f"\t\tct state established,related accept\n\t\t{_DISCOVERY}\n"
        )
        yield from (f"\t\tjump {tier}\n" for tier in TIERS)
        yield "\t}\n}\n"

    def _chains(
        self, names: Sequence[tuple[str, str]], services: Sequence[Sequence[str]]
    ) -> dict[str, list[str]]:
        columns = self._columns
        chains: dict[str, list[str]] = {tier: [] for tier in TIERS}
        heads = [
            (chains[policy.tier], f'comment "{policy.name.name}/', bound)
            for policy, bound in zip(columns.policies, columns.bounds, strict=True)
        ]
        for policy, data, source, destination, service in columns.rules:
            lines, comment, bound = heads[policy]
            log = "log " if data.get("log") else ""
            comment = f"{comment}{data['name']}"
            if len(comment) > _COMMENT_LENGTH:
                comment = comment[:_COMMENT_LENGTH]
            end = f'counter {log}{_VERDICT[data["action"]]} {comment}"\n'
            matches = _ANY if service == NONE else services[service]
            if source == destination == bound == NONE:
                lines += [f"\t\t{each}{end}" for each in matches]
                continue
            from_four, from_six = _EITHER if source == NONE else names[source]
            to_four, to_six = _EITHER if destination == NONE else names[destination]
            within_four, within_six = _EITHER if bound == NONE else names[bound]
            # A set without addresses of a family has no name there, and its rule no line.
            if from_four and to_four and within_four:
                _add(lines, "ip", (from_four, to_four, within_four), matches, end)
            if from_six and to_six and within_six:
                _add(lines, "ip6", (from_six, to_six, within_six), matches, end)
        return chains

    def _services(self, matches: tuple[NodeService, ...] | None) -> Sequence[str]:
        return _ANY if matches is None else [self._service(each) for each in matches]

    def _service(self, service: NodeService) -> str:
        if service.protocol not in PORT_PROTOCOLS or (
            service.ports is None and service.source_ports is None
        ):
            return f"meta l4proto {service.protocol} "
        protocol = _PROTOCOL[service.protocol]
        text = ""
        for field, ports in (("sport", service.source_ports), ("dport", service.ports)):
            if ports is not None:
                text += f"{protocol} {field} {self._port_set(ports)} "
        return text

    def _port_set(self, ports: Ports) -> str:
        if len(ports) == 1:
            return _range(*ports[0])
        return f"@{self._ports.setdefault(ports, f'p{len(self._ports)}')}"


def _add(
    lines: list[str], header: str, sets: tuple[str, str, str], matches: Sequence[str], end: str
) -> None:
    """Add a rule's lines for one family: for each service, and for each end in a bound."""
    source, destination, bound = sets
    match = "\t\t" if source == _FREE else f"\t\t{header} saddr @{source} "
    if destination != _FREE:
        match = f"{match}{header} daddr @{destination} "
    if bound == _FREE:
        lines += [f"{match}{each}{end}" for each in matches]
        return
    for field in ("saddr", "daddr"):
        lines += [f"{match}{header} {field} @{bound} {each}{end}" for each in matches]


def _define(row: int, cidrs: Sequence[str], sets: list[str]) -> tuple[str, str]:
    """Add a side's sets, one for each family that it has; return their names, "" for none."""
    if not cidrs:
        return "", ""
    if ":" not in cidrs[-1]:
        sets.append(
            f"\tset s{row}_4 {{ type ipv4_addr; flags interval; "
            f"elements = {{ {', '.join(cidrs)} }} }}\n"
        )
        return f"s{row}_4", ""
    # IPv4 stands first.
    first = next(place for place, cidr in enumerate(cidrs) if ":" in cidr)
    name, _ = _define(row, cidrs[:first], sets)
    sets.append(
        f"\tset s{row}_6 {{ type ipv6_addr; flags interval; "
        f"elements = {{ {', '.join(cidrs[first:])} }} }}\n"
    )
    return name, f"s{row}_6"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
