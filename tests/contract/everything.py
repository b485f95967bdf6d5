"""A configuration with everything that one can hold."""

from shared.policy.nodeconfig import NodeConfiguration, NodeService
from tests.contract.dataplanes import configuration, make_rule, set_id
from tests.contract.frames import TCP, UDP


def everything() -> NodeConfiguration:
    return configuration(
        make_rule(
            "everything",
            "pass",
            "mandatory",
            log=True,
            source=set_id(1),
            destination=set_id(2),
            within=set_id(3),
            services=(
                NodeService(TCP, ((80, 80), (8000, 8080)), ((1, 1023),)),
                NodeService(TCP, None, ((0, 0), (65535, 65535))),
                NodeService(UDP),
                NodeService(132, ((0, 65535),)),
                *(NodeService(protocol) for protocol in (0, 1, 47, 58, 255)),
            ),
        ),
        make_rule("within", "reject", "local", within=set_id(1)),
        make_rule(
            "same", "deny", "local", source=set_id(1), destination=set_id(1), within=set_id(1)
        ),
        make_rule("source", "deny", "local", source=set_id(2), within=set_id(2)),
        make_rule("any", "allow", "default", log=True),
        default="allow",
        addresses=("10.1.0.0/25", "10.1.0.130/32", "fd01::7/128"),
        _1=("10.1.0.0/24", "10.1.1.0/25", "fd01::/64"),
        _2=("0.0.0.0/0", "::/0"),
        _3=(),
        _4=("0.0.0.0/8", "64.0.0.0/2", "255.255.255.255/32", "ffff:ffff::/32"),
    )
