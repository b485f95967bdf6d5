"""`hanse conflicts` at a site whose exception and its target have both changed."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.background import PASSWORD, Place
from tests.integration.cli.conftest import Hanse
from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_sites import until

Documents = Callable[[str], Path]


def tenant(name: str) -> str:
    """A tenant of a test's own: others leave conflicts open at this site."""
    return f"""\
apiVersion: hanse/v1
kind: Tenant
metadata: {{name: {name}}}
spec: {{}}
---
"""


def here(name: str) -> tuple[str, ...]:
    return ("-c", "sfo", "--tenant", name)


def policy(name: str, *rules: str) -> str:
    listed = "".join(f"    - {rule}\n" for rule in rules)
    return f"""\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {{name: {name}, tenant: {name}}}
spec:
  enforcement: mandatory
  rules:
{listed}"""


def exception(name: str, *rules: str) -> str:
    listed = "".join(f"      - {rule}\n" for rule in rules)
    return f"""\
apiVersion: hanse/v1
kind: Override
metadata: {{name: {name}, tenant: {name}}}
spec:
  target: {{kind: SecurityPolicy, name: {name}, tenant: {name}}}
  reason: "vendor line 7"
  spec:
    rules:
{listed}"""


def rule(name: str, action: str) -> str:
    return f"{{name: {name}, from: any, to: any, action: {action}}}"


@pytest.fixture
def quarrel(logged_in: Hanse, documents: Documents) -> Iterator[Callable[..., str]]:
    """Let both sides change a policy of a name, the site first; return the conflict's name."""
    names: list[str] = []

    def apply(context: str, text: str) -> None:
        while (done := logged_in("apply", "-c", context, "-f", documents(text))).status:
            # The tenant or the policy has not reached the site yet.
            assert context == "sfo", done.err

    def start(name: str, *, theirs: str = "reject") -> str:
        names.append(name)
        apply("fsm", tenant(name) + policy(name, rule("a", "allow"), rule("b", "allow")))
        until(
            lambda: logged_in("get", "policies", *here(name), "-o", "json"),
            lambda found: name in {each["metadata"]["name"] for each in found.get("items", ())},
        )
        apply("sfo", exception(name, rule("a", "deny"), rule("b", "allow")))
        apply("fsm", policy(name, rule("a", theirs), rule("b", "deny")))
        found = until(
            lambda: logged_in("conflicts", "list", *here(name), "-o", "json"),
            lambda answer: of(name, answer),
        )
        return str(of(name, found)[0]["metadata"]["name"])

    yield start
    for name in names:
        logged_in("delete", "override", name, *here(name))
        assert logged_in("delete", "policy", name, "-c", "fsm", "--tenant", name).status == 0


def of(name: str, answer: Any) -> list[Any]:
    return [
        each
        for each in answer.get("items", ())
        if each["spec"]["target"]["name"] == name and each["spec"]["type"] == "edited_both"
    ]


def test_a_conflict_is_listed_shown_put_off_and_decided(
    quarrel: Callable[..., str], logged_in: Hanse
) -> None:
    name, place = quarrel("overlapping"), here("overlapping")
    listed = logged_in("conflicts", "list", *place)
    assert listed.status == 1
    row = next(line for line in listed.out.splitlines() if line.startswith(name))
    assert row.split()[1:4] == ["overlapping", "immediate", "open"]
    assert f"conflict/{name}" in logged_in("conflicts", "list", *place, "-o", "name").out.split()

    got = logged_in("get", "conflicts", *place).out
    assert "  edited_both  SecurityPolicy overlapping  immediate  open" in got

    # The tenant is found without being named.
    shown = logged_in("conflicts", "show", name, "-c", "sfo")
    assert shown.status == 0
    assert "rules[a].action: changed on both sides\n  allow   deny    reject\n" in shown.out
    assert "rules[b].action: changed upstream\n  allow   allow   deny\n" in shown.out
    assert "Until it is decided, the merge of both runs" in shown.out
    command = f"hanse conflicts decide {name} --proposal keepLocal --reason WHY --expires 90d"
    assert f"    {command} --context sfo\n" in shown.out
    document = json.loads(logged_in("conflicts", "show", name, "-c", "sfo", "-o", "json").out)
    assert document["spec"]["type"] == "edited_both"
    # The tenant has no address here.
    assert "would change no packet's verdict" in shown.out
    offered = {each["name"]: each for each in document["spec"]["proposals"]}
    assert "narrow: is not offered here: " in shown.out
    assert offered["narrow"]["notOffered"]
    assert offered["acceptGlobal"]["impact"]["newlyAllowed"]["packets"] == "0"

    done = logged_in(
        "conflicts", "defer", name, "-c", "sfo", "--until", "2h", "--reason", "after lunch"
    )
    assert (done.status, done.out.startswith(f"Put off {name} until 20")) == (0, True)
    assert logged_in("conflicts", "list", *place).status == 0
    assert "put it off until" in logged_in("conflicts", "show", name, "-c", "sfo").out
    past = ("--until", "2020-01-01", "--reason", "x")
    assert logged_in("conflicts", "defer", name, "-c", "sfo", *past).status == 2

    how = ("-c", "sfo", "--proposal", "keepLocal", "--reason", "agreed", "--expires", "30d")
    refused = logged_in("conflicts", "decide", name, *how)
    assert (refused.status, "not_confirmed" in refused.err) == (2, True)
    done = logged_in("conflicts", "decide", name, *how, "--yes")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Decided {name}: keepLocal keeps override overlapping")
    kept = json.loads(logged_in("get", "override", "overlapping", *place, "-o", "json").out)
    assert kept["spec"]["expiresAt"]
    assert kept["spec"]["basedOn"]["spec"]["rules"][0]["action"] == "reject"

    assert name not in logged_in("conflicts", "list", *place).out
    assert name in logged_in("conflicts", "list", *place, "--all").out
    assert "user:admin chose keepLocal at" in logged_in("conflicts", "show", name, *place).out
    again = logged_in("conflicts", "decide", name, *how, "--yes")
    assert (again.status, "conflict_resolved" in again.err) == (2, True)
    again = logged_in("conflicts", "defer", name, *place, "--until", "1d", "--reason", "x")
    assert (again.status, "conflict_resolved" in again.err) == (2, True)


def test_what_a_conflict_does_not_offer_cannot_be_decided(
    quarrel: Callable[..., str], logged_in: Hanse
) -> None:
    name, place = quarrel("choosy"), here("choosy")
    how = ("--reason", "x", "--yes")
    done = logged_in("conflicts", "decide", name, *place, "--proposal", "merge", *how)
    assert (done.status, "it offers acceptGlobal, keepLocal" in done.err) == (2, True)
    accept = ("--proposal", "acceptGlobal", "--expires", "1d")
    done = logged_in("conflicts", "decide", name, *place, *accept, *how)
    assert (done.status, "--expires goes with keepLocal, merge and narrow" in done.err) == (2, True)
    assert logged_in("get", "override", "choosy", *place).status == 0


def test_a_decision_is_taken_back(quarrel: Callable[..., str], logged_in: Hanse) -> None:
    name, place = quarrel("regretted"), here("regretted")
    why = ("--reason", "the vendor was wrong")
    done = logged_in("conflicts", "undo", name, *place, *why)
    assert (done.status, "has no decision that could be taken back" in done.err) == (2, True)
    accept = ("--proposal", "acceptGlobal", "--reason", "agreed", "--yes")
    assert logged_in("conflicts", "decide", name, *place, *accept).status == 0
    shown = logged_in("conflicts", "show", name, *place)
    assert f"hanse conflicts undo {name} --reason WHY" in shown.out
    done = logged_in("conflicts", "undo", name, *place, *why)
    assert done.status == 0, done.err
    assert done.out == (
        f"Took acceptGlobal back: {name} is open again, and all stands as before.\n"
    )
    assert logged_in("get", "override", "regretted", *place).status == 0
    shown = logged_in("conflicts", "show", name, *place)
    assert "took acceptGlobal back at" in shown.out
    done = logged_in("conflicts", "defer", name, *place, "--until", "90d", "--reason", "holidays")
    assert (done.status, "after its deadline" in done.err) == (0, True)


def test_a_person_is_shown_what_changes_and_asked(
    quarrel: Callable[..., str], logged_in: Hanse
) -> None:
    name = quarrel("asked")
    environ = {**os.environ, "COLUMNS": "80"}
    words = ["conflicts", "decide", name, "-c", "sfo", "-p", "acceptGlobal", "--reason", "agreed"]
    refusing = Terminal(words, environ)
    refusing.expect("~ rules[a].action: deny → reject")
    refusing.expect("Decide so? [y/N]")
    refusing.say("n")
    assert refusing.wait() == 2
    assert logged_in("get", "override", "asked", *here("asked")).status == 0

    agreeing = Terminal(words, environ)
    agreeing.expect("[y/N]")
    agreeing.say("y")
    agreeing.expect(f"Decided {name}: acceptGlobal deletes override asked")
    assert agreeing.wait() == 0
    assert logged_in("get", "override", "asked", *here("asked")).status == 2


def test_there_is_no_conflict_of_another_name_or_at_the_fsm(logged_in: Hanse) -> None:
    done = logged_in("conflicts", "show", "nothing-at-all", "-c", "sfo")
    assert (done.status, "there is no conflict nothing-at-all" in done.err) == (2, True)
    done = logged_in("conflicts", "show", "nothing-at-all", "-c", "fsm")
    assert (done.status, "asks a site" in done.err) == (2, True)
    done = logged_in("conflicts", "list", "-c", "sfo", "--tenant", "nobody")
    assert (done.status, done.err) == (0, "no conflict is open or deferred\n")


def test_who_may_decide_for_one_tenant_is_not_told_of_every_tenant_s_packets(
    quarrel: Callable[..., str],
    logged_in: Hanse,
    documents: Documents,
    site: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = quarrel("narrow")
    binding = """\
apiVersion: hanse/v1
kind: RoleBinding
metadata: {name: narrow}
spec: {role: site-operator, tenants: [narrow], subjects: [{kind: User, name: nell}]}
"""
    done = logged_in(
        "user", "password", "nell", "--create", "--password-file", "-", "-c", "sfo", stdin=PASSWORD
    )
    assert done.status == 0, done.err
    assert logged_in("apply", "-c", "sfo", "-f", documents(binding)).status == 0
    monkeypatch.setenv("HANSE_PASSWORD", PASSWORD)
    how = ("--user", "nell", "--ca", site.ca, "--site", "sfo", "--name", "nell")
    assert logged_in("login", site.url, *how).status == 0
    shown = logged_in("conflicts", "show", name, "-c", "nell")
    assert shown.status == 0
    assert shown.err.startswith("which packets each proposal concerns is not told: ")
    assert "packets" not in shown.out
    assert "--proposal acceptGlobal" in shown.out
    # A conflict of another tenant is not there for her.
    hidden = logged_in("conflicts", "list", "-c", "nell", "-o", "json")
    tenants = {each["metadata"]["tenant"] for each in json.loads(hidden.out)["items"]}
    assert tenants <= {"narrow"}
    accept = ("--proposal", "acceptGlobal", "--reason", "agreed", "--yes")
    assert logged_in("conflicts", "decide", name, "-c", "nell", *accept).status == 0
    # So that the place is as the next test expects it.
    for each in ("rolebinding/narrow", "user/nell"):
        assert logged_in("delete", each, "-c", "sfo").status == 0
