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

from shared.policy.loaded.cells import Rule, Side
from shared.policy.loaded.view import LoadedView
from shared.policy.nodeconfig import PORT_PROTOCOLS, TIERS, NodeService

_VERDICT: Final = {"allow": "accept", "deny": "drop", "reject": "reject", "pass": "return"}
_PROTOCOL: Final = {6: "tcp", 17: "udp", 132: "sctp"}
_COMMENT_LENGTH: Final = 127  # nft refuses longer ones

# Neighbour and router discovery, inverse discovery: RFC 4890 section 4.4.1, RFC 4861, RFC 3122.
_DISCOVERY: Final = "icmpv6 type { 133, 134, 135, 136, 141, 142 } ip6 hoplimit 255 accept"

Ports = tuple[tuple[int, int], ...]


def nftables_text(view: LoadedView, default_action: Literal["allow", "deny"]) -> str:
    """Return the table; `default_action` is the site's."""
    return "".join(_Text(view).lines(default_action))


class _Text:
    def __init__(self, view: LoadedView) -> None:
        self._view = view
        self._sides: dict[Side, tuple[str, str]] = {}
        self._sets: list[str] = []
        self._ports: dict[Ports, str] = {}
        self._services: dict[tuple[NodeService, ...], list[str]] = {}

    def lines(self, default_action: str) -> Iterator[str]:
        chains: dict[str, list[str]] = {tier: [] for tier in TIERS}
        for policy in self._view.ordered:
            lines = chains[policy.tier]
            for rule in policy.rules:
                if rule.is_installed:
                    self._rule(rule, lines)
        yield "table inet hanse_site {\n"
        yield from self._sets
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

    def _rule(self, rule: Rule, lines: list[str]) -> None:
        source, destination, bound = rule.source, rule.destination, rule.policy.bound
        comment = f"{rule.policy.name.name}/{rule.data['name']}"[:_COMMENT_LENGTH]
        log = "log " if rule.data.get("log") else ""
        verdict = _VERDICT[rule.data["action"]]
        end = f'counter {log}{verdict} comment "{comment}"\n'
        services = [""] if rule.matches is None else self._service_texts(rule.matches)
        if source is None and destination is None and bound is None:
            lines += [f"\t\t{service}{end}" for service in services]
            return
        sources = ("", "") if source is None else self._names(source)
        destinations = ("", "") if destination is None else self._names(destination)
        bounds = ("", "") if bound is None else self._names(bound)
        for family, header in enumerate(("ip", "ip6")):
            # A set without addresses of a family has no name there, and its rule no line.
            if (
                (source is not None and not sources[family])
                or (destination is not None and not destinations[family])
                or (bound is not None and not bounds[family])
            ):
                continue
            match = ""
            if source is not None:
                match = f"{header} saddr @{sources[family]} "
            if destination is not None:
                match += f"{header} daddr @{destinations[family]} "
            ends = [match]
            if bound is not None:
                ends = [
                    f"{header} {field} @{bounds[family]} {match}" for field in ("saddr", "daddr")
                ]
            lines += [
                f"\t\t{addresses}{service}{end}" for addresses in ends for service in services
            ]

    def _names(self, side: Side) -> tuple[str, str]:
        """Return the names of a side's sets, by family; "" where it has no addresses."""
        names = self._sides.get(side)
        if names is None:
            number = len(self._sides)
            four, six = _by_family(side.cidrs)
            names = (f"s{number}_4" if four else "", f"s{number}_6" if six else "")
            self._sides[side] = names
            if four:
                self._sets.append(
                    f"\tset {names[0]} {{ type ipv4_addr; flags interval; "
                    f"elements = {{ {', '.join(four)} }} }}\n"
                )
            if six:
                self._sets.append(
                    f"\tset {names[1]} {{ type ipv6_addr; flags interval; "
                    f"elements = {{ {', '.join(six)} }} }}\n"
                )
        return names

    def _service_texts(self, matches: tuple[NodeService, ...]) -> list[str]:
        found = self._services.get(matches)
        if found is None:
            found = self._services[matches] = [self._service(each) for each in matches]
        return found

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


def _by_family(cidrs: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Return the IPv4 and the IPv6 ones; they stand in this order."""
    if not cidrs or ":" not in cidrs[-1]:
        return cidrs, ()
    if ":" in cidrs[0]:
        return (), cidrs
    first = next(place for place, cidr in enumerate(cidrs) if ":" in cidr)
    return cidrs[:first], cidrs[first:]


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
