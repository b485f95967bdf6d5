"""An FSM that may call its sites on loopback, two sites that it can ask, and who asks."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import HanseError
from shared.http.outward import OutwardSettings
from shared.http.peer import PeerClient
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import NAMES, RoadSite, declare, document, joined

LOOPBACK = OutwardSettings(networks=("127.0.0.0/8",), ports=("1-65535",))


@pytest.fixture
async def fsm(stopped: FSM) -> AsyncIterator[FSM]:
    """A running FSM that may call sites on this machine, and an admin who counts at all of them."""
    stopped.settings = stopped.settings.model_copy(update={"sites": LOOPBACK})
    async with stopped.serving():
        await declare(stopped.admin())
        await give(stopped, "global-admin", "admin")
        yield stopped


@pytest.fixture
async def site(fsm: FSM, tmp_path: Path) -> AsyncIterator[RoadSite]:
    """The running SDSP of sfo, which knows the policy and can be asked."""
    async with joined(tmp_path, fsm) as found, found.serving():
        await found.until(lambda status: bool(status["policies"]))
        await reachable(fsm, found)
        yield found


async def give(fsm: FSM, role: str, *users: str, **binding: Any) -> None:
    """Bind a role that flows down to every site."""
    spec = {
        "role": role,
        "subjects": [{"kind": "User", "name": each} for each in users],
        "flowsDown": True,
        **binding,
    }
    name = f"{role}-{'-'.join(users)}"
    await fsm.admin().client.put(
        f"/api/v1/rolebindings/{name}", document("RoleBinding", name, spec)
    )


async def reachable(fsm: FSM, site: RoadSite, *, port: int | None = None) -> None:
    """Say at the FSM where a site is called, and wait until the site knows all."""
    endpoint = f"https://127.0.0.1:{port or site.settings.listen.port}"
    spec = {"serverNames": NAMES, "endpoint": endpoint}
    await fsm.admin().put("sites", site.name, spec, labels={"env": "prod", "at": site.name})
    await site.heard(fsm)


@asynccontextmanager
async def second_site(fsm: FSM, folder: Path, name: str = "fra") -> AsyncIterator[RoadSite]:
    """Run another site, which the FSM can ask."""
    await fsm.admin().put("sites", name, {"serverNames": NAMES}, labels={"env": "prod"})
    async with joined(folder, fsm, name=name) as found, found.serving():
        await found.until(lambda status: bool(status["policies"]))
        await reachable(fsm, found)
        yield found


def put(kind: str, name: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"operation": "put", "object": document(kind, name, spec, **metadata)}


def delete(kind: str, name: str, **metadata: Any) -> dict[str, Any]:
    given = document(kind, name, {}, **metadata)
    return {"operation": "delete", "object": {k: v for k, v in given.items() if k != "spec"}}


async def asked(
    client: PeerClient, operations: Sequence[dict[str, Any]], **how: Any
) -> list[dict[str, Any]]:
    """Ask about a draft; return the lines of the answer."""
    body = {"operations": list(operations), **how}
    async with client.stream("POST", "/api/v1/impact", body=body) as lines:
        return [json.loads(json.dumps(line)) async for line in lines]


def site_of(lines: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [each for each in lines if each["type"] == "site" and each["site"] == name]
    return found


async def refused(client: PeerClient, operations: Sequence[dict[str, Any]], **how: Any) -> str:
    """Return the code with which a question is refused."""
    try:
        lines = await asked(client, operations, **how)
    except HanseError as exc:
        return exc.code
    return str(lines[-1].get("code", "not refused"))
