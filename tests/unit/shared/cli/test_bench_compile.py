"""`hanse bench compile` answers in the agreed form, and refuses bad workloads in a sentence."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.verdicts import differing_verdicts
from tests.bench.workload import Parameters, encode, generate
from tests.unit.shared.cli.conftest import Hanse

WORKLOAD = generate(Parameters(networks=30, rules=40, services=10), seed=2)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The command freezes what the collector knows: its process ends soon, this one doesn't."""
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    file = tmp_path / "w.json"
    file.write_bytes(encode(WORKLOAD))
    return file


def compiled(hanse: Hanse, *arguments: object) -> dict[str, Any]:
    done = hanse("bench", "compile", *arguments, "-o", "json")
    assert done.status == 0, done.err
    found: dict[str, Any] = done.data
    return found


def test_the_answer_has_the_agreed_figures(hanse: Hanse, workload: Path) -> None:
    found = compiled(hanse, "--workload", workload, "--changes", 3)
    assert (found["rules"], found["networks"]) == (40, 30)
    assert found["seconds"] > 0
    # Seconds are rounded for the answer.
    assert found["rulesPerSecond"] == pytest.approx(40 / found["seconds"], rel=0.1)
    assert found["peakRssMiB"] > 1
    kinds = {"addRule", "changeNetwork", "relabelWorkload"}
    assert set(found["incrementalSeconds"]) == kinds
    assert all(found["incrementalSeconds"][each] > 0 for each in kinds)
    for each in kinds:
        assert found["incrementalWorstSeconds"][each] >= found["incrementalSeconds"][each]
    assert len(bytes.fromhex(found["hash"])) == 32


def test_equal_workloads_have_equal_hashes(hanse: Hanse, workload: Path) -> None:
    first, second = (compiled(hanse, "--workload", workload, "--changes", 2) for _ in range(2))
    assert first["hash"] == second["hash"]


def test_without_changes_it_only_compiles(hanse: Hanse, workload: Path) -> None:
    found = compiled(hanse, "--workload", workload, "--changes", 0)
    assert found["rules"] == 40
    assert not any(name.startswith("incremental") for name in found)


def test_the_ruleset_is_written_and_says_what_the_workload_says(
    hanse: Hanse, workload: Path, tmp_path: Path
) -> None:
    nft = tmp_path / "ruleset.nft"
    compiled(hanse, "--workload", workload, "--changes", 0, "--nft", nft)
    assert differing_verdicts(WORKLOAD, nft.read_text(), 500, 1) == 0


def test_a_table_is_for_people(hanse: Hanse, workload: Path) -> None:
    done = hanse("bench", "compile", "--workload", workload, "--changes", 1)
    assert done.status == 0
    assert "rules a second" in done.out
    assert "relabelWorkload" in done.out


def test_no_rules_are_compiled_too(hanse: Hanse, tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_bytes(encode({**WORKLOAD, "rules": []}))
    found = compiled(hanse, "--workload", file, "--changes", 0)
    assert (found["rules"], found["rulesPerSecond"]) == (0, 0)


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "is no JSON"),
    "a list": (b"[]", "is no workload: its `format` must be fwbench-workload/1"),
    "another format": (b'{"format": "x"}', "is no workload: its `format` must be"),
    "nothing in it": (b'{"format": "fwbench-workload/1"}', "the workload is incomplete"),
    "an unknown network": (
        json.dumps({**WORKLOAD, "networks": {"N": ["10.0.0.0/8"]}}).encode(),
        "the workload is incomplete",
    ),
    "an unknown action": (
        json.dumps(
            {**WORKLOAD, "rules": [{**WORKLOAD["rules"][0], "action": "maybe"}]}
        ).encode(),
        "the workload is incomplete",
    ),
    "no prefix": (
        json.dumps(
            {**WORKLOAD, "networks": {name: ["nonsense"] for name in WORKLOAD["networks"]}}
        ).encode(),
        "nonsense",
    ),
    "a prefix with bits beyond": (
        json.dumps(
            {**WORKLOAD, "networks": {name: ["10.0.0.1/8"] for name in WORKLOAD["networks"]}}
        ).encode(),
        "10.0.0.1/8",
    ),
    "an unknown protocol": (
        json.dumps(
            {**WORKLOAD, "services": {n: {"proto": "x", "ports": []} for n in WORKLOAD["services"]}}
        ).encode(),
        "'x'",
    ),
    "a port beyond all": (
        json.dumps(
            {
                **WORKLOAD,
                "services": {
                    n: {"proto": "tcp", "ports": [[1, 99999]]} for n in WORKLOAD["services"]
                },
            }
        ).encode(),
        "99999",
    ),
    "networks in a list": (
        json.dumps({**WORKLOAD, "networks": []}).encode(), "the workload is incomplete",
    ),
    "changes to nothing": (
        json.dumps({**WORKLOAD, "rules": []}).encode(), "without networks or rules",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD.items()])
def test_a_bad_workload_is_refused_in_a_sentence(
    hanse: Hanse, tmp_path: Path, bad: tuple[bytes, str]
) -> None:
    file = tmp_path / "w.json"
    file.write_bytes(bad[0])
    done = hanse("bench", "compile", "--workload", file)
    assert (done.status, done.out) == (2, "")
    assert bad[1] in done.err
    assert "Traceback" not in done.err


def test_a_file_that_is_not_there_is_named(hanse: Hanse, tmp_path: Path) -> None:
    done = hanse("bench", "compile", "--workload", tmp_path / "none.json")
    assert done.status == 2
    assert "none.json" in done.err
