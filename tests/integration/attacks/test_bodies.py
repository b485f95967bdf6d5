"""Bodies made to cost more than they weigh: whoever sends them must not make others wait."""

import io
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import field_validator

from shared.errors import Malformed, TooLarge
from shared.http.body import Body, parse_json, read_body
from shared.http.response import json_response
from shared.http.routes import PUBLIC, Routes
from shared.model.documents import parse_value
from tests.integration.api.harness import Api, network, running_api

MIB = 1024 * 1024
HEADERS = {"Content-Type": "application/json"}


@asynccontextmanager
async def admin(api: Api) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {api.token('admin')}", **HEADERS}
    async with aiohttp.ClientSession(api.server.url, headers=headers) as session:
        yield session


async def test_a_large_body_is_read_beside_the_event_loop(tmp_path: Path) -> None:
    threads: list[str] = []

    class Given(Body):
        text: str

        @field_validator("text")
        @classmethod
        def note(cls, text: str) -> str:
            threads.append(threading.current_thread().name)
            return text

    routes = Routes("/given")

    @routes.post("", permission=PUBLIC)
    async def given(request: Any) -> Any:
        return json_response(len((await read_body(request, Given)).text))

    async with (
        running_api(tmp_path, routes=[routes]) as api,
        aiohttp.ClientSession(api.server.url, headers=HEADERS) as session,
    ):
        for size in (10, MIB - 100):
            body = io.BytesIO(json.dumps({"text": "x" * size}).encode())
            async with session.post("/given", data=body) as response:
                assert await response.json() == size
    small, large = threads
    assert small == threading.main_thread().name
    assert large.startswith("bodies")


@pytest.mark.parametrize("module", ["kind_handlers", "handlers"])
async def test_a_large_document_is_judged_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    threads: set[str] = set()

    def noting(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread().name.partition("_")[0])
        return parse_value(*args, **kwargs)

    monkeypatch.setattr(f"shared.objects.{module}.parse_value", noting)
    document = network("web", *(f"10.0.{i // 256}.{i % 256}/32" for i in range(2000)))
    async with running_api(tmp_path) as api, admin(api) as session:
        if module == "handlers":
            body = {"operations": [{"operation": "put", "object": document}]}
            async with session.post("/api/v1/transactions", json=body) as response:
                assert response.status == 200
        else:
            async with session.put("/api/v1/networks/web", json=document) as response:
                assert response.status == 201
            patch = {"spec": {"subnets": document["spec"]["subnets"][:1500]}}
            headers = {"Content-Type": "application/merge-patch+json"}
            async with session.patch(
                "/api/v1/networks/web", data=json.dumps(patch), headers=headers
            ) as response:
                assert response.status == 200
    assert threads == {"bodies"}


@pytest.mark.parametrize("item", [b"0", b"[]", b"{}", b'""'])
async def test_a_body_of_too_many_values_is_refused(tmp_path: Path, item: bytes) -> None:
    body = b"[" + b",".join([item] * (MIB // (len(item) + 1) - 2)) + b"]"
    assert len(body) <= MIB
    async with (
        running_api(tmp_path) as api,
        admin(api) as session,
        session.put("/api/v1/networks/web", data=io.BytesIO(body)) as response,
    ):
        document = await response.json(content_type="application/problem+json")
    assert (response.status, document["code"]) == (413, "too_large")


async def test_commas_in_a_text_are_not_values(tmp_path: Path) -> None:
    document = network("web", annotations={"note": "," * 300_000})
    async with (
        running_api(tmp_path) as api,
        admin(api) as session,
        session.put("/api/v1/networks/web", json=document) as response,
    ):
        assert response.status == 201


async def test_a_transaction_of_thousands_of_faults_is_answered_with_some(tmp_path: Path) -> None:
    wrong = network("Wrong Name") | {"spec": {"a": 1, "b": 2}}
    body = {"operations": [{"operation": "put", "object": wrong}] * 5000}
    async with (
        running_api(tmp_path) as api,
        admin(api) as session,
        session.post("/api/v1/transactions", json=body) as response,
    ):
        document = await response.json(content_type="application/problem+json")
    assert response.status == 422
    assert len(document["errors"]) == 1001
    assert document["errors"][-1]["code"] == "too_many_faults"


@pytest.mark.parametrize("text", [b"," * 300_000, b'\\",' * 150_000, b"[" * 300_000])
def test_what_stands_in_a_text_is_not_counted(text: bytes) -> None:
    assert len(parse_json(b'["' + text + b'"]')) == 1
    for unended in (b'["' + text, b'["' + text + b"\\"):
        with pytest.raises(Malformed):
            parse_json(unended)


@pytest.mark.parametrize("text", [b"[" * 126_000, b'"a",' * 126_000, b'"\\\\",' * 126_000])
def test_what_stands_outside_of_texts_is_counted_before_it_is_parsed(text: bytes) -> None:
    with pytest.raises(TooLarge):
        parse_json(b"[" + text)
