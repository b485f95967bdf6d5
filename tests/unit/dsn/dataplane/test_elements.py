"""What a listing of a set says, and that a later one is read the same from an earlier one."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dsn.dataplane import nfnetlink as nl
from dsn.dataplane.elements import NO_ELEMENTS, Elements, Run
from shared.algebra.cidrs import BITS, Family

INTERVAL_END = 3
NOTE = 6


def element(key: bytes, *, is_end: bool, note: bytes = b"") -> bytes:
    """Return an element as the kernel lists it, marking nothing as nested."""
    value = nl.attribute(1, nl.attribute(1, key))
    flags = nl.number(INTERVAL_END, 1) if is_end else b""
    return nl.attribute(1, value + flags + (nl.attribute(NOTE, note) if note else b""))


def listing(runs: Sequence[Run], *, marked: bool = False, note: bytes = b"") -> bytes:
    """Return the listing of runs in order, touching ones as they were written."""
    found = []
    for start, end in reversed(runs):
        if end is not None:
            found.append(element(end, is_end=True))
        found.append(element(start, is_end=False, note=note if end is None else b""))
    if marked and runs:
        found.append(element(bytes(len(runs[0][0])), is_end=True))
    return b"".join(found)


def joined(runs: Sequence[Run]) -> list[Run]:
    result: list[Run] = []
    for start, end in runs:
        if result and result[-1][1] == start:
            result[-1] = result[-1][0], end
        else:
            result.append((start, end))
    return result


@st.composite
def some_runs(draw: st.DrawFn, family: Family = 4) -> list[Run]:
    """Runs in order that don't overlap; some touch, and the last may have no end."""
    wide = BITS[family] // 8
    # Near each other, so that joints are frequent, and far, so that long rows are alike.
    numbers = st.one_of(st.integers(1, 40), st.integers(1, (1 << BITS[family]) - 1))
    cuts = sorted(draw(st.sets(numbers, max_size=60)))
    if len(cuts) % 2 and not draw(st.booleans()):
        cuts.pop()
    keys = [cut.to_bytes(wide, "big") for cut in cuts]
    runs: list[Run] = [
        (keys[at], keys[at + 1] if at + 1 < len(keys) else None) for at in range(0, len(keys), 2)
    ]
    split: list[Run] = []
    for start, end in runs:
        split.append((start, end))
        middle = int.from_bytes(start, "big") + 1
        if end is not None and middle < int.from_bytes(end, "big") and draw(st.booleans()):
            joint = middle.to_bytes(wide, "big")
            split[-1:] = [(start, joint), (joint, end)]
    return split


@given(some_runs(), some_runs(6), st.booleans(), st.binary(min_size=1, max_size=9))
def test_a_listing_is_read_as_the_runs_that_it_is_of(
    four: list[Run], six: list[Run], marked: bool, note: bytes
) -> None:
    for runs in (four, six):
        found = Elements.of(listing(runs, marked=marked, note=note))
        assert found is not None
        assert list(found.runs) == joined(runs)


@given(some_runs(), some_runs(), st.data(), st.booleans(), st.booleans())
def test_a_later_listing_is_read_the_same_from_an_earlier_one(
    runs: list[Run], others: list[Run], data: st.DataObject, marked: bool, still: bool
) -> None:
    earlier = Elements.of(listing(runs, marked=marked))
    assert earlier is not None
    start = data.draw(st.integers(0, len(runs)))
    stop = data.draw(st.integers(start, len(runs)))
    changed = [*runs[:start], *data.draw(st.sampled_from([others, []])), *runs[stop:]]
    # Also what no kernel lists: out of order, overlapping.
    later = listing(changed, marked=marked is still)
    assert earlier.after(later) == Elements.of(later)


KEY = bytes([10, 0, 0, 0])


@given(st.integers(0, 400))
def test_a_listing_that_is_cut_or_strange_is_read_the_same(cut: int) -> None:
    runs = [(bytes([10, 0, at, 0]), bytes([10, 0, at, 9])) for at in range(10)]
    earlier = Elements.of(listing(runs))
    assert earlier is not None
    later = (listing(runs) + element(KEY, is_end=False, note=b"x"))[cut // 4 * 4 :]
    assert earlier.after(later) == Elements.of(later)


def test_what_is_no_interval_is_nothing() -> None:
    timed = nl.attribute(1, nl.attribute(1, nl.attribute(1, KEY)) + nl.number(4, 1))
    assert Elements.of(timed) is None
    assert NO_ELEMENTS.after(timed) is None
    assert Elements.of(b"") == NO_ELEMENTS
