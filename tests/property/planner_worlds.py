"""The planner's inputs from worlds of plain dicts, and its answers in the oracle's words."""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.inputs import Document as PlannerDocument
from shared.policy.inputs import Documents, SiteInputs
from shared.policy.nodeconfig import Packet
from shared.policy.verdict import Decision
from tests.property import oracle
from tests.property.oracle_inheritance import Document, World


def planner_document(document: Document, usual: str) -> PlannerDocument:
    metadata = document["metadata"]
    key = Key(
        document["kind"],
        metadata.get("tenant", "common"),
        metadata.get("scope", usual),
        metadata["name"],
    )
    spec = KINDS[document["kind"]].spec.model_validate(document["spec"])
    return PlannerDocument(key, spec, metadata.get("labels", {}))


def site_inputs(world: World, site: str, now: datetime) -> SiteInputs:
    return SiteInputs(
        site=site,
        federation=Documents(planner_document(each, "federation") for each in world["federation"]),
        local=Documents(planner_document(each, "site") for each in world["sites"][site]),
        now=now,
    )


def packet(flow: dict[str, Any]) -> Packet:
    source, target = ip_address(flow["from"]), ip_address(flow["to"])
    protocol = oracle.number(flow["protocol"])
    ports = protocol in oracle.WITH_PORTS
    return Packet(
        4 if source.version == 4 else 6,
        int(source),
        int(target),
        protocol,
        flow.get("sourcePort", oracle.EPHEMERAL) if ports else 0,
        flow["port"] if ports else 0,
    )


def flow_of(packet: Packet) -> dict[str, Any]:
    address = IPv4Address if packet.family == 4 else IPv6Address
    flow: dict[str, Any] = {
        "from": str(address(packet.source)),
        "to": str(address(packet.destination)),
        "protocol": packet.protocol,
    }
    if packet.protocol in oracle.WITH_PORTS:
        flow |= {"port": packet.port, "sourcePort": packet.source_port}
    return flow


def judgement(decision: Decision) -> oracle.Judgement:
    """Return the planner's decision as the oracle puts it."""
    rule = decision.rule
    if rule is None:
        return oracle.Judgement(decision.verdict, decision.tier, None, None, None)
    return oracle.Judgement(decision.verdict, decision.tier, rule.tenant, rule.policy, rule.rule)
