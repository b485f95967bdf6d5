"""Whatever a site answers, or claims to be asked, is read or refused, and never anything else."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.errors import HanseError
from shared.query.impact import Draft, parse_impact
from shared.query.wire import (
    Begun,
    End,
    Part,
    Question,
    Working,
    encode_begun,
    encode_end,
    encode_part,
    encode_question,
    encode_working,
    parse_frame,
    parse_question,
)

_NAMES = st.sampled_from(
    [
        "begun",
        "site",
        "position",
        "part",
        "data",
        "end",
        "working",
        "type",
        "status",
        "code",
        "protocol",
        "ask",
        "deadline",
        "with",
        "puts",
        "removals",
        "after",
        "maxBoxes",
        "key",
        "newlyAllowed",
        "packets",
        "boxes",
        "example",
        "conflicts",
        "new",
        "changes",
        "tenants",
    ]
)
_LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(("impact", "error", "sfo", 1, True))
)  # fmt: skip
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(_JSON)
def test_nothing_else_than_an_error_of_ours_comes_of_a_line(data: Any) -> None:
    with suppress(HanseError):
        parse_frame(data)


@given(_JSON)
def test_nor_of_a_question_and_what_belongs_to_it(data: Any) -> None:
    with suppress(HanseError):
        parse_question(data)
    if isinstance(data, dict):
        with suppress(HanseError):
            Draft.parse(data)
        with suppress(HanseError):
            parse_impact(data)


@given(st.text(max_size=20), st.text(max_size=20), st.floats(0.1, 300.0))
def test_what_is_written_is_read_as_it_was_meant(ask: str, site: str, deadline: float) -> None:
    question = Question(ask, site, deadline, {"after": 1, "names": [ask]})
    assert parse_question(json.loads(encode_question(question))) == question
    assert parse_frame(json.loads(encode_begun(site, None))) == Begun(site, None)
    assert parse_frame(json.loads(encode_part(ask, {"x": site}))) == Part(ask, {"x": site})
    assert isinstance(parse_frame(json.loads(encode_working())), Working)
    assert isinstance(parse_frame(json.loads(encode_end())), End)
