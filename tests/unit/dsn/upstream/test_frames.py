"""Lines of the stream are read strictly."""

from typing import Any

import pytest

from dsn.upstream.frames import Bookmark, End, Hello, Step, parse_frame
from shared.errors import HanseError, Malformed


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        ({"protocol": 1, "incarnation": "i"}, Hello(1, "i")),
        ({"snapshot": {}, "generation": 3, "hash": "h"}, Step(3, "h", snapshot={})),
        ({"delta": {}, "generation": 3, "hash": "h"}, Step(3, "h", delta={})),
        ({"generation": 3, "hash": "h"}, Step(3, "h")),
        ({"bookmark": True, "generation": 3, "hash": "h"}, Bookmark(3, "h")),
        ({"end": "admission_pending"}, End("admission_pending")),
    ],
)
def test_each_line_is_one_frame(line: Any, frame: object) -> None:
    assert parse_frame(line) == frame


@pytest.mark.parametrize(
    "line",
    [
        [],
        None,
        {},
        {"generation": "3", "hash": "h"},
        {"generation": True, "hash": "h"},
        {"generation": 3},
        {"protocol": 1},
        {"end": 3},
    ],
)
def test_what_is_no_frame_is_malformed(line: Any) -> None:
    with pytest.raises(Malformed):
        parse_frame(line)


def test_another_protocol_is_refused_by_name() -> None:
    with pytest.raises(Malformed, match="version 2") as refusal:
        parse_frame({"protocol": 2, "incarnation": "i"})
    assert refusal.value.code == "unsupported_protocol"


def test_an_error_on_the_stream_is_raised_with_its_code() -> None:
    with pytest.raises(HanseError) as raised:
        parse_frame({"type": "error", "status": 503, "code": "storage_full", "title": "no room"})
    assert raised.value.code == "storage_full"
