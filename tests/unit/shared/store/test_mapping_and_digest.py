"""Values are written so that they come back the same, and digests tell histories apart."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.ids import Generation, Key, Revision
from shared.store.contract import Change, Operation, Stored
from shared.store.digest import GENESIS, chain
from shared.store.mapping import canonical, dump, load, microseconds, object_row, stored_of, time_of
from shared.store.tables import OBJECT

STORED = Stored(
    key=Key("Network", "common", "federation", "web"),
    uid="0b6c3d0e",
    spec={"subnets": ["10.0.0.0/24"], "sealed": True},
    labels={"tier": "web"},
    annotations={},
    origin=None,
    revision=Revision(7),
    generation=Generation(2),
    created_at=datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC),
    updated_at=datetime(2026, 1, 2, tzinfo=UTC),
)
CHANGE = Change(Revision(7), Operation.PUT, STORED.key, None, STORED)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
)


@given(JSON.map(lambda value: {"value": value}))
def test_json_comes_back_as_it_was(value: dict[str, object]) -> None:
    assert load(dump(value)) == value
    assert canonical(load(dump(value))) == canonical(value)


def test_equal_values_have_one_canonical_text() -> None:
    assert canonical({"b": 1, "a": {"d": 1, "c": 2}}) == b'{"a":{"c":2,"d":1},"b":1}'
    assert canonical(MappingProxyType({"a": (1, 2)})) == canonical({"a": [1, 2]})
    assert canonical({"a": True}) != canonical({"a": 1})


@pytest.mark.parametrize("value", [object(), b"bytes", 2**64, "\ud800", STORED, STORED.created_at])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(Invalid, match="no plain JSON"):
        dump({"value": value})


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1)))  # noqa: DTZ001 - made aware below
def test_times_come_back_to_the_microsecond(at: datetime) -> None:
    aware = at.replace(tzinfo=timezone(timedelta(hours=2)))
    assert time_of(microseconds(aware)) == aware


def test_an_object_comes_back_from_its_row() -> None:
    row = object_row(STORED)
    assert stored_of([row[name] for name in OBJECT]) == STORED
    assert stored_of([row[name] for name in OBJECT], '{"ok":true}').status == {"ok": True}


@pytest.mark.parametrize(
    "changed",
    [
        replace(CHANGE, revision=Revision(8)),
        replace(CHANGE, key=STORED.key._replace(name="b")),
        replace(CHANGE, operation=Operation.DELETE, after=None),
        replace(CHANGE, after=replace(STORED, spec={})),
        replace(CHANGE, after=replace(STORED, labels={})),
        replace(CHANGE, after=replace(STORED, annotations={"a": "b"})),
        replace(CHANGE, after=replace(STORED, origin="local")),
        replace(CHANGE, after=replace(STORED, uid="other")),
        replace(CHANGE, after=replace(STORED, generation=Generation(3))),
    ],
)
def test_the_digest_covers_whatever_changes(changed: Change) -> None:
    digests = {
        chain(GENESIS, [CHANGE]),
        chain(GENESIS, [changed]),
        chain(GENESIS, [CHANGE, changed]),
        chain(GENESIS, [changed, CHANGE]),
        chain(chain(GENESIS, [CHANGE]), [changed]),
        GENESIS,
    }
    assert len(digests) == 6


def test_the_digest_leaves_status_and_what_was_before_out() -> None:
    other = replace(CHANGE, before=STORED, after=replace(STORED, status={"ok": True}))
    assert chain(GENESIS, [other]) == chain(GENESIS, [CHANGE])


def test_the_digest_never_changes_between_versions_of_this_program() -> None:
    assert chain(GENESIS, [CHANGE]) == RECORDED


RECORDED = "87500491762f0da3d217161102395e8e5688c7dc9452425d79214b7cead47f44"
"""Recorded once; another value would make every site list again after an upgrade."""
