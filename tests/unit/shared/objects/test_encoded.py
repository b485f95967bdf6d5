"""Answers with one object, made once for each version."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from aiohttp import web

from shared.http.response import object_response
from shared.ids import Generation, Key, Revision
from shared.objects import encoded as module
from shared.objects.encoded import EncodedObjects
from shared.store.contract import Stored

AT = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Stored(
    Key("Service", "common", "federation", "web"),
    "uid",
    {"entries": []},
    {"app": "web"},
    {},
    None,
    Revision(7),
    Generation(2),
    AT,
    AT,
)


def body(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def test_an_answer_is_what_it_always_was() -> None:
    encoded = EncodedObjects()
    for _ in range(2):
        ours, plain = encoded.response(WEB), object_response(WEB)
        assert body(ours) == body(plain)
        assert dict(ours.headers) == dict(plain.headers)
        assert ours.headers["ETag"] == '"7"'


def test_a_version_is_encoded_once_and_another_status_anew() -> None:
    encoded = EncodedObjects()
    assert body(encoded.response(WEB)) is body(encoded.response(WEB))
    seen = replace(WEB, status={"seen": True})
    assert orjson.loads(body(encoded.response(seen)))["status"] == {"seen": True}


def test_one_answer_s_headers_are_its_own() -> None:
    encoded = EncodedObjects()
    encoded.response(WEB).headers["X-Request-Id"] = "mine"
    assert "X-Request-Id" not in encoded.response(WEB).headers


def test_no_more_is_kept_than_the_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", 5000)
    encoded = EncodedObjects()
    many = [replace(WEB, key=WEB.key._replace(name=f"n{number}")) for number in range(50)]
    for each in many:
        encoded.response(each)
    assert encoded._bytes <= 5000
    assert 1 < len(encoded._kept) < 10
