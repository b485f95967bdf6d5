"""What has other labels, through every door that shows it to a grant with a selector."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.access.tenants import LABELS, Asked, Server, World, world
from tests.access.test_doors import all_routes
from tests.access.test_tenants import CASES, blind
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM

__all__ = ["stopped", "template"]

SHOWN = {"app": "shown"}
DOORS = {
    "GET /api/v1/status",
    "GET /api/v1/sites/{name}/status",
    "GET /api/v1/resolve",
    "POST /api/v1/trace",
    "GET /api/v1/held",
    "POST /api/v1/held/drop",
}
NAMES = (b"zqsecret", b"zqlabel", b"zqvalue", b"zqtext", b"zqrule")
"""Marks of what has other labels: not the addresses, to which a rule that one sees may come."""


@pytest.fixture
async def everything(stopped: FSM, tmp_path: Path) -> AsyncIterator[World]:
    async with stopped.serving(), world(stopped, tmp_path) as found:
        yield found


async def viewer(server: Server, labels: dict[str, str], **grant: Any) -> str:
    """Return a token of somebody who may read all, and ask, of what has such labels."""
    admin, name = server.token("admin"), f"by-{'-'.join(labels)}"
    grants = [
        {
            "verbs": ["read", "trace", "confirm"],
            "kinds": ["*"],
            "selector": {"matchLabels": labels},
            **grant,
        }
    ]
    await server.put(admin, "Role", name, {"grants": grants})
    subjects = [{"kind": "User", "name": "somebody"}]
    await server.put(admin, "RoleBinding", name, {"role": name, "subjects": subjects})
    token = server.token()
    while (await server.ask(token, "GET", "/api/v1/networks")).status == 403:
        pass
    return token


async def through_doors(server: Server, token: str) -> list[Asked]:
    asked = []
    for name, route in all_routes(server.home).items():
        if name in DOORS:
            for method, url, body in blind(server.home, name, route):
                asked.append(await server.ask(token, method, url, body))
    assert len(asked) >= 5
    return asked


def test_the_doors_are_doors() -> None:
    assert set(CASES) >= DOORS


async def test_no_answer_names_what_has_other_labels(everything: World) -> None:
    for server in (everything.fsm, everything.sdsp):
        token = await viewer(server, SHOWN)
        asked = await through_doors(server, token)
        assert [each for each in asked if each.status >= 500 or each.status == 403] == []
        told = [
            (mark, each)
            for each in asked
            for mark in NAMES
            if mark in each.answer and mark not in each.question
        ]
        assert told == []
        # Nor anything else, as nothing here has such labels.
        answers = {each.url: json.loads(each.answer) for each in asked if each.status == 200}
        assert answers["/api/v1/status"]["policies"] == []
        if server.home == "sdsp":
            assert answers["/api/v1/status"]["nodes"] == []
            assert answers["/api/v1/resolve"]["rules"] == []
            assert answers["/api/v1/held"]["items"] == []
        node = [each for each in asked if "node-1" in each.url + json.dumps(each.body)]
        assert [each.status for each in node] == [404] * len(node)


async def test_what_has_the_labels_is_shown_as_to_everybody(everything: World) -> None:
    for server in (everything.fsm, everything.sdsp):
        token, admin = await viewer(server, LABELS), server.token("admin")
        status = [
            json.loads((await server.ask(each, "GET", "/api/v1/status")).answer)["policies"]
            for each in (token, admin)
        ]
        secret = [each for each in status[1] if each["name"].startswith("zqsecret")]
        # Exceptions' labels stay at the sites, so that they are shown to nobody by labels.
        counts = {"nodes", "failing", "sites", "summary", "exceptions"}
        assert [bare(each, counts) for each in status[0]] == [
            bare(each, counts)
            for each in secret
            # The one policy of the rival's that has no labels.
            if each["name"] != "zqsecret-near"
        ]
        assert status[0]
    server = everything.sdsp
    rules = [
        json.loads((await server.ask(each, "GET", "/api/v1/resolve")).answer)["rules"]
        for each in (token, admin)
    ]
    mine = {each["policy"] for each in rules[0]}
    assert mine
    assert [bare(each, {"position", "names"}) for each in rules[0]] == [
        bare(each, {"position", "names"}) for each in rules[1] if each["policy"] in mine
    ]
    assert [each["position"] for each in rules[0]] == list(range(1, len(rules[0]) + 1))
    assert "zqsecret-near" not in mine
    assert "everything" not in mine


def bare(each: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    return {name: value for name, value in each.items() if name not in fields}
