import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Malformed, TooLarge
from shared.http.body import parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_sound_json_comes_through_as_it_is(value) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_no_bytes_fail_otherwise_than_malformed(data: bytes) -> None:
    try:
        parse_json(data)
    except Malformed as exc:
        assert exc.code in ("malformed", "too_deep")  # noqa: PT017 - some are sound


def test_32_levels_are_taken_and_no_more() -> None:
    parse_json(b"[" * 32 + b"]" * 32)
    parse_json(b'{"a":' * 32 + b"1" + b"}" * 32)
    for data in (b"[" * 33 + b"]" * 33, b'{"a":' * 33 + b"1" + b"}" * 33):
        with pytest.raises(Malformed) as caught:
            parse_json(data)
        assert caught.value.code == "too_deep"


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 8_000_000,
        b'{"a":' * 1_500_000,
        b'"' + b"\\u0000" * 1_000_000 + b'"',
        b"1" * 1_000_000,
        b"[" + b"9" * 900_000 + b"]",
        b'{"a":1,' + b'"b":1,' * 100_000 + b'"a":1}',
    ],
    ids=["lists", "objects", "escapes", "digits", "number", "duplicates"],
)
def test_hostile_bodies_are_refused_quickly(data: bytes) -> None:
    started = time.thread_time()
    with pytest.raises((Malformed, TooLarge)):
        parse_json(data)
    # The promise is 100 ms; three times that allows for a slow machine, and CPU time for a busy one.
    assert time.thread_time() - started < 0.3
