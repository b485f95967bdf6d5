"""`hanse override`: an exception from its draft to its end."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.integration.cli.conftest import Hanse
from tests.integration.cli.test_conflicts import here, policy, rule, tenant
from tests.integration.cli.test_sites import until

NAME = "drafted"


def test_an_exception_is_drafted_applied_listed_given_another_end_and_ended(
    logged_in: Hanse, documents: Callable[[str], Path]
) -> None:
    text = tenant(NAME) + policy(NAME, rule("a", "allow"))
    assert logged_in("apply", "-c", "fsm", "-f", documents(text)).status == 0
    until(
        lambda: logged_in("get", "policies", *here(NAME), "-o", "json"),
        lambda found: NAME in {each["metadata"]["name"] for each in found.get("items", ())},
    )
    drafted = logged_in(
        "override", "draft", "policy", NAME, *here(NAME), "--reason", "line 7", "--expires", "30d"
    )
    assert drafted.status == 0
    assert "enforcement" not in drafted.out
    applied = logged_in("apply", "-c", "sfo", "-f", documents(drafted.out))
    assert (applied.status, applied.err) == (0, "")

    listed = logged_in("override", "list", *here(NAME))
    row = next(line for line in listed.out.splitlines() if line.startswith(NAME))
    assert row.split()[:4] == [f"{NAME}-exception", "SecurityPolicy", NAME, "site"]
    assert "(in 29d)" in row
    assert row.endswith("line 7")

    name = f"{NAME}-exception"
    before = spec(logged_in, name)
    done = logged_in("override", "expire", name, "-c", "sfo", "--at", "2d", "--reason", "sooner")
    assert (done.status, done.out.startswith(f"Override {name} counts until 20")) == (0, True)
    after = spec(logged_in, name)
    assert after["expiresAt"] < before["expiresAt"]
    assert after["basedOn"] == before["basedOn"]

    done = logged_in("override", "end", name, "-c", "sfo", "--reason", "the move is over")
    assert (done.status, done.out) == (
        0,
        f"Override {name} has ended: SecurityPolicy {NAME} counts as it is.\n",
    )
    trail = json.loads(logged_in("history", "override", name, *here(NAME), "-o", "json").out)[
        "items"
    ]
    assert [each.get("reason") for each in trail[:2]] == ["the move is over", "sooner"]
    # Others compare what the site resolves.
    assert logged_in("delete", "policy", NAME, "-c", "fsm", "--tenant", NAME).status == 0


def spec(hanse: Hanse, name: str) -> dict[str, str]:
    shown = hanse("get", "override", name, *here(NAME), "-o", "json")
    return dict(json.loads(shown.out)["spec"])


def test_what_cannot_be_is_refused_with_a_sentence(logged_in: Hanse) -> None:
    done = logged_in("override", "draft", "policy", "nothing", "-c", "sfo", "--reason", "x")
    assert (done.status, "no SecurityPolicy nothing is inherited here" in done.err) == (2, True)
    done = logged_in("override", "end", "nothing", "-c", "sfo", "--reason", "x")
    assert (done.status, "there is no Override nothing" in done.err) == (2, True)
    done = logged_in("override", "list", "-c", "fsm")
    assert done.status == 2
    done = logged_in("override", "expire", "x", "-c", "sfo", "--at", "soon", "--reason", "x")
    assert (done.status, "is no time" in done.err) == (2, True)
