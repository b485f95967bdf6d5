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
