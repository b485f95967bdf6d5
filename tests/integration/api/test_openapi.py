"""The description of the API, against its own rules and against the server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.integration.api.harness import Api, running_api


@pytest.mark.parametrize("home", ["fsm", "sdsp"])
async def test_the_description_is_valid_openapi_31(tmp_path: Path, home) -> None:
    async with running_api(tmp_path, home=home) as api:
        document = (await api.client().get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    validate(document, cls=OpenAPIV31SpecValidator)


def fields(document: dict) -> Iterator[tuple[str, dict]]:
    for name, schema in document["components"]["schemas"].items():
        yield name, schema
        for field, inner in schema.get("properties", {}).items():
            yield f"{name}.{field}", inner


async def test_every_route_and_field_is_described(api: Api) -> None:
    document = (await api.client().get("/openapi.json")).json()
    operations = [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert [name for name, each in operations if not each["summary"]] == []
    assert [
        f"{name} {each['name']}"
        for name, operation in operations
        for each in operation["parameters"]
        if not each["description"]
    ] == []
    undescribed = [name for name, schema in fields(document) if not schema.get("description")]
    assert undescribed == []


async def test_the_documentation_needs_no_other_host(api: Api) -> None:
    client = api.client()
    index = await client.get("/docs")
    text = index.body.decode()
    assert index.headers["Content-Type"].startswith("text/html")
    assert "<script" not in text
    assert "http://" not in text.replace("http://127.0.0.1", "")
    assert "/api/v1/networks/{name}" in text
    assert "default-src 'none'" in index.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "nope", "x.md", "__init__"])
async def test_a_page_that_is_not_there_is_not_found(api: Api, name: str) -> None:
    from shared.errors import NotFound

    with pytest.raises(NotFound):
        await api.client().get(f"/docs/{name}")


# Schemathesis drives the server from threads of its own, so the server has its own process.
SERVER = """
import asyncio, json, sys
from pathlib import Path
from tests.integration.api.harness import network, running_api

async def main():
    async with running_api(Path(sys.argv[1])) as api:
        client = api.client("admin")
        await client.put("/api/v1/networks/web", network("web", "10.0.0.0/24"))
        print(json.dumps({"url": api.server.url, "token": api.token("admin")}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory) -> Iterator[dict]:
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("schemathesis")
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
        server.communicate()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_server_does_what_its_description_says(process) -> None:
    """A short run: every answer has a described status and form, and none is a mistake of ours."""
    schema = schemathesis.openapi.from_url(f"{process['url']}/openapi.json")
    headers = {"Authorization": f"Bearer {process['token']}"}
    covered = set()
    wanted = (
        "/api/v1/networks",
        "/api/v1/networks/{name}",
        "/api/v1/networks/{name}/history",
        "/api/v1/securitypolicies/{name}",
        "/api/v1/transactions",
        "/api/v1/audit",
        "/api/v1/whoami",
        "/api/v1/login",
        "/readyz",
    )
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in wanted:
            continue
        covered.add(operation.path)

        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case) -> None:
            response = case.call(headers=headers)
            assert response.status_code != 500, response.text
            case.validate_response(
                response,
                checks=[
                    schemathesis.checks.not_a_server_error,
                    schemathesis.checks.status_code_conformance,
                    schemathesis.checks.content_type_conformance,
                    schemathesis.checks.response_schema_conformance,
                ],
            )

        check()
    assert covered == set(wanted)
