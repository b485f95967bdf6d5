"""Of a site's past flows people of a tenant know those with an end of theirs, and none of others'."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from sdsp.flows import Past, PastFlows
from shared.clock import SystemClock
from shared.errors import FieldError, Invalid
from shared.policy.flow_columns import Observed
from shared.telemetry.flow_lines import FlowReader
from tests.unit.shared.policy.building import network, override, tenant, workload, world

HERE = world(
    [
        tenant("blue"),
        tenant("red"),
        network("wide", "10.0.0.0/8", "2001:db8::/32"),
        network("blues", "10.1.0.0/24", tenant="blue"),
        network("reds", tenant="red"),
    ],
    [
        network("blues", "10.1.1.0/24", "2001:db8:1::/48", tenant="blue", scope="node/n1"),
        override("moved", "Network", "reds", {"subnets": ["10.2.0.0/24"]}, target_tenant="red"),
        workload("r", "2001:db8:2::1", tenant="red"),
    ],
)
BLUE = ("10.1.0.1", "10.1.1.1")
RED = "10.2.0.1"
FREE = "10.3.0.1"


def past(*pairs: tuple[str, str]) -> Past:
    reader = FlowReader("flows")
    for source, to in pairs:
        line = {"from": source, "to": to, "protocol": "icmp" if "." in to else "icmpv6"}
        reader.read(json.dumps(line).encode())
    return Past(Observed(reader.columns()))


def shown(tenants: set[str] | None, *pairs: tuple[str, str]) -> list[int]:
    """Return which of the pairs are shown."""
    found = []
    for place, pair in enumerate(pairs):
        narrow = past(pair).shown_to(None if tenants is None else frozenset(tenants), HERE)
        assert narrow.observed is not None
        found += [place] * len(narrow.observed.flows)
    return found


PAIRS = (
    (BLUE[0], FREE),
    (FREE, BLUE[1]),
    (BLUE[0], BLUE[1]),
    (BLUE[0], RED),
    (RED, BLUE[1]),
    (FREE, FREE),
    (RED, FREE),
    ("2001:db8:1::5", "2001:db8:9::9"),
    ("2001:db8:1::5", "2001:db8:2::1"),
)


def test_one_s_own_flows_are_shown_and_no_other_s() -> None:
    assert shown({"blue"}, *PAIRS) == [0, 1, 2, 7]
    assert shown({"red"}, *PAIRS) == [6]
    assert shown({"blue", "red"}, *PAIRS) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert shown({"common"}, *PAIRS) == [5]
    assert shown(set(), *PAIRS) == []
    assert shown(None, *PAIRS) == list(range(len(PAIRS)))


def test_together_they_are_shown_as_one_by_one() -> None:
    narrow = past(*PAIRS).shown_to(frozenset({"blue"}), HERE)
    assert narrow.observed is not None
    assert len(narrow.observed.flows) == 4


def test_where_none_are_recorded_there_is_nothing_to_show() -> None:
    assert Past().shown_to(frozenset({"blue"}), HERE) == Past()
    assert Past().told({"flows": None}) == {"flows": None}


class Broken:
    def since(self, moment: datetime | None) -> Observed:
        fault = FieldError("port", "invalid_flow", "no port", file="f", line=3)
        raise Invalid("f has lines that are no flows", fields=[fault, fault])


def test_what_cannot_be_read_is_told_by_its_first_fault() -> None:
    with ThreadPoolExecutor(1) as executor:
        flows = PastFlows(
            Broken(), window=timedelta(days=7), executor=executor, clock=SystemClock()
        )
        found = asyncio.run(flows.read())
    assert found.unreadable == "f has lines that are no flows: f:3 port: no port (invalid_flow)"
    assert found.told({"flows": None, "nodes": []}) == {
        "flows": {"unreadable": found.unreadable},
        "nodes": [],
    }
