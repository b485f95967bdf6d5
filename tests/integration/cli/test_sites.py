"""status, sites, nodes, held, resolve and trace against an FSM and a site."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.pki.jointoken import JoinKind, JoinToken
from tests.integration.cli.conftest import Done, Hanse

EXAMPLE = Path(__file__).parents[3] / "examples/two-sites"


@pytest.fixture
def applied(logged_in: Hanse) -> Hanse:
    """The example of two sites, at the FSM and at sfo."""
    for context in ("fsm", "sfo"):
        while (done := logged_in("apply", "-c", context, "-f", EXAMPLE)).status:
            # A site refuses names until the FSM's have reached it.
            assert context == "sfo", done.err
    return logged_in


def until(ask: Callable[[], Done], holds: Callable[[Any], bool]) -> Any:
    """Ask until it holds: the road from the FSM to a site takes moments of real time."""
    deadline = time.monotonic() + 20
    while not holds(answer := json.loads(ask().out or "{}")):
        assert time.monotonic() < deadline, answer
    return answer


@pytest.fixture
def compiled(applied: Hanse) -> Hanse:
    until(
        lambda: applied("resolve", "-c", "sfo", "-o", "json"),
        lambda found: (
            {each["policy"] for each in found.get("rules", ())}
            >= {"three-tier", "scrape", "baseline"}
        ),
    )
    return applied


def test_the_federation_shows_which_policy_runs_where_and_why_not(applied: Hanse) -> None:
    def standing(answer: Any) -> dict[tuple[str, str], Any]:
        return {
            (policy["name"], each["site"]): each
            for policy in answer.get("policies", ())
            for each in policy["sites"]
        }

    def missing(at_site: Any) -> set[str]:
        return {each["reference"] for each in at_site.get("unresolved", ())}

    answer = until(
        lambda: applied("status", "-o", "json"),
        # Its own names reach the site after the policy: what it said before is not the last word.
        lambda found: missing(standing(found).get(("three-tier", "sfo"), {})) == {"network:Cache"},
    )
    assert standing(answer)["three-tier", "sfo"]["generation"] == 1
    assert standing(answer)["three-tier", "fra"]["reason"] == "not_joined"
    shown = applied("status")
    assert shown.status == 0
    lines = shown.out.splitlines()
    assert lines[0].split()[:4] == ["SITE", "REGION", "JOINED", "CONNECTED"]
    (fra,) = [line for line in lines if line.startswith("three-tier") and " fra " in line]
    assert fra.split() == ["three-tier", "1", "fra", "pending", "0/0", "not_joined"]
    (sfo,) = [line for line in lines if line.startswith("three-tier") and " sfo " in line]
    assert "network:Cache means nothing there (rule app-to-cache)" in sfo
    one = applied("status", "sfo")
    assert (one.status, "network:Cache means nothing there" in one.out) == (0, True)
    assert applied("status", "nowhere").status == 2


def test_a_site_shows_its_own_standing(applied: Hanse) -> None:
    until(
        lambda: applied("status", "-c", "sfo", "-o", "json"),
        lambda found: "three-tier" in {each["name"] for each in found.get("policies", ())},
    )
    shown = applied("status", "-c", "sfo").out
    assert shown.startswith("Site sfo: connected to the FSM; the FSM's revision ")
    assert "node-7" in shown
    assert applied("status", "sfo", "-c", "sfo").out.startswith("Site sfo: ")
    assert applied("status", "fra", "-c", "sfo").status == 2


def test_sites_are_listed(applied: Hanse) -> None:
    assert {"site/fra", "site/sfo"} <= set(applied("sites", "-o", "name").out.split())
    rows = [line.split() for line in applied("sites").out.splitlines()]
    assert ["fra", "eu", "no", "no", "never"] in [row[:5] for row in rows]
    assert applied("sites", "-c", "sfo").status == 2


def test_a_site_gets_a_token_that_is_printed_once(applied: Hanse) -> None:
    done = applied("sites", "token", "fra")
    token = JoinToken.parse(done.out)
    assert (token.kind, token.name) == (JoinKind.SDSP, "fra")
    assert applied("sites", "token", "nowhere").status == 2
    # sfo has joined: its certificate is only put out if that is asked for.
    done = applied("sites", "token", "sfo")
    assert done.status == 2
    assert applied("sites", "token", "sfo", "-c", "sfo").status == 2


def test_a_node_gets_a_token_and_is_admitted_or_refused_by_a_person(applied: Hanse) -> None:
    token = JoinToken.parse(applied("nodes", "token", "node-9", "-c", "sfo").out)
    assert (token.kind, token.site, token.name) == (JoinKind.NODE, "sfo", "node-9")
    assert applied("nodes", "token", "node-9").status == 2

    def admission() -> str:
        shown = json.loads(applied("nodes", "-c", "sfo", "-o", "json").out)["items"]
        return next(each["admission"] for each in shown if each["name"] == "node-1")

    done = applied("nodes", "refuse", "node-1", "-c", "sfo")
    assert (done.status, done.out) == (0, "Node node-1 is refused.\n")
    assert admission() == "refused"
    assert applied("nodes", "admit", "node-1", "-c", "sfo").status == 0
    assert admission() == "admitted"
    assert applied("nodes", "admit", "node-1000", "-c", "sfo").status == 2


def without_revisions(answer: Any) -> Any:
    """A site tells which revision each part is of; a repository has none."""
    if isinstance(answer, list):
        return [without_revisions(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {k: without_revisions(v) for k, v in answer.items() if k != "revision"}


@pytest.mark.parametrize("view", [[], ["--node", "node-7"]], ids=["site", "node"])
def test_a_site_resolves_as_the_repository_does(applied: Hanse, view: list[str]) -> None:
    offline = json.loads(applied("resolve", EXAMPLE, "--site", "sfo", *view, "-o", "json").out)
    until(
        lambda: applied("resolve", "-c", "sfo", *view, "-o", "json"),
        lambda found: without_revisions(found) == offline,
    )


def test_resolve_asks_the_site_that_is_meant(compiled: Hanse) -> None:
    applied = compiled
    # The site's name leads to its context, whatever the current one is.
    assert "app-to-db" in applied("resolve", "--site", "sfo").out
    done = applied("resolve")
    assert done.status == 2
    assert "hanse resolve asks a site, and context fsm is the FSM's" in done.err
    done = applied("resolve", "--site", "fra")
    assert (done.status, "you are not logged in to site fra" in done.err) == (2, True)
    assert applied("resolve", "--site", "fra", "-c", "sfo").status == 2
    assert applied("resolve", EXAMPLE).status == 2
    assert applied("resolve", "--site", "sfo", "--at", "2030-01-01").status == 2


FLOW = ("--from", "10.1.10.11", "--to", "10.1.20.21")


def test_a_site_judges_a_flow_at_both_of_its_ends(compiled: Hanse) -> None:
    done = compiled("trace", "--site", "sfo", *FLOW, "--service", "postgres")
    assert done.status == 0
    assert "Judged by node node-1: allow, by rule app-to-db of policy three-tier" in done.out
    assert done.out.splitlines()[-1] == "allow"
    answer = json.loads(
        compiled("trace", "--site", "sfo", *FLOW, "--service", "tcp/22", "-o", "json").out
    )
    assert (answer["verdict"], answer["policy"], answer["rule"]) == (
        *("deny", "three-tier"),
        "db-isolated",
    )
    apart = ("--from", "10.1.10.11", "--to", "10.1.27.21", "--service", "postgres")
    answer = json.loads(compiled("trace", "--site", "sfo", *apart, "-o", "json").out)
    # Only rack-7 knows its own database network, so the two ends disagree.
    assert {name: view["verdict"] for name, view in answer["views"].items()} == {
        "node-1": "deny",
        "node-7": "allow",
    }
    assert answer["outcome"] == answer["verdict"] == "deny"
    one = compiled("trace", "--site", "sfo", *apart, "--node", "node-7", "-o", "json")
    assert json.loads(one.out)["verdict"] == "allow"


def test_a_site_judges_many_flows_as_the_repository_does(compiled: Hanse) -> None:
    flows = "".join(
        json.dumps({"from": "10.1.10.11", "to": "10.1.20.21", "protocol": "tcp", "port": port})
        + "\n"
        for port in (5432, 22, 443, 9100, 80, 8000, 8080, 1, 65535)
    )
    view = ("--node", "node-1", "--flows", "-", "-o", "json")
    live = compiled("trace", "--site", "sfo", *view, stdin=flows)
    offline = compiled("trace", EXAMPLE, "--site", "sfo", *view, stdin=flows)
    assert (live.status, offline.status) == (0, 0)
    assert [json.loads(line) for line in live.out.splitlines()] == [
        json.loads(line) for line in offline.out.splitlines()
    ]


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("nothing", "unknown_service"),
        ("tcp/80-81", "invalid_service"),
        ("any", "invalid_service"),
        ("carrier/1", "invalid_service"),
        ("tcp", "invalid_flow"),
        ("icmp/1", "invalid_flow"),
    ],
)
def test_a_flow_that_is_none_is_refused(compiled: Hanse, service: str, code: str) -> None:
    done = compiled("trace", "--site", "sfo", *FLOW, "--service", service)
    assert done.status == 2
    assert f"({code})" in done.err


def test_nothing_is_held_at_a_site_that_lost_nothing(compiled: Hanse) -> None:
    done = compiled("held", "-c", "sfo")
    assert (done.status, done.out, done.err) == (0, "", "nothing is held\n")
    done = compiled("held", "drop", "--all", "--reason", "x", "--yes", "-c", "sfo")
    assert done.status == 2
    assert "(not_held)" in done.err
    assert compiled("held").status == 2


def test_a_large_removal_is_held_until_a_person_lets_it_go(compiled: Hanse) -> None:
    rules = "".join(
        f"    - {{name: r{n}, from: any, to: [{{network: Monitoring}}], action: allow,\n"
        f"       services: [{{protocol: tcp, ports: [{n}]}}]}}\n"
        for n in range(1, 21)
    )
    policy = (
        "apiVersion: hanse/v1\nkind: SecurityPolicy\nmetadata: {name: many}\n"
        f"spec:\n  rules:\n{rules}"
    )
    assert compiled("apply", "-f", "-", stdin=policy).status == 0
    until(
        lambda: compiled("resolve", "-c", "sfo", "-o", "json"),
        lambda found: "many" in {each["policy"] for each in found.get("rules", ())},
    )
    assert compiled("delete", "securitypolicy", "many").status == 0
    held = until(
        lambda: compiled("held", "-c", "sfo", "-o", "json"), lambda found: found.get("items")
    )["items"]
    assert [(each["kind"], each["name"]) for each in held] == [("SecurityPolicy", "many")]
    assert "many" in compiled("held", "-c", "sfo").out
    assert "many" in compiled("status", "-c", "sfo").out

    drop = ("held", "drop", "securitypolicy/many", "-c", "sfo", "--reason", "no longer needed")
    done = compiled(*drop)
    assert (done.status, "pass --yes" in done.err) == (2, True)
    done = compiled(*drop, "--yes")
    assert (done.status, done.out) == (0, "Dropped 1: SecurityPolicy many (federation).\n")
    assert compiled("held", "-c", "sfo").err == "nothing is held\n"
    until(
        lambda: compiled("resolve", "-c", "sfo", "-o", "json"),
        lambda found: "many" not in {each["policy"] for each in found["rules"]},
    )
    assert "no longer needed" in compiled("audit", "-c", "sfo").out


def test_a_kind_that_lives_elsewhere_is_asked_of_whom_it_lives_on(logged_in: Hanse) -> None:
    for kind, context, asked in (("tenants", "sfo", "the FSM"), ("workloads", "fsm", "a site")):
        for words in (("get", kind), ("get", kind, "some"), ("describe", kind, "some")):
            done = logged_in(*words, "-c", context)
            assert (done.status, done.out) == (2, "")
            assert f"hanse get {kind} asks {asked}, and context {context} is" in done.err
