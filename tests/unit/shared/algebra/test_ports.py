from shared.algebra.ports import PortMatch, group, port_set, ports_text


def test_ports_merge_and_print_as_ranges() -> None:
    found = port_set([(80, 80), (8000, 8080), (81, 81), (8079, 8090)])
    assert found is not None
    assert ports_text(found) == ["80-81", "8000-8090"]


def test_all_ports_are_any() -> None:
    assert port_set([(0, 65535)]) is None
    assert port_set([(0, 100), (101, 65535)]) is None
    assert port_set([]) is None


def test_groups_keep_the_order_of_first_mention() -> None:
    tcp, udp, low = PortMatch(6, (80, 81)), PortMatch(17), PortMatch(6, (443, 444), (0, 1024))
    assert group([tcp, udp, low, PortMatch(6, (81, 82)), PortMatch(17, (53, 54))]) == (
        PortMatch(6, (80, 82)),
        PortMatch(17),
        PortMatch(6, (443, 444), (0, 1024)),
    )


def test_halves_of_all_ports_make_any() -> None:
    assert group([PortMatch(6, (0, 9)), PortMatch(6, (9, 65536))]) == (PortMatch(6),)
