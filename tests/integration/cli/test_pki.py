"""`hanse pki` against an FSM and a site, and how contexts follow an exchanged root."""

import json
from pathlib import Path

import pytest

from shared.cli.contexts import ContextsFile
from shared.cli.trust import followed, read_roots
from shared.errors import Unauthenticated
from shared.pki.authority import create_link, create_root
from shared.pki.certificates import certificates_to_pem
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN
from tests.integration.cli.conftest import Hanse


def test_it_lists_what_is_issued_at_both_servers(logged_in: Hanse) -> None:
    found = json.loads(logged_in("pki", "list", "-o", "json").out)["items"]
    assert {each["kind"] for each in found} >= {"root", "issuing", "fsm", "site"}
    at_site = json.loads(logged_in("pki", "list", "-c", "sfo", "-o", "json").out)["items"]
    assert {each["kind"] for each in at_site} >= {"root", "site", "sdsp"}
    table = logged_in("pki", "list").out
    assert "spiffe://" in table
    assert "in use" in table
    serials = logged_in("pki", "list", "-o", "name").out.split()
    assert set(serials) == {each["serial"] for each in found}


def test_ones_own_certificate_is_revoked_only_when_somebody_confirms(logged_in: Hanse) -> None:
    items = json.loads(logged_in("pki", "list", "-o", "json").out)["items"]
    (own,) = [each for each in items if each["kind"] == "fsm" and each["own"]]
    asked = logged_in("pki", "revoke", own["serial"], "--reason", "test")
    assert asked.status == 2
    assert "--yes" in asked.err
    done = logged_in("pki", "revoke", own["serial"], "--reason", "test", "--yes")
    assert done.status == 0, done.err
    after = json.loads(logged_in("pki", "list", "--revoked", "-o", "json").out)["items"]
    assert {each["serial"]: each["state"] for each in after}[own["serial"]] == "revoked"
    revocations = json.loads(logged_in("get", "revocations", "-o", "json").out)
    assert own["serial"] in json.dumps(revocations)


def test_a_server_certificate_is_exchanged_and_what_isnt_there_is_said(logged_in: Hanse) -> None:
    assert logged_in("pki", "rotate", "server").status == 0
    assert logged_in("pki", "rotate", "server", "-c", "sfo").status == 0
    wrong = logged_in("pki", "rotate", "authority")
    assert wrong.status == 2
    assert "issuing" in wrong.err
    nothing = logged_in("pki", "rotate", "root", "--finish", "--yes")
    assert nothing.status == 2
    assert "no_exchange" in nothing.err
    both = logged_in("pki", "rotate", "root", "--finish", "--proceed")
    assert both.status == 2


def test_a_context_asks_which_roots_its_server_trusts(logged_in: Hanse, tmp_path: Path) -> None:
    assert logged_in("status").status == 0
    context = ContextsFile(tmp_path / "contexts.yaml").load().find("fsm")
    assert context.roots_at is not None


def test_a_context_follows_a_root_that_the_old_one_vouches_for_and_no_other() -> None:
    clock = VirtualClock()
    old, new, forged = (create_root(TRUST_DOMAIN, clock=clock) for _ in range(3))
    link = certificates_to_pem([create_link(old, new.certificate, clock=clock)])
    known = certificates_to_pem([old.certificate])
    both = certificates_to_pem([old.certificate, new.certificate])
    meanwhile = followed(known, both, link)
    assert read_roots(meanwhile) == (old.certificate, new.certificate)
    alone = certificates_to_pem([new.certificate])
    assert read_roots(followed(meanwhile, alone, "")) == (new.certificate,)
    with pytest.raises(Unauthenticated):
        followed(known, certificates_to_pem([forged.certificate]), link)
