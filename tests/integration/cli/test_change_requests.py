"""`hanse changerequests`: a site asks, and somebody at the federation shows, accepts or refuses."""

import json
import os
from collections.abc import Callable
from typing import Any

from tests.integration.cli.conftest import Hanse
from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_conflicts import here, policy, quarrel, rule
from tests.integration.cli.test_sites import until

__all__ = ["quarrel"]

ASK = ("--proposal", "askFederation", "--reason", "it holds everywhere", "--yes")


def asked(logged_in: Hanse, name: str, conflict: str) -> str:
    """Ask; return the request's name once the FSM has it."""
    done = logged_in("conflicts", "decide", conflict, *here(name), *ASK)
    assert done.status == 0, done.err
    assert done.out.startswith(f"Asked: {conflict} waits for the federation's answer to sfo-{name}")
    found = until(
        lambda: logged_in("changerequests", "list", "-c", "fsm", "-t", name, "-o", "json"),
        lambda answer: bool(answer.get("items")),
    )
    return str(found["items"][0]["metadata"]["name"])


def answered(logged_in: Hanse, name: str, conflict: str, state: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        lambda: logged_in("conflicts", "show", conflict, *here(name), "-o", "json"),
        lambda answer: answer.get("spec", {}).get("asked", {}).get("state") == state,
    )
    return found


def test_a_request_is_listed_shown_and_refused(
    quarrel: Callable[..., str], logged_in: Hanse
) -> None:
    conflict, place = quarrel("wished"), here("wished")
    name = asked(logged_in, "wished", conflict)
    row = next(
        line
        for line in logged_in("conflicts", "list", *place).out.splitlines()
        if line.startswith(conflict)
    )
    assert row.split()[1:4] == ["wished", "immediate", "asked"]
    listed = logged_in("changerequests", "list", "-c", "fsm", "-t", "wished")
    assert (listed.status, name in listed.out) == (1, True)
    shown = logged_in("changerequests", "show", name, "-c", "fsm").out
    assert f"{name}: open\n" in shown
    assert "Site sfo asks that SecurityPolicy wished (tenant wished) becomes what" in shown
    assert "user:admin asked at" in shown
    assert "rules[a].action: asked for\n  reject   deny     reject\n" in shown
    assert f"hanse changerequests accept {name} --reason WHY --context fsm\n" in shown

    refused = logged_in("changerequests", "refuse", name, "-c", "sfo", "--reason", "no")
    assert (refused.status, "asks the FSM" in refused.err) == (2, True)
    done = logged_in("changerequests", "refuse", name, "-c", "fsm", "--reason", "not for all")
    assert (done.status, done.out) == (0, f"{name} is refused; site sfo is told.\n")
    answered(logged_in, "wished", conflict, "refused")
    told = logged_in("conflicts", "show", conflict, *place).out
    assert "user:admin refused it at" in told
    assert "not for all" in told
    # The site's own people see what became of it, too.
    assert name in logged_in("changerequests", "list", "-c", "sfo", "-t", "wished", "--all").out
    assert logged_in("changerequests", "list", "-c", "fsm", "-t", "wished").status == 0


def test_what_moved_is_accepted_only_as_it_was_looked_at(
    quarrel: Callable[..., str], logged_in: Hanse, documents: Callable[[str], Any]
) -> None:
    conflict = quarrel("moved")
    name = asked(logged_in, "moved", conflict)
    theirs = policy("moved", rule("a", "reject"), rule("b", "deny"), rule("c", "deny"))
    assert logged_in("apply", "-c", "fsm", "-f", documents(theirs)).status == 0
    why = ("--reason", "agreed")
    done = logged_in("changerequests", "accept", name, "-c", "fsm", *why, "--yes")
    assert (done.status, "base_moved" in done.err) == (2, True)
    shown = logged_in("changerequests", "show", name, "-c", "fsm").out
    assert "It has changed since the site asked" in shown
    assert "rules[c]: changed since\n" in shown

    words = ["changerequests", "accept", name, "-c", "fsm", *why]
    agreeing = Terminal(words, {**os.environ, "COLUMNS": "80"})
    agreeing.expect("Accept it? [y/N]")
    agreeing.say("y")
    agreeing.expect("is accepted at revision")
    assert agreeing.wait() == 0
    document = json.loads(
        logged_in("get", "policy", "moved", "-c", "fsm", "--tenant", "moved", "-o", "json").out
    )
    assert [each["action"] for each in document["spec"]["rules"]] == ["deny", "allow"]
    ended = answered(logged_in, "moved", conflict, "accepted")
    assert ended["spec"]["state"] == "resolved"
    assert "took over" in ended["spec"]["closed"]["why"]
    status = until(
        lambda: logged_in("status", "-c", "sfo", "-o", "json"),
        lambda answer: any(each["name"] == "moved" for each in answer.get("superfluous", ())),
    )
    assert status
    assert "may be deleted: " in logged_in("status", "-c", "sfo").out


def test_exceptions_and_conflicts_of_all_sites_are_listed_at_the_fsm(
    quarrel: Callable[..., str], logged_in: Hanse
) -> None:
    conflict = quarrel("seen")
    listed = until(
        lambda: logged_in("conflicts", "list", "-c", "fsm", "-t", "seen", "-o", "json"),
        lambda answer: any(each["name"] == conflict for each in answer.get("items", ())),
    )
    assert {each["site"] for each in listed["items"]} == {"sfo"}
    shown = logged_in("conflicts", "list", "-c", "fsm", "-t", "seen")
    assert shown.status == 1
    row = next(line for line in shown.out.splitlines() if conflict in line)
    assert row.split()[:4] == ["sfo", conflict, "immediate", "open"]
    made = logged_in("exceptions", "seen", "-c", "fsm")
    assert made.status == 0
    assert "SecurityPolicy seen (tenant seen)  sfo" in made.out
    assert "vendor line 7" in made.out
    assert "1 exception" in logged_in("status", "-c", "fsm").out
    assert "immediate" in logged_in("sites", "-c", "fsm").out
    assert logged_in("exceptions", "Network/nothing", "-c", "fsm").err.startswith("no site makes")
