"""The worked examples: what the design says of whole repositories, asked through the command.

Each folder of cases/ is a policy repository.  `two-sites` has resolved rules written by hand,
`refused/*` must be refused with the code that they are named after, and `random/*` have flows with
the verdicts that the design gives them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.cli.main import run

CASES = Path(__file__).parent / "cases"
REFUSED = sorted(path.name for path in (CASES / "refused").iterdir())
RANDOM = sorted((CASES / "random").iterdir(), key=lambda path: int(path.name))


def difference(expected: Any, got: Any, path: str = "") -> str | None:
    """Say where `got` lacks something of `expected`; fields beyond it are welcome."""
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return f"{path}: expected an object, got {got!r}"
        found = (difference(expected[key], got.get(key), f"{path}.{key}") for key in expected)
        return next(filter(None, found), None)
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return f"{path}: expected {len(expected)} items, got {got!r:.200}"
        pairs = enumerate(zip(expected, got, strict=True))
        found = (difference(*pair, f"{path}[{index}]") for index, pair in pairs)
        return next(filter(None, found), None)
    return None if expected == got else f"{path}: expected {expected!r}, got {got!r}"


@pytest.mark.parametrize(
    ("expected", "view"),
    [
        ("resolve-sfo.json", ["--site", "sfo"]),
        ("resolve-sfo-node-7.json", ["--site", "sfo", "--node", "node-7"]),
        ("resolve-fra.json", ["--site", "fra"]),
    ],
)
def test_sites_and_nodes_resolve_names_their_own_way(
    expected: str, view: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    repo = CASES / "two-sites"
    assert run(["resolve", str(repo), *view, "-o", "json"]) == 0
    want = json.loads((repo / "expected" / expected).read_text())
    assert difference(want, json.loads(capsys.readouterr().out)) is None


def test_the_tests_of_a_sound_repository_pass() -> None:
    assert run(["policy", "test", str(CASES / "two-sites")]) == 0


@pytest.mark.parametrize("code", [name for name in REFUSED if name != "failing-test"])
def test_a_faulty_repository_is_refused_with_exactly_its_code(
    code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", str(CASES / "refused" / code), "-o", "json"]) == 2
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert {each["code"] for each in errors} == {code}
    assert all(each["file"] and each["line"] and each["path"] for each in errors)


def test_a_failing_test_is_an_answer_of_no() -> None:
    assert run(["policy", "test", str(CASES / "refused" / "failing-test")]) == 1


@pytest.mark.parametrize("repo", RANDOM, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("expected", "view"),
    [("expected-site.jsonl", []), ("expected-node-n1.jsonl", ["--node", "n1"])],
    ids=["site", "node"],
)
def test_flows_get_the_verdicts_of_the_design(
    repo: Path, expected: str, view: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flows = str(repo / "flows.jsonl")
    arguments = ["trace", str(repo), "--site", "s1", *view, "--flows", flows, "-o", "json"]
    assert run(arguments) == 0
    want = [json.loads(line) for line in (repo / expected).read_text().splitlines()]
    got = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert difference(want, got) is None


@pytest.mark.parametrize("repo", RANDOM[:4], ids=lambda path: path.name)
def test_the_story_of_a_flow_ends_in_the_same_verdict(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (repo / "expected-site.jsonl").read_text().splitlines()[:25]
    for flow in map(json.loads, lines):
        service = f"{flow['protocol']}/{flow['port']}" if "port" in flow else flow["protocol"]
        ends = ["--from", flow["from"], "--to", flow["to"], "--service", str(service)]
        if "sourcePort" in flow:
            ends += ["--source-port", str(flow["sourcePort"])]
        assert run(["trace", str(repo), "--site", "s1", *ends, "-o", "json"]) == 0
        assert difference(flow, json.loads(capsys.readouterr().out)) is None
