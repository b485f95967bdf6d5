"""Observed flows in words."""

from shared.cli.conflicts.telling import impact
from shared.cli.observed import dependents, sentences

PART = {"flows": 0, "bytes": None, "lastSeen": None, "examples": [], "truncated": False}
EXAMPLE = {"from": "10.0.0.1", "fromWorkload": "w1", "to": "::1", "protocol": "tcp", "port": 443}


def test_where_none_are_recorded_that_is_said_and_not_zero() -> None:
    assert sentences(None) == ["no flows are recorded here, so nobody knows which it would concern"]
    assert sentences({"unreadable": "there is no file x"}) == [
        "observed flows are not told: there is no file x"
    ]


def test_none_of_many_is_said_with_their_number() -> None:
    found = {"judged": 1200, "since": "2026-01-01T00:00:00Z"}
    found |= {"newlyAllowed": PART, "newlyDenied": PART}
    assert sentences(found) == [
        "would change none of 1,200 observed flows seen since 2026-01-01T00:00:00Z"
    ]
    assert sentences({"judged": 0}) == ["would change none of 0 observed flows"]


def test_each_kind_has_its_weight_and_its_heaviest_ends() -> None:
    found = {
        "newlyAllowed": {**PART, "flows": 1},
        "newlyDenied": {
            "flows": 2000,
            "bytes": 12345,
            "lastSeen": "2026-01-01T00:00:00Z",
            "examples": [EXAMPLE],
        },
    }
    assert sentences(found) == [
        "would newly allow 1 observed flow",
        (
            "would newly deny 2,000 observed flows (12,345 bytes, last seen 2026-01-01T00:00:00Z), "
            "such as w1 (10.0.0.1) to ::1, tcp/443"
        ),
    ]


def test_what_another_version_left_out_is_not_told() -> None:
    assert sentences({}) == ["would change none of 0 observed flows"]
    assert sentences([]) == []


def test_a_few_dependents_are_named_and_the_others_counted() -> None:
    found = [{"kind": "SecurityPolicy", "name": f"p{number}"} for number in range(3)]
    assert dependents(found, 0, 3) == "SecurityPolicy p0, SecurityPolicy p1, SecurityPolicy p2"
    assert dependents(found, 7, 2) == "SecurityPolicy p0, SecurityPolicy p1, 8 more"
    assert dependents([], 0, 2) == ""


def test_an_impact_on_packets_goes_on_with_flows_and_dependents() -> None:
    packets = {"packets": "2", "example": None}
    none = {"packets": "0", "example": None}
    found = {
        "newlyAllowed": none,
        "newlyDenied": packets,
        "networks": ["A"],
        "changes": True,
        "flows": None,
        "dependents": [{"kind": "SecurityPolicy", "name": f"p{number}"} for number in range(6)],
        "moreDependents": 2,
    }
    assert impact({"impact": found}) == [
        "would newly deny 2 packets",
        "touches networks A",
        "no flows are recorded here, so nobody knows which it would concern",
        (
            "depending on it: SecurityPolicy p0, SecurityPolicy p1, SecurityPolicy p2, "
            "SecurityPolicy p3, SecurityPolicy p4, 3 more"
        ),
    ]
    older = {"newlyAllowed": none, "newlyDenied": packets, "networks": ["A"], "changes": True}
    assert impact({"impact": older}) == ["would newly deny 2 packets", "touches networks A"]
