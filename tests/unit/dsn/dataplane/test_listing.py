"""What is read back is what stands there; whatever is none of ours is a fault, never a crash."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsn.dataplane import batch
from dsn.dataplane.listing import parse_elements, parse_listing, read_back
from dsn.dataplane.ruleset import Layout, Table, all_set_attributes, chain_attributes, render
from shared.policy.nodeconfig import NodeConfiguration, NodeService
from tests.unit.dsn.configurations import SET, make_configuration, make_rule

LAYOUT = Layout(4740)
ODD = "s00000000000000ff"


def rich() -> NodeConfiguration:
    rule = make_rule(1)
    base = make_configuration(rule, make_rule(2, "reject", port=22))
    return NodeConfiguration(
        base.node,
        base.default_action,
        base.addresses,
        {**base.sets, ODD: ("fd00::/64",)},
        (
            *base.rules,
            replace(
                make_rule(3, "pass"),
                source=ODD,
                within=SET,
                services=(NodeService(17), NodeService(1), NodeService(6, ((1, 2), (9, 9)))),
            ),
            replace(make_rule(4), destination=None, within=ODD, services=None, log=True),
        ),
    )


def listed(table: Table) -> list[dict[str, Any]]:
    """Return what nft would list of a table: the form that the kernel's suite compares with."""
    objects: list[dict[str, Any]] = [{"table": {"family": "inet", "name": "hanse", "handle": 1}}]
    objects += [{"counter": {"name": name, "packets": 7, "bytes": 9}} for name in table.counters]
    attributes = all_set_attributes(table)
    for name, made in attributes.items():
        elements: list[Any] = []
        if name in table.sets:
            elements = [_element(cidr) for cidr in table.sets[name].cidrs]
        elif name in table.numbers:
            elements = [_range(*each) for each in table.numbers[name].ranges]
        objects.append({"set": {"name": name, **made, **({"elem": elements} if elements else {})}})
    for name, rules in table.chains.items():
        objects.append({"chain": {"name": name, **chain_attributes(name)}})
        objects += [{"rule": {"chain": name, "handle": 5, "expr": rule}} for rule in rules]
    return copy.deepcopy(objects)


def _element(cidr: str) -> Any:
    address, _, length = cidr.partition("/")
    if length in ("32", "128"):
        return address
    return {"prefix": {"addr": address, "len": int(length)}}


def _range(first: int, last: int) -> Any:
    return first if first == last else {"range": [first, last]}


@pytest.mark.parametrize("default", ["allow", "deny"])
def test_what_was_rendered_is_read_back(default: str) -> None:
    configuration = replace(rich(), default_action=default)

    found = read_back(parse_listing(listed(render(configuration, LAYOUT))), LAYOUT)

    assert (found.hash, found.faults) == (configuration.hash(), ())


@given(data=st.data())
def test_every_single_change_is_seen(data: st.DataObject) -> None:
    """Whatever one piece of the listing becomes, the hash is no longer the configuration's."""
    configuration = rich()
    objects = listed(render(configuration, LAYOUT))
    place = data.draw(st.integers(1, len(objects) - 1))
    kind = next(iter(objects[place]))
    if kind == "counter":
        return
    how = data.draw(st.sampled_from(["remove", "double", "verdict", "expression", "attribute"]))
    if how == "remove":
        del objects[place]
        if kind == "chain":
            name = listed(render(configuration, LAYOUT))[place]["chain"]["name"]
            objects = [each for each in objects if each.get("rule", {}).get("chain") != name]
    elif kind == "rule" and how == "double":
        objects.insert(place, objects[place])
    elif kind == "rule" and how == "verdict":
        objects[place]["rule"]["expr"][-1] = {"queue": None}
    elif kind == "rule" and how == "expression":
        objects[place]["rule"]["expr"].pop(
            data.draw(st.integers(0, len(objects[place]["rule"]["expr"]) - 1))
        )
    else:
        objects[place][kind]["surprise"] = 1

    found = read_back(parse_listing(objects), LAYOUT)

    if kind == "rule" and how == "attribute":
        # What nft says of a rule beside its expressions has no effect on packets.
        return
    assert found.hash != configuration.hash()


@pytest.mark.parametrize(
    "rule",
    [
        [],
        [{"counter": None}],
        [
            {
                "match": {
                    "op": "==",
                    "left": {"payload": {"protocol": "ip", "field": "saddr"}},
                    "right": "1.2.3.4",
                }
            },
            {"counter": "h_r_0000000000000001"},
            {"accept": None},
        ],
        [
            {
                "match": {
                    "op": "==",
                    "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                    "right": "@x",
                }
            },
            {"counter": "h_r_0000000000000001"},
            {"accept": None},
        ],
        [
            {
                "match": {
                    "op": "==",
                    "left": {"payload": {"protocol": "ip6", "field": "nexthdr"}},
                    "right": 6,
                }
            },
            {"counter": "h_r_0000000000000001"},
            {"accept": None},
        ],
        [{"vmap": {}}, {"counter": "h_r_0000000000000001"}],
    ],
)
def test_a_rule_that_is_none_of_ours_is_a_fault(rule: Any) -> None:
    objects = listed(render(make_configuration(), LAYOUT))
    objects.append({"rule": {"chain": "h_local_4", "handle": 9, "expr": rule}})

    found = read_back(parse_listing(objects), LAYOUT)

    assert found.faults
    assert found.hash != make_configuration().hash()


def test_an_element_that_is_no_address_is_a_fault() -> None:
    objects = listed(render(make_configuration(), LAYOUT))
    for each in objects:
        if each.get("set", {}).get("name") == "h_own_addresses_4":
            each["set"]["elem"] = [{"elem": {"val": "10.0.0.1", "timeout": 3}}]

    assert read_back(parse_listing(objects), LAYOUT).faults


def test_ranges_and_prefixes_are_read_alike() -> None:
    ranges = parse_elements(4, [{"range": ["10.0.0.0", "10.0.0.255"]}, "10.0.1.0"])

    assert ranges.cidrs() == ("10.0.0.0/24", "10.0.1.0/32")


def test_a_table_with_what_we_never_make_is_made_anew() -> None:
    table = render(rich(), LAYOUT)
    objects = [*listed(table), {"flowtable": {"name": "fast"}}]

    commands = batch.replace("hanse", parse_listing(objects), table)

    assert [next(iter(each)) for each in commands[:3]] == ["add", "delete", "add"]
    assert not any("flush" in each for each in commands)


def test_names_of_policies_never_reach_nft() -> None:
    evil = replace(make_rule(1), policy='"; flush ruleset', rule="$(reboot)", tenant="{}")

    written = str(batch.replace("hanse", None, render(make_configuration(evil), LAYOUT)))

    assert "flush" not in written
    assert "reboot" not in written
