"""Logging in: whom to trust, where the password comes from, what is kept."""

import os
import re
import stat
from pathlib import Path

import pytest

from shared.cli.trust import fingerprints, read_roots
from shared.pki.certificates import certificates_to_pem
from tests.fakes.federation import Federation
from tests.integration.cli.background import PASSWORD, Place
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.terminal import Terminal


@pytest.fixture
def with_password(monkeypatch: pytest.MonkeyPatch, hanse: Hanse) -> Hanse:
    monkeypatch.setenv("HANSE_PASSWORD", PASSWORD)
    return hanse


def test_a_server_is_trusted_by_its_root(fsm: Place, with_password: Hanse, tmp_path: Path) -> None:
    done = with_password("login", fsm.url, "--user", "admin", "--ca", fsm.ca)
    assert done.status == 0, done.err
    assert done.out.startswith(f"Logged in to the FSM ({fsm.url}) as admin until ")
    file = tmp_path / "contexts.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    assert with_password("whoami").out.startswith("user:admin: global-admin, in all tenants")


def test_a_server_is_trusted_by_the_fingerprint_of_its_root(
    fsm: Place, with_password: Hanse
) -> None:
    fingerprint = fingerprints(read_roots(fsm.ca))[0]
    for text in (fingerprint, fingerprint.replace(":", "").lower(), f"sha256:{fingerprint}"):
        done = with_password("login", fsm.url, "--user", "admin", "--fingerprint", text)
        assert done.status == 0, done.err


def test_an_unknown_server_is_sent_nothing_where_nobody_can_confirm_it(
    fsm: Place, with_password: Hanse, tmp_path: Path
) -> None:
    done = with_password("login", fsm.url, "--user", "admin")
    assert done.status == 2
    assert "--ca FILE, or --fingerprint SHA256" in done.err
    assert not (tmp_path / "contexts.yaml").exists()


def test_a_wrong_fingerprint_is_refused(fsm: Place, with_password: Hanse) -> None:
    done = with_password("login", fsm.url, "--user", "admin", "--fingerprint", "ab" * 32)
    assert done.status == 2
    assert "another root" in done.err
    done = with_password("login", fsm.url, "--user", "admin", "--fingerprint", "abc")
    assert done.status == 2
    assert "64 hexadecimal digits" in done.err


def test_a_server_of_another_federation_is_refused(
    fsm: Place, with_password: Hanse, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_text(certificates_to_pem(Federation().roots))
    done = with_password("login", fsm.url, "--user", "admin", "--ca", other)
    assert done.status == 3
    assert "from another CA (wrong_root)" in done.err


def test_a_site_is_sent_no_password_unless_it_is_the_one_that_is_meant(
    site: Place, with_password: Hanse
) -> None:
    login = ("login", site.url, "--user", "admin", "--ca", site.ca)
    done = with_password(*login)
    assert done.status == 2
    assert "pass --site sfo (wrong_host)" in done.err
    done = with_password(*login, "--site", "fra")
    assert done.status == 2
    assert "spiffe://fra.hanse.example/sdsp is expected there" in done.err
    done = with_password(*login, "--site", "sfo")
    assert done.status == 0
    assert "Logged in to site sfo" in done.out


def test_a_context_expects_the_server_that_it_was_made_with(
    fsm: Place, site: Place, with_password: Hanse, tmp_path: Path
) -> None:
    assert with_password("login", fsm.url, "--user", "admin", "--ca", fsm.ca).status == 0
    # As if a site's server had taken over the FSM's address.
    file = tmp_path / "contexts.yaml"
    file.write_text(file.read_text().replace(fsm.url, site.url))
    done = with_password("whoami")
    assert done.status == 3
    assert "the FSM is expected here, not spiffe://sfo.hanse.example/sdsp" in done.err
    done = with_password("login", site.url)
    assert done.status == 2
    assert "spiffe://hanse.example/fsm is expected there" in done.err


def test_a_known_server_needs_no_more_than_the_password(
    fsm: Place, logged_in: Hanse, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\nnot this\n")
    assert logged_in("login", fsm.url, "--password-file", secret).status == 0
    assert logged_in("login", fsm.url, "--password-file", "-", stdin=f"{PASSWORD}\n").status == 0


def test_a_wrong_password_changes_nothing(fsm: Place, logged_in: Hanse, tmp_path: Path) -> None:
    before = (tmp_path / "contexts.yaml").read_text()
    done = logged_in("login", fsm.url, "--password-file", "-", stdin="wrong wrong wrong\n")
    assert done.status == 2
    assert "the user name or the password is wrong (wrong_credentials)" in done.err
    assert "request id: " in done.err
    done = logged_in("login", fsm.url, "--password-file", "-")
    assert done.status == 2
    assert "the password is empty" in done.err
    done = logged_in("login", fsm.url)
    assert done.status == 2
    assert "--password-file FILE, or set HANSE_PASSWORD" in done.err
    assert (tmp_path / "contexts.yaml").read_text() == before


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://u@h:1", "https://h/x", "", "h:x"])
def test_what_is_no_server_is_refused(with_password: Hanse, url: str) -> None:
    done = with_password("login", url, "--user", "admin")
    assert done.status == 2
    assert "write it as https://HOST:PORT" in done.err


def test_a_server_that_is_away_is_3(with_password: Hanse, fsm: Place) -> None:
    done = with_password("login", "https://127.0.0.1:1", "--user", "admin", "--ca", fsm.ca)
    assert done.status == 3
    assert "127.0.0.1:1 does not answer: Connection refused" in done.err


def test_an_ended_login_says_how_to_log_in_again(
    fsm: Place, logged_in: Hanse, tmp_path: Path
) -> None:
    file = tmp_path / "contexts.yaml"
    spoilt = re.sub(r"(?im)(token): .*$", r"\1: a.b.c", file.read_text())
    file.write_text(spoilt)
    done = logged_in("get", "sites")
    assert done.status == 2
    assert f"log in again: hanse login {fsm.url} --name fsm" in done.err


def test_contexts_are_listed_chosen_and_forgotten(logged_in: Hanse) -> None:
    assert logged_in("context", "-o", "name").out.split() == ["sfo", "fsm"]
    assert "token" not in logged_in("context", "-o", "json").out
    assert logged_in("whoami", "--context", "sfo").status == 0
    done = logged_in("whoami", "--context", "sfa")
    assert done.status == 2
    assert "there is no context 'sfa'; did you mean \"sfo\"?" in done.err
    assert logged_in("context", "use", "sfo").status == 0
    assert "*        sfo" in logged_in("context").out
    assert logged_in("context", "delete", "sfo").status == 0
    done = logged_in("whoami")
    assert done.status == 2
    assert "hanse context use NAME" in done.err


def test_without_any_context_one_is_told_to_log_in(hanse: Hanse) -> None:
    done = hanse("get", "sites")
    assert done.status == 2
    assert "log in first (hanse login https://HOST:PORT)" in done.err


def test_at_a_terminal_the_fingerprint_is_shown_and_must_be_confirmed(
    fsm: Place, tmp_path: Path
) -> None:
    environ = {**os.environ, "HANSE_CONFIG": str(tmp_path / "contexts.yaml"), "COLUMNS": "300"}
    environ.pop("HANSE_PASSWORD", None)
    fingerprint = fingerprints(read_roots(fsm.ca))[0]

    refusing = Terminal(["login", fsm.url], environ)
    refusing.expect(fingerprint)
    refusing.expect("[y/N]")
    refusing.say("n")
    assert refusing.wait() == 2
    assert not (tmp_path / "contexts.yaml").exists()

    agreeing = Terminal(["login", fsm.url], environ)
    agreeing.expect("[y/N]")
    agreeing.say("y")
    agreeing.expect("User name")
    agreeing.say("admin")
    agreeing.expect("Password of admin")
    agreeing.say(PASSWORD)
    agreeing.expect("Logged in to the FSM")
    assert agreeing.wait() == 0
    assert PASSWORD not in agreeing.shown


@pytest.mark.parametrize("question", ["[y/N]", "User name", "Password of admin"])
def test_ctrl_c_at_a_question_ends_it_at_once(fsm: Place, tmp_path: Path, question: str) -> None:
    environ = {**os.environ, "HANSE_CONFIG": str(tmp_path / "contexts.yaml"), "COLUMNS": "300"}
    environ.pop("HANSE_PASSWORD", None)
    terminal = Terminal(["login", fsm.url], environ)
    for asked, answer in (("[y/N]", "y"), ("User name", "admin"), ("Password of admin", "")):
        terminal.expect(asked)
        if asked == question:
            break
        terminal.say(answer)
    terminal.interrupt()
    assert terminal.wait() == 130
    assert "Traceback" not in terminal.shown
