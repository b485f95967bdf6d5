"""`hanse auth test` before a policy of a real directory: who is vouched for, and why others aren't."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.directory import (
    BASE,
    PASSWORDS,
    SERVICE_PASSWORD,
    Directory,
    directory_server,
)
from tests.integration.cli.background import PASSWORD, Place
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.test_login_policy import login, place

__all__ = ["place"]

pytestmark = pytest.mark.slapd


class Trial:
    """A policy on file, and the command that tries it."""

    def __init__(self, hanse: Hanse, file: Path, slapd: Directory) -> None:
        self.hanse = hanse
        self.file = file
        self.slapd = slapd

    def write(self, *providers: str, **settings: Any) -> None:
        document = {
            "apiVersion": "hanse/v1",
            "kind": "AuthenticationPolicy",
            "metadata": {"name": "tried"},
            "spec": {"providers": providers, "ldap": dict(self.slapd.settings(**settings))},
        }
        self.file.write_text(json.dumps(document))

    def ask(self, user: str, password: str) -> tuple[int, Any]:
        """Return the command's exit status and what it says."""
        words = ("auth", "test", "-f", self.file, "--user", user)
        done = self.hanse(*words, "--password-file", "-", "-o", "json", stdin=password)
        assert password not in done.out + done.err
        return done.status, json.loads(done.out)


@pytest.fixture
def slapd() -> Iterator[Directory]:
    """A directory of the test's own, which may end."""
    with directory_server() as server:
        yield server


@pytest.fixture
def trial(hanse: Hanse, place: Place, tmp_path: Path, slapd: Directory) -> Trial:
    assert login(hanse, place, "admin", PASSWORD).status == 0
    secret = {
        "apiVersion": "hanse/v1",
        "kind": "Credential",
        "metadata": {"name": "directory"},
        "spec": {"secret": SERVICE_PASSWORD},
    }
    file = tmp_path / "directory.json"
    file.write_text(json.dumps(secret))
    done = hanse("apply", "-f", file, "--yes")
    assert done.status == 0, done.err
    trial = Trial(hanse, tmp_path / "login.json", slapd)
    trial.write("ldap", "local")
    return trial


def test_whom_a_directory_vouches_for_is_seen_before_the_policy_counts(
    trial: Trial, place: Place
) -> None:
    status, found = trial.ask("alice", PASSWORDS["alice"])
    assert (status, found["outcome"]) == (0, "ok")
    assert (found["providers"][0]["provider"], found["providers"][0]["answer"]) == (
        "ldap",
        "vouched",
    )
    assert {"admins", "engineers"} <= set(found["providers"][0]["groups"])
    # It is only tried.
    assert "wrong_credentials" in login(trial.hanse, place, "alice", PASSWORDS["alice"]).err


def test_a_wrong_password_and_a_wrong_base_are_told_from_a_directory_that_is_down(
    trial: Trial,
) -> None:
    status, found = trial.ask("alice", PASSWORDS["bob"])
    assert (status, found["outcome"]) == (1, "wrong_credentials")
    assert found["providers"][0]["answer"] == "refused"

    # Nobody of that name is there: the directory was asked, and has answered.
    trial.write("ldap", "local", base=f"ou=services,{BASE}")
    status, found = trial.ask("alice", PASSWORDS["alice"])
    assert (status, found["outcome"]) == (1, "wrong_credentials")
    assert found["providers"][0]["answer"] == "refused"

    # There is no such place at all, which is a mistake of the policy's.
    trial.write("ldap", "local", base=f"ou=nowhere,{BASE}")
    status, found = trial.ask("alice", PASSWORDS["alice"])
    assert (status, found["outcome"]) == (1, "provider_unreachable")
    assert found["providers"][0]["answer"] == "unreachable"
    assert f"ou=nowhere,{BASE} isn't there" in found["providers"][0]["reason"]

    trial.write("ldap", "local")
    trial.slapd.stop(kill=True)
    status, found = trial.ask("alice", PASSWORDS["alice"])
    assert (status, found["outcome"]) == (1, "provider_unreachable")
    assert found["providers"][0]["answer"] == "unreachable"
    assert "127.0.0.1" in found["providers"][0]["reason"]


def test_a_directory_that_does_not_know_its_author_would_lock_him_out(trial: Trial) -> None:
    trial.write("ldap")
    status, found = trial.ask("alice", PASSWORDS["alice"])
    assert (status, found["outcome"]) == (0, "ok")
    assert found["wouldLockYouOut"]
    refused = trial.hanse("apply", "-f", trial.file, "--yes")
    assert (refused.status, "would_lock_out" in refused.err) == (2, True)
