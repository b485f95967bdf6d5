import pytest

from shared.errors import Invalid
from shared.pki.names import parse_host_names


def test_names_come_in_order_and_once() -> None:
    names = parse_host_names(
        ["b.example", "a.example", "b.example"], ["::1", "127.0.0.1", "0:0::1"]
    )
    assert names.dns == ("a.example", "b.example")
    assert [str(address) for address in names.addresses] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "name",
    ["", "*.example", "A.example", "a.example.", "a_b", "10.0.0.1", "a b", ".a", "é", "a" * 64],
)
def test_what_names_no_host_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_host_names([name])
    assert refused.value.code == "invalid_name"


@pytest.mark.parametrize(
    "address", ["", "10.0.0.0/8", "010.0.0.1", "fe80::1%eth0", "localhost", "1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_host_names([], [address])
    assert refused.value.code == "invalid_address"
