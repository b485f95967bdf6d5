"""How status reads: tables of made-up answers, word for word."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.cli.standing import print_federation, print_own_site
from tests.fakes.clock import VirtualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ago(**passed: float) -> str:
    return (NOW - timedelta(**passed)).isoformat()


def site(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "region": None,
        "joined": False,
        "certificateExpires": None,
        "connected": False,
        "lastSeen": None,
        "revision": None,
        "policies": {},
        "refused": [],
        "held": [],
        "exceptions": [],
        "unresolved": [],
        **more,
    }


def nodes(realised: int, total: int) -> dict[str, int]:
    return {"total": total, "realised": realised, "pending": 0, "failed": 0}


def at_site(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "site": name,
        "state": state,
        "reason": None,
        "generation": None,
        "nodes": nodes(0, 0),
        "failing": [],
        "unresolved": [],
        **more,
    }


FEDERATION = {
    "revision": 9,
    "sites": [
        site("fra", region="eu", policies={"pending": 1}),
        site(
            "sfo",
            region="us-west",
            joined=True,
            connected=True,
            lastSeen=ago(seconds=2),
            revision=9,
            policies={"failed": 1, "realised": 2},
            held=[{"kind": "Network", "name": "Old", "reason": "not_in_snapshot"}],
            exceptions=[
                {"target": {"kind": "SecurityPolicy", "name": "base"}, "reason": "legacy ftp"}
            ],
            conflicts={"open": 3, "immediate": 1, "deferred": 0, "asOf": 9, "pending": True},
        ),
    ],
    "policies": [
        {
            "kind": "SecurityPolicy",
            "name": "base",
            "tenant": "common",
            "scope": "federation",
            "wanted": 3,
            "sites": [
                at_site("fra", "pending", reason="not_joined"),
                at_site("sfo", "realised", generation=3, nodes=nodes(2, 2), exceptions=1),
            ],
        },
        {
            "kind": "SecurityPolicy",
            "name": "shop",
            "tenant": "acme",
            "scope": "region/us-west",
            "wanted": 2,
            "sites": [
                at_site(
                    "sfo",
                    "failed",
                    reason="unknown_zone",
                    generation=1,
                    nodes=nodes(1, 2),
                    failing=[{"node": "node-7", "code": "table_full"}],
                    unresolved=[{"rule": "r", "side": "to", "reference": "network:X"}],
                )
            ],
        },
        {
            "kind": "SecurityPolicy",
            "name": "nowhere",
            "tenant": "common",
            "scope": "federation",
            "wanted": 1,
            "sites": [],
        },
    ],
}

FEDERATION_SHOWN = """\
SITE  REGION   JOINED  CONNECTED  LAST SEEN  REVISION  POLICIES              HELD  CONFLICTS
fra   eu       no      no         never                1 pending             0
sfo   us-west  yes     yes        2s ago     9         2 realised, 1 failed  1     STAND

POLICY                               WANTED  SITE  STATE                RUNS  NODES  WHY NOT
base                                 3       fra   pending                    0/0    not_joined
base                                 3       sfo   realised             3     2/2    1 exception
shop (tenant acme) [region/us-west]  2       sfo   failed               1     1/2    WHY
nowhere                              1             no site is selected

Site sfo
WHAT       OBJECT               WHY
held       Network Old          not_in_snapshot
exception  SecurityPolicy base  legacy ftp
""".replace("WHY\nn", "unknown_zone; node-7: table_full; network:X means nothing there (rule r)\nn")
FEDERATION_SHOWN = FEDERATION_SHOWN.replace("STAND", "1 immediate, 2 open (being judged)")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(NOW)


def test_the_federations_status(clock: VirtualClock, capsys: pytest.CaptureFixture[str]) -> None:
    print_federation(FEDERATION, clock, wide=False)
    assert capsys.readouterr().out == FEDERATION_SHOWN


SITE = {
    "site": "sfo",
    "upstream": {
        "connected": False,
        "heardAt": ago(hours=3),
        "error": "silent",
        "position": {"revision": 7},
    },
    "policies": [
        {
            "tenant": "common",
            "name": "base",
            "scope": "federation",
            "state": "partial",
            "nodes": nodes(2, 2),
            "failing": [],
            "unresolved": [{"rule": "r", "side": "to", "reference": "network:X"}],
        }
    ],
    "nodes": [
        {
            "name": "node-1",
            "admission": "admitted",
            "wanted": {"generation": 4, "hash": "x"},
            "state": "failed",
            "connected": True,
            "lastSeen": ago(seconds=1),
            "generation": 3,
            "code": "table_full",
            "message": None,
        },
        {"name": "node-2", "admission": "pending", "wanted": None, "state": "pending"},
    ],
    "unenforced": ["printer"],
    "held": [],
}


SITE_SHOWN = """\
Site sfo: not connected to the FSM (silent), last heard 3h ago; the FSM's revision 7

POLICY  SCOPE       STATE    NODES  WHY NOT
base    federation  partial  2/2    network:X means nothing there (rule r)

NODE    ADMISSION  STATE    CONNECTED  LAST SEEN  RUNS  WANTED  WHY NOT
node-1  admitted   failed   yes        1s ago     3     4       table_full
node-2  pending    pending  no         never

Workloads that no node enforces for: printer
"""


SERVICES_SHOWN = """\
NODE    ADMISSION  STATE    CONNECTED  LAST SEEN  SERVICES                RUNS  WANTED  WHY NOT
node-1  admitted   failed   yes        1s ago     firewall, loadBalancer  3     4       table_full
node-2  pending    pending  no         never
"""


def test_services_are_shown_once_a_node_runs_more_than_the_firewall(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = SITE["nodes"]
    more = {**one, "services": ["firewall", "loadBalancer"]}
    print_own_site({**SITE, "nodes": [more, {**other, "services": []}]}, clock)
    assert SERVICES_SHOWN in capsys.readouterr().out
    print_own_site({**SITE, "nodes": [{**one, "services": ["firewall"]}, other]}, clock)
    assert capsys.readouterr().out == SITE_SHOWN


def test_a_sites_own_status(clock: VirtualClock, capsys: pytest.CaptureFixture[str]) -> None:
    print_own_site(SITE, clock)
    assert capsys.readouterr().out == SITE_SHOWN
