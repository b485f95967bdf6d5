from typing import Any

import orjson
import pytest

from shared.errors import Malformed
from shared.feed.wire import (
    Bookmark,
    Changes,
    End,
    FeedObject,
    Hello,
    Position,
    Put,
    Removal,
    Remove,
    Tombstone,
    encode_bookmark,
    encode_changes,
    encode_end,
    encode_hello,
    encode_page,
    encode_put,
    encode_remove,
    parse_frame,
    parse_page,
)
from shared.ids import COMMON, FEDERATION, Key

AT = Position("life-1", 7, "d7", "v")
KEY = Key("Network", COMMON, FEDERATION, "AppX")
DOCUMENT = {
    "apiVersion": "hanse/v1",
    "kind": "Network",
    "metadata": {"name": "AppX", "tenant": COMMON, "scope": FEDERATION, "revision": 7},
    "spec": {"vlan": 110},
}
BYTES = orjson.dumps(DOCUMENT)


@pytest.mark.parametrize(
    ("line", "frame"),
    [
        (encode_hello(), Hello(1)),
        (encode_bookmark(5, AT), Bookmark(5, AT)),
        (encode_end("view_changed"), End("view_changed")),
        (
            encode_changes(5, AT, [encode_put(BYTES), encode_remove(KEY, Removal.DELETED)]),
            Changes(5, AT, (Put(FeedObject(KEY, 7, DOCUMENT)), Remove(KEY, Removal.DELETED))),
        ),
    ],
)
def test_what_is_written_is_read_back(line: bytes, frame: object) -> None:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_frame(orjson.loads(line)) == frame


def test_a_page_is_read_back() -> None:
    tombstone = Tombstone(KEY, Removal.UNSUBSCRIBED, 6)
    page = parse_page(orjson.loads(encode_page(AT, [BYTES], [tombstone], "1000")))
    assert page.position == AT
    assert page.objects == (FeedObject(KEY, 7, DOCUMENT),)
    assert page.tombstones == (tombstone,)
    assert page.next == "1000"


POSITION = AT.to_json()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param([], id="a list"),
        pytest.param({}, id="nothing"),
        pytest.param({"protocol": "1"}, id="a protocol that is no number"),
        pytest.param({"protocol": True}, id="a protocol that is true"),
        pytest.param({"end": 1}, id="an end without a word"),
        pytest.param({"after": 1, "changes": []}, id="no position"),
        pytest.param({"position": POSITION, "changes": []}, id="no after"),
        pytest.param({"after": -1, "position": POSITION, "changes": []}, id="a negative after"),
        pytest.param({"after": 1, "position": POSITION, "changes": {}}, id="changes that are none"),
        pytest.param({"after": 1, "position": POSITION, "changes": [{}]}, id="an empty change"),
        pytest.param(
            {"after": 1, "position": {**POSITION, "view": None}, "changes": []}, id="no view"
        ),
        pytest.param(
            {"after": 1, "position": POSITION, "changes": [{"put": {"kind": "Network"}}]},
            id="an object without metadata",
        ),
        pytest.param(
            {
                "after": 1,
                "position": POSITION,
                "changes": [{"put": {**DOCUMENT, "spec": "everything"}}],
            },
            id="a spec that is text",
        ),
        pytest.param(
            {
                "after": 1,
                "position": POSITION,
                "changes": [{"remove": KEY._asdict(), "reason": "because"}],
            },
            id="an unknown reason",
        ),
        pytest.param({"after": 1, "position": POSITION, "bookmark": "yes"}, id="half a bookmark"),
    ],
)
def test_what_can_t_be_read_is_refused_in_words(line: Any) -> None:
    with pytest.raises(Malformed):
        parse_frame(line)


@pytest.mark.parametrize(
    "change",
    [{"position": None}, {"objects": None}, {"tombstones": [{}]}, {"next": 5}],
)
def test_a_torn_page_is_refused(change: dict[str, object]) -> None:
    page = orjson.loads(encode_page(AT, [BYTES], [], None))
    with pytest.raises(Malformed):
        parse_page({**page, **change})


def test_an_unknown_field_of_a_newer_peer_does_no_harm() -> None:
    frame = {"after": 5, "position": {**POSITION, "epoch": 3}, "bookmark": True, "more": 1}
    assert parse_frame(frame) == Bookmark(5, AT)
