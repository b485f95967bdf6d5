"""What refusals look like on the wire, recorded: problems.json, re-recorded by --update-golden."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.api.harness import Api, network

GOLDEN = Path(__file__).with_name("problems.json")
NETWORKS = "/api/v1/networks"
BAD = network("web", "10.0.0.1/8") | {"spec": {"subnet": [], "vlan": "x"}}

REQUESTS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "nobody": ("GET", NETWORKS, None, {"Authorization": ""}),
    "no address": ("GET", "/nowhere", None, {}),
    "no such method": ("POST", NETWORKS, None, {}),
    "no such object": ("GET", f"{NETWORKS}/missing", None, {}),
    "bad json": ("PUT", f"{NETWORKS}/web", "{", {}),
    "bad document": ("PUT", f"{NETWORKS}/web", BAD, {}),
    "another name": ("PUT", f"{NETWORKS}/web", network("other"), {}),
    "stale revision": ("PUT", f"{NETWORKS}/here", network("here"), {"If-Match": '"99"'}),
    "bad condition": ("PUT", f"{NETWORKS}/here", network("here"), {"If-Match": "x"}),
    "unknown parameter": ("GET", f"{NETWORKS}?labels=a", None, {}),
    "bad selector": ("GET", f"{NETWORKS}?labelSelector=a b", None, {}),
    "future watch": ("GET", "/api/v1/watch?after=99", None, {}),
    "bad transaction": (
        "POST",
        "/api/v1/transactions",
        {
            "operations": [
                {"operation": "put", "object": BAD},
                {"operation": "delete", "object": {"kind": "Network"}},
            ]
        },
        {},
    ),
    "another component's kind": ("GET", "/api/v1/watch?kinds=Workload", None, {}),
    "wrong password": (
        "POST",
        "/api/v1/login",
        {"username": "admin", "password": "wrong"},
        {"Authorization": ""},
    ),
}


async def test_problems_are_as_recorded(api: Api, update_golden: bool) -> None:
    await api.client("admin").put(f"{NETWORKS}/here", network("here", "10.0.0.0/8"))
    found: dict[str, Any] = {}
    token = api.token("admin")
    async with aiohttp.ClientSession(api.server.url) as session:
        for name, (method, path, body, more) in REQUESTS.items():
            headers = {"Authorization": f"Bearer {token}", "X-Request-Id": "request-1"} | more
            headers = {key: value for key, value in headers.items() if value}
            if body is not None:
                headers["Content-Type"] = "application/json"
            data = body if isinstance(body, str) or body is None else json.dumps(body)
            async with session.request(method, path, data=data, headers=headers) as response:
                assert response.content_type == "application/problem+json", name
                document = await response.json(content_type=None)
                assert document["status"] == response.status
                shown = ("Allow", "Retry-After", "WWW-Authenticate")
                kept = {key: response.headers[key] for key in shown if key in response.headers}
                found[name] = {"headers": kept, "document": document}
    if update_golden:
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(GOLDEN.read_text())
