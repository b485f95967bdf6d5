"""What the command prints for people, as recorded; look at the difference before re-recording."""

from pathlib import Path

import pytest

from shared.cli.main import run

HERE = Path(__file__).parent
REPO = str(HERE.parent / "acceptance" / "cases" / "two-sites")
BROKEN = str(HERE / "cli" / "broken")
FLOW = ["--from", "10.1.10.11", "--to", "10.1.20.21"]
FLOWS = str(HERE / "cli" / "flows.jsonl")

COMMANDS = {
    "validate": (0, ["validate", REPO]),
    "validate-broken": (2, ["validate", BROKEN]),
    "validate-broken-json": (2, ["validate", BROKEN, "-o", "json"]),
    "resolve": (0, ["resolve", REPO, "--site", "sfo"]),
    "resolve-wide": (0, ["resolve", REPO, "--site", "fra", "-o", "wide"]),
    "resolve-name": (0, ["resolve", REPO, "--site", "sfo", "-o", "name"]),
    "resolve-broken": (2, ["resolve", BROKEN, "--site", "s1"]),
    "resolve-yaml": (0, ["resolve", REPO, "--site", "sfo", "-o", "yaml"]),
    "trace": (0, ["trace", REPO, "--site", "sfo", *FLOW, "--service", "postgres"]),
    "trace-node": (0, ["trace", REPO, "--site", "sfo", "-n", "node-7", *FLOW, "--service", "icmp"]),
    "trace-json": (0, ["trace", REPO, "--site", "fra", *FLOW, "--service", "tcp/1", "-o", "json"]),
    "trace-flows": (0, ["trace", REPO, "--site", "sfo", "--flows", FLOWS]),
    "policy-test": (0, ["policy", "test", REPO]),
    "policy-test-failing": (1, ["policy", "test", str(HERE / "cli" / "failing")]),
    "explain": (0, ["explain"]),
    "explain-kind": (0, ["explain", "SecurityPolicy"]),
    "explain-field": (0, ["explain", "SecurityPolicy.spec.rules.services"]),
    "explain-nothing": (2, ["explain", "SecurityPolicy.spec.rulse"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_what_was_recorded(
    name: str,
    update_golden: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    status, arguments = COMMANDS[name]
    got = run(arguments)
    printed = capsys.readouterr()
    text = f"exit {got}\n--- stdout\n{printed.out}--- stderr\n{printed.err}"
    recorded = HERE / "cli" / f"{name}.txt"
    if update_golden:
        recorded.write_text(text)
    assert got == status
    assert text == recorded.read_text()
