"""Passwords, policies that are tried, and the emergency account, by command and on real servers."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.background import PASSWORD, Place, fsm_running, prepare_fsm
from tests.integration.cli.conftest import Done, Hanse

ALICE = "alice's very own password"
NOWHERE = """\
apiVersion: hanse/v1
kind: AuthenticationPolicy
metadata: {name: tried}
spec:
  providers: [ldap, local]
  ldap: {servers: ["ldaps://127.0.0.1:9"], base: "dc=example,dc=com"}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An FSM of the test's own: its accounts change."""
    folder = tmp_path / "federation"
    folder.mkdir()
    place = prepare_fsm(folder)
    with fsm_running(place):
        yield place


def login(hanse: Hanse, place: Place, user: str, password: str) -> Done:
    words = ("login", place.url, "--user", user, "--ca", place.ca, "--name", user)
    return hanse(*words, "--password-file", "-", stdin=password + "\n")


def test_a_user_gets_a_password_and_nothing_holds_its_text(
    hanse: Hanse, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert login(hanse, place, "admin", PASSWORD).status == 0
    words = ("user", "password", "alice", "--password-file", "-")
    assert hanse(*words, stdin=ALICE).status == 2
    done = hanse(*words, "--create", stdin=ALICE)
    assert done.status == 0, done.err
    shown = hanse("get", "credential", "user-alice", "-o", "json")
    assert json.loads(shown.out)["status"]["isSet"] is True

    assert login(hanse, place, "alice", ALICE).status == 0
    refused = login(hanse, place, "alice", ALICE + "!")
    assert (refused.status, "wrong_credentials" in refused.err) == (2, True)
    told = hanse("audit", "--text", "login", "-o", "json", "--context", "admin")
    reasons = {each["reason"] for each in json.loads(told.out)["items"]}
    assert {"local: vouched", "local: refused"} <= reasons

    assert hanse(*words, "--context", "admin", stdin=ALICE + "!").status == 0
    assert login(hanse, place, "alice", ALICE + "!").status == 0
    for file in place.data.rglob("*"):
        assert not file.is_file() or ALICE.encode() not in file.read_bytes(), file
    assert ALICE not in caplog.text
    assert ALICE not in f"{done.out}{done.err}{shown.out}{told.out}"


def test_a_policy_is_tried_before_it_is_applied(hanse: Hanse, place: Place, tmp_path: Path) -> None:
    assert login(hanse, place, "admin", PASSWORD).status == 0
    file = tmp_path / "login.yaml"
    file.write_text(NOWHERE)

    def tried(user: str, password: str) -> tuple[int, Any]:
        words = ("auth", "test", "-f", file, "--user", user, "--password-file", "-", "-o", "json")
        done = hanse(*words, stdin=password)
        return done.status, json.loads(done.out)

    status, found = tried("admin", PASSWORD)
    assert (status, found["outcome"], found["roles"]) == (0, "ok", ["global-admin"])
    directory, local = found["providers"]
    assert (directory["answer"], local["answer"]) == ("unreachable", "vouched")
    assert "127.0.0.1" in directory["reason"]
    assert found["wouldLockYouOut"] is None
    assert tried("admin", "another password")[1]["outcome"] == "provider_unreachable"

    file.write_text(NOWHERE.replace("[ldap, local]", "[ldap]"))
    status, found = tried("admin", PASSWORD)
    assert (status, found["outcome"]) == (1, "provider_unreachable")
    assert "provider local" in found["wouldLockYouOut"]
    # It is only tried: nothing counts.
    assert login(hanse, place, "admin", PASSWORD).status == 0
    refused = hanse("apply", "-f", file, "--context", "admin")
    assert (refused.status, "would_lock_out" in refused.err) == (2, True)


def test_the_console_opens_the_emergency_account(hanse: Hanse, place: Place) -> None:
    words = ("fsm", "break-glass")
    told = hanse(*words, "status", "--data", place.data).out
    assert "is an ordinary local account" in told
    opened = hanse(*words, "open", "--data", place.data, "--reason", "nobody gets in")
    assert opened.status == 0
    secret = opened.out.split("Secret (shown once): ")[1].splitlines()[0]
    assert "is open until" in hanse(*words, "status", "--data", place.data).out

    # The running server obeys: the old password counts no longer, the new one for an hour.
    assert "wrong_credentials" in login(hanse, place, "admin", PASSWORD).err
    assert login(hanse, place, "admin", secret).status == 0
    who = json.loads(hanse("auth", "whoami", "-o", "json").out)
    assert who["emergency"] is True
    assert "BREAK-GLASS" in hanse("status").out
    entries = json.loads(hanse("audit", "--text", "break-glass", "-o", "json").out)["items"]
    assert ("open break-glass", "system:console") in {
        (each["action"], each["identity"]) for each in entries
    }
