import os

import pytest

from shared.http.trace import (
    Trace,
    current_request_id,
    current_trace,
    new_request_id,
    outgoing_headers,
    parse_request_id,
    parse_traceparent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_read_and_written_alike() -> None:
    text = f"00-{TRACE}-{SPAN}-01"
    trace = parse_traceparent(text)
    assert trace == Trace(TRACE, SPAN, "01")
    assert str(trace) == text
    child = trace.child()
    assert (child.trace_id, child.flags) == (TRACE, "01")
    assert child.span_id != SPAN


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(text: str | None) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize("text", ["a", "3f-1.x:y_z", "A" * 128])
def test_a_plain_request_id_is_kept(text: str) -> None:
    assert parse_request_id(text) == text


@pytest.mark.parametrize("text", [None, "", "-a", "a b", "a\n", "a" * 129, 'a"', "é"])
def test_a_request_id_that_could_confuse_a_log_is_not_kept(text: str | None) -> None:
    assert parse_request_id(text) is None


def test_a_call_without_a_request_begins_a_trace_of_its_own() -> None:
    current_trace.set(None)
    current_request_id.set(None)
    headers = outgoing_headers()
    assert parse_traceparent(headers["traceparent"]) is not None
    assert "X-Request-Id" not in headers


def test_request_ids_never_come_twice_not_even_in_a_child() -> None:
    ours = {new_request_id() for _ in range(1000)}
    assert len(ours) == 1000
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ours)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_request_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 64).decode()
    os.close(read)
    os.close(write)
    assert len(theirs) == 32
    assert theirs not in {new_request_id() for _ in range(1000)}
