"""`hanse rollback` against an FSM and a site: an earlier version as a new revision."""

import json
import os
from pathlib import Path

from shared.cli.contexts import VARIABLE
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_objects import network


def revision(hanse: Hanse, kind: str, name: str, *more: str) -> int:
    shown = json.loads(hanse("get", kind, name, "-o", "json", *more).out)
    return int(shown["metadata"]["revision"])


def test_an_earlier_version_is_written_as_a_new_one_and_audited(logged_in: Hanse) -> None:
    first = network("Back", "10.0.0.0/24", more=", labels: {a: x}, annotations: {note: one}")
    assert logged_in("apply", "-f", "-", stdin=first).status == 0
    then = revision(logged_in, "network", "Back")
    second = network("Back", "10.0.1.0/24", more=", labels: {a: y}")
    assert logged_in("apply", "-f", "-", stdin=second).status == 0

    done = logged_in("rollback", "network", "Back", "--to", then)
    assert (done.status, "(not_confirmed)" in done.err) == (2, True)
    done = logged_in("rollback", "network", "Back", "--to", then, "--dry-run")
    assert "-  - 10.0.1.0/24\n+  - 10.0.0.0/24\n" in done.out
    assert done.out.endswith("network/Back configured (dry run)\n")
    assert json.loads(logged_in("get", "network", "Back", "-o", "json").out)["spec"] == {
        "subnets": ["10.0.1.0/24"]
    }

    done = logged_in("rollback", "network/Back", "--to", then, "--yes", "--reason", "ticket 4711")
    assert (done.status, done.out) == (0, "network/Back configured\n")
    shown = json.loads(logged_in("get", "network", "Back", "-o", "json").out)
    assert shown["spec"] == {"subnets": ["10.0.0.0/24"]}
    assert shown["metadata"]["labels"] == {"a": "x"}
    assert shown["metadata"]["annotations"] == {"note": "one"}
    assert (shown["metadata"]["revision"] > then, shown["metadata"]["generation"]) == (True, 3)
    trail = json.loads(logged_in("history", "network", "Back", "-o", "json").out)["items"]
    assert trail[0]["reason"] == f"rollback to revision {then}: ticket 4711"

    done = logged_in("rollback", "network", "Back", "--to", then, "--yes")
    assert (done.status, done.out) == (0, "network/Back unchanged\n")


def test_what_was_deleted_comes_back_and_what_was_not_there_does_not(logged_in: Hanse) -> None:
    assert logged_in("apply", "-f", "-", stdin=network("RolledAway", "10.0.0.0/24")).status == 0
    then = revision(logged_in, "network", "RolledAway")
    assert logged_in("delete", "network", "RolledAway").status == 0
    done = logged_in("rollback", "network", "RolledAway", "--to", then, "--yes")
    assert (done.status, done.out) == (0, "network/RolledAway created\n")

    done = logged_in("rollback", "network", "RolledAway", "--to", then - 1, "--yes")
    assert done.status == 2
    assert f"at revision {then - 1} there was no Network RolledAway (federation): " in done.err
    assert "it was created later" in done.err
    done = logged_in("rollback", "network", "RolledAway", "--to", then + 1, "--yes")
    assert f"it had been deleted by revision {then + 1}" in done.err
    assert logged_in("rollback", "network", "NeverThere", "--to", then, "--yes").status == 2


def test_a_version_that_would_be_invalid_now_is_refused(logged_in: Hanse) -> None:
    policy = """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {name: rolled}
spec:
  rules:
    - {name: one, from: any, to: [{network: RolledNet}], action: allow}
"""
    assert logged_in("apply", "-f", "-", stdin=network("RolledNet") + policy).status == 0
    then = revision(logged_in, "policy", "rolled")
    assert logged_in("delete", "policy", "rolled").status == 0
    assert logged_in("delete", "network", "RolledNet").status == 0
    done = logged_in("rollback", "policy", "rolled", "--to", then, "--yes")
    assert done.status == 2
    assert "there is no network RolledNet" in done.err
    assert "(unknown_network)" in done.err
    done = logged_in("rollback", "credential", "any", "--to", then, "--yes")
    assert "(secret_not_kept)" in done.err


def test_at_a_site_too_but_what_is_inherited_is_the_fsms(logged_in: Hanse) -> None:
    text = network("BackHere", "10.3.0.0/24")
    assert logged_in("apply", "-c", "sfo", "-f", "-", stdin=text).status == 0
    then = revision(logged_in, "network", "BackHere", "-c", "sfo")
    text = network("BackHere", "10.3.1.0/24")
    assert logged_in("apply", "-c", "sfo", "-f", "-", stdin=text).status == 0
    done = logged_in("rollback", "network", "BackHere", "--to", then, "-y", "-c", "sfo")
    assert (done.status, done.out) == (0, "network/BackHere configured\n")
    shown = json.loads(logged_in("get", "network", "BackHere", "-c", "sfo", "-o", "json").out)
    assert shown["spec"] == {"subnets": ["10.3.0.0/24"]}


def test_at_a_terminal_one_sees_what_changes_and_is_asked(logged_in: Hanse, tmp_path: Path) -> None:
    assert logged_in("apply", "-f", "-", stdin=network("Asked", "10.0.0.0/24")).status == 0
    then = revision(logged_in, "network", "Asked")
    assert logged_in("apply", "-f", "-", stdin=network("Asked", "10.0.1.0/24")).status == 0
    environ = {**os.environ, VARIABLE: str(tmp_path / "contexts.yaml"), "COLUMNS": "80"}
    words = ["rollback", "network", "Asked", "--to", str(then)]
    terminal = Terminal(words, environ)
    terminal.expect("Write it so? [y/N]")
    assert "10.0.1.0/24" in terminal.shown
    terminal.say("n")
    terminal.expect("not confirmed; nothing was written")
    assert terminal.wait() == 2
    terminal = Terminal(words, environ)
    terminal.expect("Write it so? [y/N]")
    terminal.say("y")
    terminal.expect("network/Asked configured")
    assert terminal.wait() == 0
