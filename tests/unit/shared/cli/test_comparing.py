"""`hanse compare`: what it answers, and when its exit status is 1."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.shared.cli.conftest import Hanse, Repo

WORKLOADS = """\
apiVersion: hanse/v1
kind: Workload
metadata: {name: w1}
spec: {addresses: [10.0.0.7], node: n1}
---
apiVersion: hanse/v1
kind: Workload
metadata: {name: far}
spec: {addresses: [10.9.0.7]}
"""
NODE_POLICY = """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {name: here, scope: node/n1}
spec:
  rules:
    - {name: in, from: [{cidr: 192.0.2.0/24}], to: [{network: App}], services: [{protocol: icmp}], action: allow}
"""

Versions = Callable[..., tuple[Path, Path]]


@pytest.fixture
def versions(repo: Repo, tmp_path: Path) -> Versions:
    """Write two versions of a repository; the changes are those of the second."""

    def write(changes: dict[str, str | None] | None = None) -> tuple[Path, Path]:
        before = repo({"sites/s1/workloads.yaml": WORKLOADS})
        after = tmp_path / "after"
        shutil.copytree(before, after)
        for name, content in (changes or {}).items():
            if content is None:
                (after / name).unlink()
            else:
                (after / name).write_text(content)
        return before, after

    return write


def policy(rule: str) -> str:
    return (
        "apiVersion: hanse/v1\nkind: SecurityPolicy\nmetadata: {name: apps}\n"
        f"spec:\n  rules:\n    - {rule}\n"
    )


IN = "{name: in, from: any, to: [{network: App}], services: [{service: web}], action: allow}"


def test_the_answer_is_the_contracts(versions: Versions, hanse: Hanse) -> None:
    narrowed = IN.replace("from: any", "from: [{network: App}]").replace(
        "services: [{service: web}]", "services: [{service: web}, {protocol: udp, ports: [53]}]"
    )
    before, after = versions({"federation/policy.yaml": policy(narrowed)})
    done = hanse("compare", before, after, "--site", "s1", "--max-boxes", "2", "-o", "json")
    assert (done.status, done.err) == (1, "")
    everywhere_else = (2**32 - 256) * 256 * 65536
    assert done.data == {
        "site": "s1",
        "node": None,
        "newlyAllowed": {
            "packets": str(256 * 256 * 65536),
            "example": {
                "from": "10.0.0.0",
                "to": "10.0.0.0",
                "protocol": "udp",
                "port": 53,
                "sourcePort": 0,
            },
            "boxes": [
                {
                    "from": "10.0.0.0/24",
                    "to": "10.0.0.0/24",
                    "protocol": "udp",
                    "ports": "53",
                    "sourcePorts": "any",
                }
            ],
            "truncated": False,
        },
        "newlyDenied": {
            "packets": str(everywhere_else),
            "example": {
                "from": "0.0.0.0",
                "to": "10.0.0.0",
                "protocol": "tcp",
                "port": 443,
                "sourcePort": 0,
            },
            "boxes": [
                {
                    "from": source,
                    "to": "10.0.0.0/24",
                    "protocol": "tcp",
                    "ports": "443",
                    "sourcePorts": "any",
                }
                for source in ("0.0.0.0/5", "8.0.0.0/7")
            ],
            "truncated": True,
        },
        "networks": ["App"],
        # All but 10.0.0.0/24 lost its way to the network, and so did `far`, from outside.
        "workloads": ["far", "w1"],
        "nodes": ["n1"],
        "dependents": [],
        "moreDependents": 0,
        "flows": None,
    }


def test_the_same_twice_changes_nothing(versions: Versions, hanse: Hanse) -> None:
    before, after = versions()
    done = hanse("compare", before, after, "--site", "s1")
    assert (done.status, done.err) == (0, "")
    assert done.out == "Nothing changes at site s1 or its nodes.\n"


def test_rules_that_say_the_same_in_other_words_change_nothing(
    versions: Versions, hanse: Hanse
) -> None:
    halves = IN.replace("name: in", "name: low").replace("from: any", "from: [{network: App}]")
    before, after = versions({"federation/policy.yaml": policy(f"{halves}\n    - {IN}")})
    done = hanse("compare", before, after, "--site", "s1", "-o", "json")
    assert done.status == 0
    assert done.data["newlyAllowed"]["packets"] == "0"


def test_a_change_of_one_node_alone_counts_though_the_site_is_shown(
    versions: Versions, hanse: Hanse
) -> None:
    before, after = versions({"sites/s1/here.yaml": NODE_POLICY})
    site = hanse("compare", before, after, "--site", "s1", "-o", "json")
    assert site.status == 1
    assert site.data["newlyAllowed"]["packets"] == "0"
    assert site.data["nodes"] == ["n1"]
    assert (site.data["networks"], site.data["workloads"]) == (["App"], ["w1"])
    node = hanse("compare", before, after, "--site", "s1", "--node", "n1", "-o", "json")
    assert node.status == 1
    assert node.data["newlyAllowed"]["packets"] == str(256 * 256)
    assert node.data["newlyAllowed"]["example"] == {
        "from": "192.0.2.0",
        "to": "10.0.0.0",
        "protocol": "icmp",
    }
    people = hanse("compare", before, after, "--site", "s1", "--node", "n1")
    assert people.status == 1
    assert people.out.splitlines()[0] == (
        "Newly allowed at site s1, node n1: 65,536 packets, such as 192.0.2.0 to 10.0.0.0, icmp"
    )


def test_reject_is_as_good_as_deny(versions: Versions, hanse: Hanse) -> None:
    denied = IN.replace("allow", "deny")
    before, after = versions({"federation/policy.yaml": policy(denied)})
    other = after.parent / "other"
    shutil.copytree(after, other)
    (other / "federation/policy.yaml").write_text(policy(IN.replace("allow", "reject")))
    assert hanse("compare", after, other, "--site", "s1").status == 0
    assert hanse("compare", before, other, "--site", "s1").status == 1


def test_a_staged_policy_counts_only_when_asked(versions: Versions, hanse: Hanse) -> None:
    staged = policy(IN).replace("spec:", "spec:\n  stage: staged")
    before, after = versions({"federation/policy.yaml": staged})
    assert hanse("compare", before, after, "--site", "s1").status == 1
    assert hanse("compare", before, after, "--site", "s1", "--staged").status == 0


def test_a_node_of_one_version_only_is_left_out(versions: Versions, hanse: Hanse) -> None:
    more = "\n---\napiVersion: hanse/v1\nkind: Node\nmetadata: {name: n2}\nspec: {}\n"
    more += NODE_POLICY.replace("node/n1", "node/n2").join(("---\n", ""))
    before, after = versions({"sites/s1/more.yaml": more})
    assert hanse("compare", before, after, "--site", "s1").status == 0
    done = hanse("compare", before, after, "--site", "s1", "--node", "n2")
    assert done.status == 2
    assert done.err == f"error: {before}: site s1 has no node n2\n"


@pytest.mark.parametrize("missing", ["before", "after"])
def test_a_site_must_be_in_both(versions: Versions, hanse: Hanse, missing: str) -> None:
    before, after = versions()
    shutil.rmtree((before if missing == "before" else after) / "sites")
    place = (before if missing == "before" else after) / "federation/places.yaml"
    place.write_text(place.read_text().replace("s1", "s9"))
    done = hanse("compare", before, after, "--site", "s1")
    assert done.status == 2
    assert done.err.startswith(f"error: {before if missing == 'before' else after}: ")
    assert "s1" in done.err


FLOWS = """\
{"from": "10.0.0.7", "to": "10.0.0.9", "protocol": "tcp", "port": 443, "sourcePort": 1, "bytes": 10, "end": "2026-11-22T10:00:00Z", "verdict": "allow"}
{"from": "10.0.0.7", "to": "10.0.0.9", "protocol": "tcp", "port": 443, "sourcePort": 2, "bytes": 20, "end": "2026-11-23T10:00:00Z"}
{"from": "192.0.2.1", "to": "10.0.0.7", "protocol": "tcp", "port": 443, "bytes": 5, "end": "2026-11-01T10:00:00Z"}
{"from": "10.0.0.7", "to": "10.0.0.9", "protocol": "tcp", "port": 22, "bytes": 7, "end": "2026-11-23T10:00:00Z"}
{"from": "10.9.0.7", "to": "10.9.0.8", "protocol": "icmp"}
"""
AT = ("--at", "2026-11-24T00:00:00Z")


def test_observed_flows_tell_what_a_change_would_turn(
    versions: Versions, hanse: Hanse, tmp_path: Path
) -> None:
    flows = tmp_path / "flows.jsonl"
    flows.write_text(FLOWS)
    before, after = versions({"federation/policy.yaml": policy(IN.replace("allow", "reject"))})
    asked = ("compare", before, after, "--site", "s1", "--flows", flows, *AT)
    found = hanse(*asked, "-o", "json").data["flows"]
    decider = {"policy": "apps", "tenant": "common", "rule": "in", "tier": "default"}
    assert found == {
        "since": None,
        "judged": 5,
        "newlyAllowed": {
            "flows": 0,
            "bytes": None,
            "lastSeen": None,
            "examples": [],
            "truncated": False,
        },
        "newlyDenied": {
            "flows": 3,
            "bytes": 35,
            "lastSeen": "2026-11-23T10:00:00Z",
            "examples": [
                {
                    "from": "10.0.0.7",
                    "to": "10.0.0.9",
                    "protocol": "tcp",
                    "port": 443,
                    "fromWorkload": "w1",
                    "flows": 2,
                    "bytes": 30,
                    "lastSeen": "2026-11-23T10:00:00Z",
                    "recorded": None,
                    "before": {"verdict": "allow", **decider},
                    "after": {"verdict": "reject", **decider},
                },
                {
                    "from": "192.0.2.1",
                    "to": "10.0.0.7",
                    "protocol": "tcp",
                    "port": 443,
                    "toWorkload": "w1",
                    "flows": 1,
                    "bytes": 5,
                    "lastSeen": "2026-11-01T10:00:00Z",
                    "recorded": None,
                    "before": {"verdict": "allow", **decider},
                    "after": {"verdict": "reject", **decider},
                },
            ],
            "truncated": False,
        },
    }
    recent = hanse(*asked, "--since", "2d", "-o", "json").data["flows"]
    assert (recent["since"], recent["judged"]) == ("2026-11-22T00:00:00Z", 4)
    assert recent["newlyDenied"]["flows"] == 2
    people = hanse(*asked, "--since", "2d")
    assert people.status == 1
    assert people.out.endswith(
        """\
Of 4 observed flows seen since 2026-11-22T00:00:00Z:
Newly allowed: none.
Newly denied: 2 observed flows (30 bytes, last seen 2026-11-23T10:00:00Z)
FROM           TO        SERVICE  FLOWS  BYTES  LAST SEEN             BY
w1 (10.0.0.7)  10.0.0.9  tcp/443  2      30     2026-11-23T10:00:00Z  apps/in
"""
    )


def test_observed_flows_change_no_exit_status(
    versions: Versions, hanse: Hanse, tmp_path: Path
) -> None:
    flows = tmp_path / "flows.jsonl"
    flows.write_text(FLOWS)
    before, after = versions()
    done = hanse("compare", before, after, "--site", "s1", "--flows", flows)
    assert (done.status, done.err) == (0, "")
    assert "Of 5 observed flows:\nNewly allowed: none.\nNewly denied: none.\n" in done.out


def test_a_flow_between_nodes_passes_only_if_both_allow(
    versions: Versions, hanse: Hanse, tmp_path: Path
) -> None:
    flows = tmp_path / "flows.jsonl"
    line = '{"from": "192.0.2.1", "to": "%s", "protocol": "icmp", "bytes": 1}\n'
    flows.write_text(line % "10.0.0.7" + line % "10.0.0.8")
    before, after = versions({"sites/s1/here.yaml": NODE_POLICY})
    asked = ("compare", before, after, "--site", "s1", "--flows", flows, "-o", "json")
    found = hanse(*asked).data
    # The site's own view doesn't change, nor does the address that no node enforces for.
    assert found["newlyAllowed"]["packets"] == "0"
    (example,) = found["flows"]["newlyAllowed"]["examples"]
    assert (example["to"], example["toWorkload"]) == ("10.0.0.7", "w1")
    assert hanse(*asked, "--node", "n1").data["flows"]["newlyAllowed"]["flows"] == 2


def test_bad_flows_and_a_window_without_flows_are_refused(
    versions: Versions, hanse: Hanse, tmp_path: Path
) -> None:
    before, after = versions()
    asked = ("compare", before, after, "--site", "s1")
    flows = tmp_path / "flows.jsonl"
    flows.write_text(FLOWS.replace('"port": 22', '"port": 70000'))
    done = hanse(*asked, "--flows", flows)
    assert done.status == 2
    assert f"{flows}:4 port: " in done.err
    missing = hanse(*asked, "--flows", tmp_path / "nothing")
    assert (missing.status, "there is no file" in missing.err) == (2, True)
    assert hanse(*asked, "--since", "2d").status == 2
    assert hanse(*asked, "--flows", flows, "--since", "lately").status == 2


def test_what_depends_on_a_change_is_told_with_its_chain(versions: Versions, hanse: Hanse) -> None:
    change = {"sites/s1/names.yaml": None, "sites/s1/other.yaml": NAMES_MOVED}
    before, after = versions(change)
    done = hanse("compare", before, after, "--site", "s1", "-o", "json")
    assert done.data["dependents"] == [
        {
            "kind": "SecurityPolicy",
            "tenant": "common",
            "scope": "federation",
            "name": "apps",
            "chain": ["Network App (site)", "SecurityPolicy apps (federation)"],
        }
    ]
    people = hanse("compare", before, after, "--site", "s1").out
    assert (
        "Depending on what changes:\n"
        "OBJECT                            BY WAY OF\n"
        "SecurityPolicy apps (federation)  Network App (site)\n"
    ) in people


NAMES_MOVED = """\
apiVersion: hanse/v1
kind: Network
metadata: {name: App}
spec: {subnets: [10.7.0.0/24]}
---
apiVersion: hanse/v1
kind: Node
metadata: {name: n1}
spec: {}
"""
