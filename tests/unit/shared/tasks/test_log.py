"""The log's lines: JSON whatever is in them, and never a reason to fail."""

import asyncio
import json
import logging
import os
import random
import sys
from pathlib import Path

import pytest

from shared.tasks.log import JSONLines, Lines, access, log_request
from tests.simulation.loop import SimulatedLoop


@pytest.fixture
def lines() -> JSONLines:
    return JSONLines()


def record(message: str = "request", **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "name": "hanse.access", "levelno": 20})
    made.levelname = "INFO"
    made.__dict__ |= fields
    return made


def test_a_line_has_the_message_its_fields_and_when(lines: JSONLines) -> None:
    said = json.loads(lines.format(record(status=200, path="/x", identity=None)))
    at = said.pop("timestamp")
    assert said == {
        "event": "request",
        "level": "info",
        "logger": "hanse.access",
        "status": 200,
        "path": "/x",
        "identity": None,
    }
    assert at.endswith("Z")
    assert len(at) >= len("2026-01-01T00:00:00Z")


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1: object()}, b"\xff", {"a", "b"}])
def test_whatever_is_in_it_it_is_a_line_of_json(lines: JSONLines, value: object) -> None:
    line = lines.format(record(value=value))
    assert "\n" not in line
    assert json.loads(line)["event"] == "request"


def test_an_exception_is_told(lines: JSONLines) -> None:
    made = record("failed")
    try:
        int("no number")
    except ValueError:
        made.exc_info = sys.exc_info()
    said = json.loads(lines.format(made))
    assert said["exception"][0]["exc_type"] == "ValueError"


def test_lines_go_out_at_once_and_a_closed_end_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    handler = Lines(descriptor)
    handler.handle(record("one"))
    handler.handle(record("two"))
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["one", "two"]
    os.close(descriptor)
    handler.handle(record("three"))


def test_lines_go_out_together_within_ten_milliseconds_and_a_warning_takes_them_along(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    handler = Lines(descriptor)

    def written() -> list[str]:
        return [json.loads(line)["event"] for line in path.read_text().splitlines()]

    async def in_a_loop() -> None:
        handler.handle(record("one"))
        await asyncio.sleep(0.009)
        handler.handle(record("two"))
        assert written() == []
        await asyncio.sleep(0.002)
        assert written() == ["one", "two"]
        handler.handle(record("three"))
        warning = record("four")
        warning.levelno = logging.WARNING
        handler.handle(warning)
        assert written() == ["one", "two", "three", "four"]
        handler.handle(record("five"))

    loop = SimulatedLoop(random.Random(0))
    loop.run(in_a_loop())
    loop.close()
    assert written()[-1] == "four"
    # As logging.shutdown() does when the program ends.
    handler.flush()
    assert written()[-1] == "five"
    os.close(descriptor)


@pytest.mark.parametrize("path", ["/x", "/\ud800"])
def test_a_request_has_a_line_of_its_fields(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, access.name)
    log = tmp_path / "log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(access, "handlers", [Lines(descriptor)])
    log_request({"path": path, "status": 200})
    os.close(descriptor)
    said = json.loads(log.read_text())
    del said["timestamp"]
    assert said == {
        "event": "request",
        "level": "info",
        "logger": "hanse.access",
        "path": path,
        "status": 200,
    }


def test_without_lines_of_ours_a_request_is_a_record(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_request({"path": "/x", "status": 200})
    assert [(each.msg, each.__dict__["path"]) for each in caplog.records] == [("request", "/x")]


def test_a_traceback_shows_no_variables() -> None:
    def handle(authorization: str) -> None:
        raise RuntimeError(f"broke after {len(authorization)} characters")

    try:
        handle("Bearer secret-of-somebody")
    except RuntimeError:
        record = logging.LogRecord(
            "hanse", logging.ERROR, __file__, 1, "failed", (), sys.exc_info()
        )
    text = JSONLines().format(record)
    assert "broke after 25 characters" in text
    assert "secret-of-somebody" not in text
