"""The description of the API, against its own rules and against the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
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
