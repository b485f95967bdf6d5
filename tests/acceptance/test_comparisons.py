"""`hanse compare` between worked examples, read as its contract puts it and by nothing of ours: boxes
are disjoint and add up to the count, and flows change their verdict exactly in them.
"""

import json
from collections.abc import Sequence
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from shared.cli.main import run
from tests.acceptance.test_worked_examples import RANDOM

WITH_PORTS = {"tcp": 6, "udp": 17, "sctp": 132}
NAMES = {**WITH_PORTS, "icmp": 1, "icmpv6": 58}
VIEWS = [("expected-site.jsonl", []), ("expected-node-n1.jsonl", ["--node", "n1"])]
PAIRS = [*pairwise(RANDOM), (RANDOM[0], RANDOM[0])]


@pytest.mark.parametrize(("expected", "view"), VIEWS, ids=["site", "node"])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_flows_change_their_verdict_in_the_boxes_and_nowhere_else(
    pair: tuple[Path, Path],
    expected: str,
    view: Sequence[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = pair
    command = ["compare", str(before), str(after), "--site", "s1", *view, "-o", "json"]
    status = run([*command, "--max-boxes", "1000"])
    answer = json.loads(capsys.readouterr().out)
    was, becomes = (verdicts(pair, repo, expected, view, capsys) for repo in pair)
    sides = [answer["newlyAllowed"], answer["newlyDenied"]]
    for side in sides:
        if not side["truncated"]:
            assert sum(map(size, side["boxes"])) == int(side["packets"])
        assert (side["example"] is None) == (side["packets"] == "0")
        assert side["example"] is None or side["truncated"] or inside(side, side["example"])
        for one, other in combinations(side["boxes"][:150], 2):
            assert not overlap(one, other), (one, other)
    for flow, old, new in zip(flows(pair), was, becomes, strict=True):
        moved = (old != "allow" and new == "allow", old == "allow" and new != "allow")
        for side, expected_there in zip(sides, moved, strict=True):
            there = inside(side, flow)
            assert there == expected_there or (side["truncated"] and not there), flow
    assert any(side["packets"] != "0" for side in sides) <= bool(status)
    assert status == int(before != after)


def flows(pair: tuple[Path, Path]) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for repo in pair
        for line in (repo / "flows.jsonl").read_text().splitlines()
    ]


def verdicts(
    pair: tuple[Path, Path],
    repo: Path,
    expected: str,
    view: Sequence[str],
    capsys: pytest.CaptureFixture[str],
) -> list[str]:
    """Return the verdicts in `repo` of both files of flows: its own as the design gives them."""
    found = []
    for other in pair:
        if other == repo:
            lines = (repo / expected).read_text()
        else:
            file = str(other / "flows.jsonl")
            assert (
                run(["trace", str(repo), "--site", "s1", *view, "--flows", file, "-o", "json"]) == 0
            )
            lines = capsys.readouterr().out
        found += [json.loads(line)["verdict"] for line in lines.splitlines()]
    return found


@cache
def protocols(text: str | int) -> set[int]:
    if text == "any":
        return set(range(256))
    return {NAMES[text] if isinstance(text, str) else text}


@cache
def ports(text: str) -> tuple[int, int]:
    if text == "any":
        return 0, 65535
    first, _, last = text.partition("-")
    return int(first), int(last or first)


@cache
def networks(text: str) -> list[Any]:
    return [ip_network(each) for each in (("0.0.0.0/0", "::/0") if text == "any" else (text,))]


def ends(box: dict[str, Any]) -> list[tuple[Any, Any]]:
    return pairs(box["from"], box["to"])


@cache
def pairs(source: str, target: str) -> list[tuple[Any, Any]]:
    return [
        (one, two)
        for one in networks(source)
        for two in networks(target)
        if one.version == two.version
    ]


def size(box: dict[str, Any]) -> int:
    addresses = sum(source.num_addresses * target.num_addresses for source, target in ends(box))
    each = [ports(box["ports"]), ports(box["sourcePorts"])]
    numbers = (each[0][1] - each[0][0] + 1) * (each[1][1] - each[1][0] + 1)
    having = set(WITH_PORTS.values())
    found = protocols(box["protocol"])
    return addresses * (len(found - having) + len(found & having) * numbers)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    shared = protocols(one["protocol"]) & protocols(other["protocol"])
    if not shared:
        return False
    if shared <= set(WITH_PORTS.values()):
        for field in ("ports", "sourcePorts"):
            (first, last), (low, high) = ports(one[field]), ports(other[field])
            if last < low or high < first:
                return False
    return any(
        source.version == a.version and source.overlaps(a) and target.overlaps(b)
        for source, target in ends(one)
        for a, b in ends(other)
    )


def inside(side: dict[str, Any], flow: dict[str, Any]) -> bool:
    source, target = ip_address(flow["from"]), ip_address(flow["to"])
    protocol = next(iter(protocols(flow["protocol"])))
    for box in side["boxes"]:
        if protocol not in protocols(box["protocol"]):
            continue
        if protocol in WITH_PORTS.values():
            low, high = ports(box["ports"])
            first, last = ports(box["sourcePorts"])
            if not (low <= flow["port"] <= high and first <= flow["sourcePort"] <= last):
                continue
        if any(source in one and target in two for one, two in ends(box)):
            return True
    return False
