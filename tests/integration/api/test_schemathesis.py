"""Both servers against their own description, as nobody, as the least and as the most privileged.

Schemathesis sends what the description allows and what it doesn't; every answer must have a status
and a form that the description has, and none may be a mistake of ours (500).  It drives the
servers from threads of its own, so they have a process of their own: a real FSM and a real SDSP
over real TLS, with objects of two tenants.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from shared.http.ndjson import NDJSON
from shared.model.kinds import PLURALS

SERVERS = """
import asyncio, json, sys
from pathlib import Path
from shared.pki.certificates import certificates_to_pem
from tests.access.tenants import world
from tests.integration.fsm.harness import prepare

async def main():
    folder = Path(sys.argv[1])
    (folder / "fsm").mkdir()
    fsm = await prepare(folder / "fsm")
    async with fsm.serving(), world(fsm, folder) as everything:
        (folder / "roots.pem").write_text(certificates_to_pem(fsm.roots))
        told = {
            server.home: {
                "url": server.url,
                "tokens": {
                    "least": server.token("viewer", tenants=["acme"]),
                    "most": server.token("admin"),
                },
            }
            for server in (everything.fsm, everything.sdsp)
        }
        print(json.dumps(told), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""
KINDS = ("Network", "SecurityPolicy", "Override", "User", "RoleBinding", "Credential", "Node")
"""The routes of all kinds have the same handlers; these kinds have rules of their own."""
LAST_WORDS = ("logout", "sessions", "revoke", "rotate")
"""They may end the session, or the trust, that the rest of the run rests on: asked for by those
alone who may not.
"""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]
EXAMPLES = 5


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("schemathesis")
    command = [sys.executable, "-c", SERVERS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield told | {"roots": str(folder / "roots.pem")}
        process.communicate()


def is_tried(path: str, operation: dict[str, Any], who: str) -> bool:
    parts = path.removeprefix("/api/v1/").split("/")
    if parts[0] in PLURALS and len(parts) <= 3 and parts[-1] in (parts[0], "{name}", "history"):
        return PLURALS[parts[0]].name in KINDS
    if who != "nobody":
        streams = any(NDJSON in each.get("content", {}) for each in operation["responses"].values())
        return not streams and not (who == "most" and any(each in path for each in LAST_WORDS))
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("who", ["nobody", "least", "most"])
@pytest.mark.parametrize("home", ["fsm", "sdsp"])
def test_a_server_does_what_its_description_says(servers, home: str, who: str) -> None:
    server, roots = servers[home], servers["roots"]
    token = server["tokens"].get(who)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    schema = schemathesis.openapi.from_url(f"{server['url']}/openapi.json", verify=roots)
    statuses: set[int] = set()
    tried = 0
    with requests.Session() as session:
        session.verify = roots
        for result in schema.get_all_operations():
            operation = result.ok()
            if not is_tried(operation.path, operation.definition.raw, who):
                continue
            tried += 1

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def check(case) -> None:
                response = case.call(headers=headers, session=session, verify=roots)
                statuses.add(response.status_code)
                case.validate_response(response, checks=CHECKS)

            check()
    assert tried > 40
    # That the callers were who they should be; `most` is refused by the wrong passwords he sends.
    expected = {"nobody": {200, 401}, "least": {200, 403, 404}, "most": {200, 404, 422}}
    assert expected[who] <= statuses
    assert not (who == "nobody" and 403 in statuses)
