"""What staged policies would decide otherwise, worked out the slow way: no judge, no sets.

Written from the words of shared/docs/semantics.md, not from the code: addresses are compared one
CIDR at a time, each world's rules are walked from the first to the last.
"""

from ipaddress import ip_address, ip_network

from shared.policy.nodeconfig import NodeConfiguration, NodeRule, Packet

TIERS = ("mandatory", "local", "default")


def oracle(enforced: NodeConfiguration, packet: Packet) -> str | None:
    """Return the name of the one counter that counts a packet; None if none does."""
    staged = enforced.staged
    assert staged is not None
    if not (lies_in(enforced.addresses, packet, 0) or lies_in(enforced.addresses, packet, 1)):
        return None
    before, path_before = walk(enforced, packet)
    after, path_after = walk(staged, packet)
    if (before == "allow") == (after == "allow"):
        return None
    new = [rule.id for rule in path_after if rule not in enforced.rules]
    gone = [rule.id for rule in path_before if rule not in staged.rules]
    decided = path_after[-1] if path_after and path_after[-1].action != "pass" else None
    cause = decided.id if decided is not None and decided.id in new else [*new, *gone][0]
    return f"would_{'deny' if before == 'allow' else 'allow'}:{cause}"


def walk(configuration: NodeConfiguration, packet: Packet) -> tuple[str, list[NodeRule]]:
    """Return the verdict and the rules that had a say."""
    path: list[NodeRule] = []
    for tier in TIERS:
        for rule in configuration.rules:
            if rule.tier == tier and is_matched(configuration, rule, packet):
                path.append(rule)
                if rule.action == "pass":
                    break
                return rule.action, path
    return configuration.default_action, path


def is_matched(configuration: NodeConfiguration, rule: NodeRule, packet: Packet) -> bool:
    for name, end in ((rule.source, 0), (rule.destination, 1)):
        if name is not None and not lies_in(configuration.sets[name], packet, end):
            return False
    if rule.within is not None:
        cidrs = configuration.sets[rule.within]
        if not (lies_in(cidrs, packet, 0) or lies_in(cidrs, packet, 1)):
            return False
    if rule.services is None:
        return True
    return any(
        each.protocol == packet.protocol
        and has(each.ports, packet.port)
        and has(each.source_ports, packet.source_port)
        for each in rule.services
    )


def lies_in(cidrs: tuple[str, ...], packet: Packet, end: int) -> bool:
    number = (packet.source, packet.destination)[end]
    width = 4 if packet.family == 4 else 16
    address = ip_address(number.to_bytes(width, "big"))
    return any(
        address in network
        for network in map(ip_network, cidrs)
        if network.version == address.version
    )


def has(ranges: tuple[tuple[int, int], ...] | None, value: int) -> bool:
    return ranges is None or any(value in range(first, last + 1) for first, last in ranges)
