"""A file of recorded flows: its window, its compression, its bad lines, and what is kept of it."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import Invalid, NotFound, TooLarge
from shared.telemetry import flow_lines, recorded
from shared.telemetry.recorded import FlowFile, read_flow_file

LINE = '{"from": "10.0.0.1", "to": "10.0.0.2", "protocol": "tcp", "port": 443, "end": "%s"}\n'
OLD = LINE % "2026-11-01T00:00:00Z"
NEW = LINE % "2026-11-23T00:00:00Z"
UNTIMED = '{"from": "10.0.0.1", "to": "10.0.0.2", "protocol": "icmp"}\n'


def written(folder: Path, *lines: str) -> Path:
    file = folder / "flows.jsonl"
    file.write_text("".join(lines))
    return file


def test_a_window_holds_what_was_seen_in_it_and_what_says_no_time(tmp_path: Path) -> None:
    flows = FlowFile(written(tmp_path, OLD, NEW, UNTIMED))
    since = datetime(2026, 11, 22, tzinfo=UTC)
    assert len(flows.since(None).flows) == 3
    observed = flows.since(since)
    assert (len(observed.flows), observed.since) == (2, since)
    assert len(flows.since(datetime(2026, 11, 23, tzinfo=UTC)).flows) == 2


def test_a_file_may_be_compressed(tmp_path: Path) -> None:
    file = tmp_path / "flows.jsonl.gz"
    file.write_bytes(gzip.compress((OLD + NEW).encode()))
    assert len(read_flow_file(file)) == 2
    file.write_bytes(gzip.compress((OLD + NEW).encode())[:-9])
    with pytest.raises(Invalid, match="no whole gzip file"):
        read_flow_file(file)


def test_what_was_read_is_kept_until_the_file_is_another(tmp_path: Path) -> None:
    file = written(tmp_path, OLD)
    flows = FlowFile(file)
    first = flows.since(None).flows
    assert flows.since(None).flows is first
    written(tmp_path, OLD, NEW)
    assert len(flows.since(None).flows) == 2
    file.unlink()
    with pytest.raises(NotFound, match="there is no file"):
        flows.since(None)


def test_an_empty_file_has_no_flows(tmp_path: Path) -> None:
    for lines in ((), ("\n",), ("\n", " \n")):
        assert len(read_flow_file(written(tmp_path, *lines))) == 0


def test_lines_are_read_across_blocks(tmp_path: Path) -> None:
    count = 60_000
    assert len(read_flow_file(written(tmp_path, OLD * count, NEW.rstrip()))) == count + 1


BAD = [
    ("nonsense", "", "malformed", "not JSON"),
    ("[]", "", "invalid_flow", "JSON object"),
    ('{"to": "10.0.0.1"}', "from", "invalid_flow", "missing"),
    (OLD.replace("10.0.0.2", "::1").strip(), "to", "invalid_flow", "one family"),
    (OLD.replace("10.0.0.2", "10.0.0.256").strip(), "to", "invalid_flow", "10.0.0.256"),
    (OLD.replace("10.0.0.2", "010.0.0.2").strip(), "to", "invalid_flow", "010.0.0.2"),
    (OLD.replace('"tcp"', "true").strip(), "protocol", "invalid_flow", "protocol"),
    (OLD.replace("443", "65536").strip(), "port", "invalid_flow", "last port"),
    (OLD.replace("443", "-1").strip(), "port", "invalid_flow", "no port"),
    (OLD.replace("443", "true").strip(), "port", "invalid_flow", "no port"),
    (OLD.replace('"tcp"', '"icmp"').strip(), "port", "invalid_flow", "no ports"),
    (OLD.replace("2026-11-01", "2026-02-30").strip(), "end", "invalid_flow", "no time"),
    (OLD.replace("00Z", "00").strip(), "end", "invalid_flow", "time zone"),
    (OLD.replace('"2026-11-01T00:00:00Z"', "5").strip(), "end", "invalid_flow", "text"),
    ('{"bytes": -1, ' + UNTIMED[1:].strip(), "bytes", "invalid_flow", "count"),
    ('{"bytes": 1.5, ' + UNTIMED[1:].strip(), "bytes", "invalid_flow", "count"),
    ('{"bytes": 9223372036854775808, ' + UNTIMED[1:].strip(), "bytes", "invalid_flow", "count"),
    ('{"verdict": "drop", ' + UNTIMED[1:].strip(), "verdict", "invalid_flow", "allow, deny"),
    ('{"verdict": [], ' + UNTIMED[1:].strip(), "verdict", "invalid_flow", "allow, deny"),
    (
        LINE.strip() % "0001-01-01T00:00:00+14:00",
        "end",
        "invalid_flow",
        "beyond all calendars",
    ),
]


@pytest.mark.parametrize(("line", "field", "code", "said"), BAD)
def test_a_bad_line_is_named(tmp_path: Path, line: str, field: str, code: str, said: str) -> None:
    file = written(tmp_path, OLD, "\n", NEW, f"{line}\n", UNTIMED)
    with pytest.raises(Invalid) as caught:
        read_flow_file(file)
    (fault,) = caught.value.fields
    assert (fault.file, fault.line, fault.path, fault.code) == (str(file), 4, field, code)
    assert said in fault.message


def test_lines_that_are_flows_only_together_are_none(tmp_path: Path) -> None:
    """Joined by commas they would be objects, as many as there are lines."""
    one = UNTIMED.strip()
    parts = [f"{one},{one}\n", '{"from": "10.0.0.1",\n', f'"a": {one[:-1]}}}}}\n']
    with pytest.raises(Invalid) as caught:
        read_flow_file(written(tmp_path, *parts))
    assert [fault.line for fault in caught.value.fields] == [1, 2, 3]


def test_of_very_many_bad_lines_a_hundred_are_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        read_flow_file(written(tmp_path, "x\n" * 1000))
    assert len(caught.value.fields) == 100


def test_too_many_flows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_lines, "MOST", 2)
    with pytest.raises(TooLarge) as caught:
        read_flow_file(written(tmp_path, OLD, OLD, OLD))
    assert caught.value.code == "too_many_flows"


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, OLD, NEW[: len(NEW) // 2])
    assert len(read_flow_file(file)) == 1
    assert len(read_flow_file(written(tmp_path, OLD, NEW.rstrip()))) == 2
    with pytest.raises(Invalid):
        read_flow_file(written(tmp_path, OLD, NEW[: len(NEW) // 2], "\n"))
    with pytest.raises(Invalid):
        read_flow_file(written(tmp_path, OLD, NEW.rstrip().replace("443", "-1")))


def test_a_line_that_does_not_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        read_flow_file(written(tmp_path, OLD, '{"note": "', "x" * 10_000_000))
    assert caught.value.fields[0].line == 2


def test_very_many_flows_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_KEPT", 1)
    flows = FlowFile(written(tmp_path, OLD, NEW))
    assert flows.since(None).flows is not flows.since(None).flows
