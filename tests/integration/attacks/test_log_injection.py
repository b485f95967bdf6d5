"""Log injection, XSS, CSRF, clickjacking, open redirect, CSV formula: here the first.

Structured logs: whatever somebody sends is a value within a record, and ends no record, begins none
and is no other field of it: in the audit trail, in its export, and at a syslog receiver.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.syslog import Origin, frame, frames_in, message_of
from shared.errors import HanseError
from shared.store.chain import line_of
from shared.store.mapping import audit_row
from tests.fakes.trails import record
from tests.integration.api.harness import Api, running_api

ORIGIN = Origin("fsm.example", "fsm")
HOSTILE = [
    'x"] [hanse@32473 identity="user:root"] ',
    "x\n<110>1 2026-01-01T00:00:00Z h hanse - RECORD - forged",
    "x\r\n\x00\x1b[2J\x07",
    "x\\",
    "x]",
    "\u2028\u202eevil\u2066\ufeff",
    "=cmd|' /C calc'!A0",
    "\x85\x9b31m",
]

# RFC 5424 §6: what a strict receiver takes.
_VALUE = r'"(?:[^"\\\]]|\\["\\\]])*"'
MESSAGE = re.compile(
    rf"<\d{{1,3}}>1 \S+ \S+ \S+ \S+ \S+ \[[!-<>-~]+(?: [!-<>-~]+={_VALUE})*\](?: .*)?", re.DOTALL
)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


def sent(identity: str, reason: str, diff: dict[str, Any] | None = None) -> str:
    made = record(1, identity=identity, reason=reason, diff=diff or {})
    row = audit_row(1, made) | {"chain": "c", "position": 1}
    return message_of(row, "ab12", ORIGIN).decode()


def fields_of(message: str) -> dict[str, str]:
    """Read the structured data as the RFC says: it ends at the first bracket not escaped."""
    data = re.match(rf"\[[!-<>-~]+((?: [!-<>-~]+={_VALUE})*)\]", message[message.index("[") :])
    assert data is not None
    found = re.findall(rf" ([!-<>-~]+)=({_VALUE})", data[1])
    return {name: re.sub(r"\\(.)", r"\1", value[1:-1]) for name, value in found}


@pytest.mark.parametrize("text", HOSTILE)
def test_log_injection_a_message_is_one_line_and_each_value_stays_in_its_field(text: str) -> None:
    message = sent(text, text, {text: {"after": text}})
    assert MESSAGE.fullmatch(message)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", message)
    fields = fields_of(message)
    assert list(fields.values()).count("user:root") == 0
    assert fields["outcome"] == "ok"
    framed = frame(message.encode())
    assert list(frames_in(framed + framed)) == [message.encode()] * 2


@given(st.text(), st.text())
def test_log_injection_whatever_is_sent_a_strict_reader_finds_the_same_fields(
    identity: str, reason: str
) -> None:
    plain = fields_of(sent("user:kim", "because"))
    made = record(1, identity=identity.encode("utf-8", "ignore").decode(), reason=reason)
    row = audit_row(1, made) | {"chain": "c", "position": 1}
    message = message_of(row, None, ORIGIN).decode("utf-8")
    assert MESSAGE.fullmatch(message)
    assert "\n" not in message
    assert set(fields_of(message)) <= {*plain, "reason"}


@pytest.mark.parametrize("text", HOSTILE)
async def test_log_injection_a_login_cannot_write_a_record_of_its_own(api: Api, text: str) -> None:
    before = await _exported(api)
    body = {"username": text, "password": "secret-that-is-nowhere"}
    with pytest.raises(HanseError):
        await api.client().post("/api/v1/login", body)
    await api.client("admin").get("/api/v1/audit", params={"text": "login"})
    after = await _exported(api)
    new = [each for each in after if each not in before and each["action"] == "login"]
    assert len(new) <= 1
    assert all(each["identity"] == f"user:{text}" for each in new)
    assert all("secret-that-is-nowhere" not in orjson.dumps(each).decode() for each in after)


async def _exported(api: Api) -> list[dict[str, Any]]:
    client = api.client("admin")
    async with client.stream("GET", "/api/v1/audit/export") as lines:
        return [line async for line in lines if line["type"] == "record"]


def test_log_injection_a_records_line_is_one_json_array() -> None:
    for text in HOSTILE:
        row = audit_row(1, record(1, identity=text)) | {"chain": "c", "position": 1}
        assert b"\n" not in line_of(row)
