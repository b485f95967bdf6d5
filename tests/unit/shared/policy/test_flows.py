import pytest

from shared.algebra.ports import PortMatch
from shared.errors import Invalid
from shared.policy.compile import SitePlanner
from shared.policy.flows import one_port, parse_service
from tests.unit.shared.policy.building import service, world

VIEW = SitePlanner(
    world(
        [
            service("ssh", {"protocol": "tcp", "ports": [22]}),
            service("web", {"protocol": "tcp", "ports": [80, 443]}),
            service("ping", {"protocol": "icmp"}),
            service("all", {"protocol": "any"}),
        ]
    )
).view()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp/22", (6, 22)),
        ("17/53", (17, 53)),
        ("ssh", (6, 22)),
        ("ping", (1, None)),
        ("icmpv6", (58, None)),
        ("132/7", (132, 7)),
    ],
)
def test_a_flow_has_one_protocol_and_port(text: str, expected: tuple[int, int | None]) -> None:
    assert one_port(parse_service(text, VIEW, "common"), text) == expected


@pytest.mark.parametrize(
    ("text", "example"), [("web", "tcp/80"), ("all", "tcp/443"), ("tcp/1-2", "tcp/1")]
)
def test_a_service_of_several_ports_names_no_one_flow(text: str, example: str) -> None:
    with pytest.raises(Invalid, match=f"more than one protocol and port.* example {example}$"):
        one_port(parse_service(text, VIEW, "common"), text)


def test_a_range_of_ports_is_meant_whole() -> None:
    assert parse_service("tcp/1-2", VIEW, "common") == (PortMatch(6, (1, 3)),)
