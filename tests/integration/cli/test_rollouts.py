"""`hanse rollout` against a real FSM; what the screens say stands as it is shown at 80 columns."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.integration.cli.conftest import Hanse
from tests.integration.cli.test_objects import network

SITES = """\
apiVersion: hanse/v1
kind: Site
metadata: {name: rolled-test, labels: {stage: test}}
spec: {}
---
apiVersion: hanse/v1
kind: Site
metadata: {name: rolled-prod, labels: {stage: prod}}
spec: {}
---
"""


def policy(action: str, *, name: str = "stepwise", more: str = "") -> str:
    return f"""\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {{name: {name}}}
spec:
  sites: {{matchExpressions: [{{key: stage, operator: Exists}}]}}
  rules:
    - {{name: one, from: any, to: [{{network: Stepwise}}], action: {action}{more}}}
"""


@pytest.fixture
def rolled(logged_in: Hanse) -> Iterator[Hanse]:
    text = SITES + network("Stepwise") + policy("allow")
    assert logged_in("apply", "-f", "-", stdin=text).status == 0
    yield logged_in
    for each in json.loads(logged_in("rollout", "list", "-o", "json").out)["items"]:
        name = each["metadata"]["name"]
        assert logged_in("rollout", "abort", name, "--reason", "over", "--yes").status == 0


def shown(text: str) -> str:
    """Return a screen without what differs each time."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-11-24 12:00 UTC", text)
    text = re.sub(r"\d+s ago", "1s ago", text)
    return re.sub(r"(stepwise-|generation )\d+", r"\1N", text)


def test_a_rollout_from_its_start_to_its_end(rolled: Hanse) -> None:
    words = ("-f", "-", "--order", "stage=test", "--order", "stage in (prod,live)")
    done = rolled("rollout", "start", *words, "--dry-run", stdin=policy("deny"))
    assert "started (dry run): SecurityPolicy stepwise, generation " in done.out
    assert rolled("rollout", "list").err == "no rollout goes on; --all lists those before\n"

    done = rolled("rollout", "start", *words, "--reason", "r7", "-o", "name", stdin=policy("deny"))
    assert done.status == 0
    name = done.out.strip().removeprefix("rollout/")
    # Nobody has joined as these sites, so there is nobody to wait for.
    done = rolled("rollout", "wait", name)
    assert done.status == 0
    assert done.out.endswith(f"{name}: done; 2 absent\n")
    assert shown(rolled("rollout", "show", name).out) == SHOWN
    listed = rolled("rollout", "list", "--all").out
    assert shown(listed).splitlines()[0].split() == [
        "NAME", "POLICY", "STATE", "WAVE", "SITES", "STARTED"
    ]  # fmt: skip
    assert shown(listed).splitlines()[1].split() == [
        "stepwise-N", "stepwise", "done", "2/3", "2", "1s", "ago"
    ]  # fmt: skip


SHOWN = """\
stepwise-N: done; 2 absent
SecurityPolicy stepwise, generation N
started 2026-11-24 12:00 UTC by user:admin
No site may fail; one that takes longer than 10m has failed.
ended 2026-11-24 12:00 UTC
wave 1: stage=test
wave 2: stage in (prod,live)

WAVE  SITE         STANDS  REACHED  WHY
1     rolled-test  absent  1s ago   not_joined
2     rolled-prod  absent  1s ago   not_joined
"""


def test_paused_resumed_and_aborted(rolled: Hanse) -> None:
    # An order that meets nobody leaves all to the last wave.
    words = ("-f", "-", "--order", "stage=none", "--patience", "8h", "--max-failures", "2")
    name = rolled("rollout", "start", *words, "-o", "name", stdin=policy("reject")).out.strip()
    name = name.removeprefix("rollout/")
    done = rolled("rollout", "pause", name, "--reason", "a moment")
    if done.status == 0:
        assert done.out == f"rollout/{name} paused: no further site gets the change\n"
        assert rolled("rollout", "wait", name).status == 1
        done = rolled("apply", "-f", "-", stdin=policy("deny"))
        assert (done.status, "(rollout_running)" in done.err) == (2, True)
        assert f"with rollout {name}" in done.err
        done = rolled("rollout", "abort", name, "--reason", "no")
        assert (done.status, "(not_confirmed)" in done.err) == (2, True)
        done = rolled("rollout", "resume", name, "--reason", "go on", "--max-failures", "3")
        assert done.out == f"rollout/{name} resumed\n"
    assert rolled("rollout", "wait", name).status == 0
    done = rolled("rollout", "abort", name, "--reason", "too late", "--yes")
    assert (done.status, "(rollout_ended)" in done.err) == (2, True)


def test_what_is_said_wrongly_is_named(rolled: Hanse) -> None:
    done = rolled("rollout", "start", "-f", "-", "--order", " ", stdin=policy("deny"))
    assert (done.status, "--order needs labels" in done.err) == (2, True)
    done = rolled("rollout", "start", "-f", "-", stdin=policy("deny") + "---\n" + network("X"))
    assert (done.status, "takes one document, and there are 2" in done.err) == (2, True)
    wrong = policy("deny", name="stepwise-wrong").replace("network: Stepwise", "network: Stepwis")
    done = rolled("rollout", "start", "-f", "-", stdin=wrong)
    assert done.status == 2
    assert "stdin:7 spec.rules[0].to[0].network: there is no network Stepwis" in done.err
    done = rolled("rollout", "list", "-c", "sfo")
    assert (done.status, "(asks_the_fsm)" in done.err) == (2, True)


def test_a_site_is_paused_and_goes_on(rolled: Hanse) -> None:
    done = rolled("sites", "pause", "rolled-test", "--reason", "smoke in rack 7", "--until", "8h")
    assert done.status == 0
    assert shown(done.out) == (
        "site/rolled-test paused until 2026-11-24 12:00 UTC: no change of policy reaches it until "
        "it resumes\n"
    )
    # What a repository says of the Site leaves the pause alone, and sees no difference in it.
    assert rolled("diff", "-f", "-", stdin=SITES).status == 0
    assert rolled("apply", "-f", "-", stdin=SITES + policy("reject")).status == 0
    listed = rolled("sites").out.splitlines()
    assert listed[0].split()[-1] == "PAUSED"
    row = next(each for each in listed if each.startswith("rolled-test "))
    assert row.split()[-2] == "for"
    told = rolled("status", "rolled-test").out
    assert re.search(
        r"^paused  since [-0-9]{10} [:0-9]{5} UTC  smoke in rack 7 \(user:admin\); "
        r"until [-0-9]{10} [:0-9]{5} UTC; one change waits$",
        told,
        re.MULTILINE,
    ), told
    assert re.search(r"^stepwise .* pending .* site_paused$", told, re.MULTILINE), told
    done = rolled("sites", "pause", "rolled-test", "--reason", "again")
    assert (done.status, "(site_paused)" in done.err) == (2, True)
    done = rolled("sites", "resume", "rolled-test", "--reason", "over")
    assert done.out == "site/rolled-test resumed: what has changed meanwhile is on its way\n"
    assert "PAUSED" not in rolled("sites").out.splitlines()[0]


def test_a_paused_site_tells_its_own_people(logged_in: Hanse) -> None:
    done = logged_in("sites", "pause", "sfo", "--reason", "smoke in rack 7")
    assert done.status == 0
    try:
        while "Paused at the FSM" not in (told := logged_in("status", "-c", "sfo").out):
            pass
    finally:
        assert logged_in("sites", "resume", "sfo", "--reason", "over").status == 0
    assert shown(told).splitlines()[1:3] == [
        "Paused at the FSM since 2026-11-24 12:00 UTC by user:admin: smoke in rack 7",
        "No change of policy comes until it is resumed there.",
    ]
    while "Paused at the FSM" in logged_in("status", "-c", "sfo").out:
        pass
