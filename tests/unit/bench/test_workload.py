"""The workload generator."""

import hashlib
from ipaddress import IPv4Network, ip_network
from pathlib import Path

import pytest

from tests.bench.workload import Parameters, encode, generate, load, nest

SMALL = Parameters(networks=40, rules=200, services=20, v6=0.3, shaded=0.2)


def test_equal_arguments_give_equal_bytes_on_every_machine() -> None:
    digest = hashlib.sha256(encode(generate(Parameters(), seed=1))).hexdigest()
    assert digest == "9f3bf0156e3229a079b336eabca2a35fe063dc95a078977a17e37f806d588b6e"
    assert encode(generate(seed=2)) != encode(generate(seed=1))


def test_rules_name_networks_and_services_that_exist() -> None:
    work = generate(SMALL, seed=5)
    assert len(work["networks"]) == 40
    assert len(work["rules"]) == 200
    for prefixes in work["networks"].values():
        assert 1 <= len(prefixes) <= 8
        assert all(str(ip_network(prefix)) == prefix for prefix in prefixes)
    for rule in work["rules"]:
        assert set(rule["src"]) | set(rule["dst"]) <= set(work["networks"])
        assert rule["service"] in work["services"]


def test_a_shaded_rule_is_a_subset_of_an_earlier_one() -> None:
    work = generate(SMALL, seed=5)
    assert work["shaded"]
    for over, under in work["shaded"]:
        first, second = work["rules"][over], work["rules"][under]
        assert over < under
        assert set(second["src"]) <= set(first["src"])
        assert set(second["dst"]) <= set(first["dst"])
        assert second["service"] == first["service"]


def test_only_a_workload_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(encode(generate(SMALL)))
    assert load(path)["seed"] == 1
    path.write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="not a fwbench-workload/1 file"):
        load(path)


def test_nested_prefixes_lie_eight_deep_and_rules_stay() -> None:
    work = generate(Parameters(), seed=5)
    nested = nest(work)
    assert nested == nest(work)
    assert (nested["rules"], nested["shaded"]) == (work["rules"], work["shaded"])
    prefixes = {ip_network(each) for given in nested["networks"].values() for each in given}
    depths = [sum(each in prefixes for each in chain(prefix)) for prefix in prefixes]
    assert max(depths) == 8


def chain(prefix: IPv4Network) -> list[IPv4Network]:
    return [prefix.supernet(new_prefix=length) for length in range(prefix.prefixlen + 1)]
