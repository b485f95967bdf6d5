"""`hanse staged`, `promote` and `stage` against an FSM and a site."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.cli.contexts import VARIABLE
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_sites import until


def policy(name: str, stage: str = "staged") -> str:
    return f"""\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {{name: {name}, labels: {{kept: "yes"}}}}
spec:
  stage: {stage}
  rules:
    - {{name: no-ssh, from: any, to: any, services: [{{protocol: tcp, ports: ["22"]}}], action: deny}}
"""


def spec(hanse: Hanse, name: str, *more: str) -> dict[str, object]:
    found = json.loads(hanse("get", "policy", name, "-o", "json", *more).out)
    assert found["metadata"]["labels"] == {"kept": "yes"}
    return dict(found["spec"])


@pytest.fixture(autouse=True)
def nothing_left(logged_in: Hanse) -> Iterator[None]:
    """Take away what a test writes: others compare what the site resolves."""
    yield
    logged_in("delete", "policy", "try")
    logged_in("delete", "policy", "asked", "-c", "sfo")


def test_what_is_staged_is_shown_and_promoted_with_a_reason(logged_in: Hanse) -> None:
    assert logged_in("apply", "-f", "-", stdin=policy("try")).status == 0
    shown = until(
        lambda: logged_in("staged", "try", "-o", "json"),
        lambda found: any(
            each.get("staged") for item in found.get("items", ()) for each in item["sites"]
        ),
    )
    # Other tests may have left sites that never joined.
    (site,) = [each for each in shown["items"][0]["sites"] if each["site"] == "sfo"]
    assert site["staged"]["wouldDeny"] == 0
    assert "WOULD DENY" in logged_in("staged").out
    here = json.loads(logged_in("staged", "try", "-c", "sfo", "-o", "json").out)["items"][0]
    assert [each["rule"] for each in here["rules"]] == ["no-ssh"]
    shown_here = logged_in("staged", "-c", "sfo").out
    assert "no-ssh" in shown_here
    assert all(len(line) <= 80 for line in shown_here.splitlines())

    done = logged_in("promote", "policy", "try", "--reason", "a week without a hit")
    assert (done.status, "(not_confirmed)" in done.err) == (2, True)
    assert "sfo: would newly deny 0 and allow 0 connections" in done.err
    done = logged_in("promote", "policy", "try", "--reason", "x", "--dry-run")
    assert done.out == "securitypolicy/try configured (dry run)\n"
    assert spec(logged_in, "try")["stage"] == "staged"

    done = logged_in("promote", "policy", "try", "--reason", "a week without a hit", "--yes")
    assert (done.status, done.out) == (0, "securitypolicy/try configured\n")
    assert "stage" not in spec(logged_in, "try")
    trail = json.loads(logged_in("history", "policy", "try", "-o", "json").out)["items"]
    assert trail[0]["reason"] == "a week without a hit"
    done = logged_in("promote", "policy", "try", "--reason", "again", "--yes")
    assert (done.status, done.out) == (0, "securitypolicy/try unchanged\n")
    assert "it is enforced already" in done.err

    done = logged_in("stage", "policy", "try", "--reason", "it bit", "--yes")
    assert (done.status, done.out) == (0, "securitypolicy/try configured\n")
    assert "enforced no longer" in done.err
    assert spec(logged_in, "try")["stage"] == "staged"


def test_what_has_no_stage_or_is_not_there_is_said(logged_in: Hanse) -> None:
    done = logged_in("promote", "network", "A", "--reason", "x")
    assert (done.status, "(no_stage)" in done.err) == (2, True)
    assert logged_in("promote", "policy", "nowhere", "--reason", "x").status == 2
    done = logged_in("staged", "nowhere")
    assert (done.status, done.out) == (0, "")
    assert "nowhere is not staged" in done.err


def test_at_a_terminal_one_sees_what_was_counted_and_is_asked(
    logged_in: Hanse, tmp_path: Path
) -> None:
    assert logged_in("apply", "-c", "sfo", "-f", "-", stdin=policy("asked")).status == 0
    until(
        lambda: logged_in("staged", "asked", "-c", "sfo", "-o", "json"),
        lambda found: bool(found["items"]),
    )
    environ = {**os.environ, VARIABLE: str(tmp_path / "contexts.yaml"), "COLUMNS": "80"}
    words = ["promote", "policy", "asked", "-c", "sfo", "--reason", "seen"]
    terminal = Terminal(words, environ)
    terminal.expect("Enforce SecurityPolicy asked (site)? [y/N]")
    assert "no-ssh: would newly deny 0 and allow 0" in terminal.shown
    terminal.say("n")
    terminal.expect("not confirmed; nothing was written")
    assert terminal.wait() == 2
    terminal = Terminal(words, environ)
    terminal.expect("Enforce SecurityPolicy asked (site)? [y/N]")
    terminal.say("y")
    terminal.expect("securitypolicy/asked configured")
    assert terminal.wait() == 0
    assert "stage" not in spec(logged_in, "asked", "-c", "sfo")
