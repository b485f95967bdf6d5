from shared.algebra.cidrs import parse_cidrs
from shared.algebra.rows import AddressCollector


def test_rows_are_kept_apart_by_family() -> None:
    collector = AddressCollector()
    collector.put(parse_cidrs(["10.0.0.0/8"]), 0b01)
    collector.put(None, 0b10)
    rows = collector.rows()
    assert rows[4].of(10 << 24) == 0b11
    assert rows[4].of(11 << 24) == 0b10
    assert rows[6].of(10 << 24) == 0b10
    assert rows[4].meeting(parse_cidrs(["9.0.0.0/8", "11.0.0.0/8"]).v4) == 0b10
    assert rows[4].meeting(()) == 0
