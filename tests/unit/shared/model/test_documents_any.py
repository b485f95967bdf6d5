"""Whatever is read: envelopes survive YAML and JSON, and no input raises."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from shared.model.documents import (
    dump_line,
    dump_yaml,
    parse_documents,
    parse_value,
    to_json,
    to_yaml,
)
from shared.model.source import CONTROL, Faults, parse_path, path_text
from shared.model.yaml_source import read_yaml

TEXT = st.text(max_size=40).filter(lambda text: not CONTROL.search(text))
TRICKY = st.sampled_from(
    [
        "yes",
        "~",
        "0o17",
        "1e3",
        "1_0",
        "=",
        "<<",
        "- a",
        "a: b",
        "#",
        "é\u2028b",
        "\ufeff",
        "'",
        '"',
    ]
)
NAMES = st.from_regex(r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?\Z")
LABELS = st.dictionaries(
    (TEXT | TRICKY).filter(lambda text: text and not set(text) & set("\t\n\r")),
    (TEXT | TRICKY).filter(lambda text: not set(text) & set("\t\n\r")),
    max_size=3,
)
SELECTORS = st.fixed_dictionaries({}, optional={"matchLabels": LABELS})
SUBNETS = st.ip_addresses().map(lambda address: f"{address}/{address.max_prefixlen}")
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
    lambda ends: f"{min(ends)}-{max(ends)}"
)
PEERS = st.just("any") | st.lists(
    st.fixed_dictionaries({"network": NAMES})
    | st.fixed_dictionaries({"networks": SELECTORS})
    | st.fixed_dictionaries({"cidr": SUBNETS}),
    min_size=1,
    max_size=3,
)
SERVICES = st.just("any") | st.lists(
    st.fixed_dictionaries({"service": NAMES})
    | st.fixed_dictionaries(
        {"protocol": st.sampled_from(["tcp", "udp", 132])},
        optional={"ports": st.lists(PORTS | st.integers(0, 65535), min_size=1, max_size=3)},
    ),
    min_size=1,
    max_size=2,
)
RULES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "from": PEERS,
        "to": PEERS,
        "action": st.sampled_from(["allow", "deny", "reject", "pass"]),
    },
    optional={"services": SERVICES, "log": st.booleans()},
)
SPECS: dict[str, st.SearchStrategy[Any]] = {
    "Tenant": st.fixed_dictionaries({}, optional={"displayName": TEXT | TRICKY}),
    "Network": st.fixed_dictionaries(
        {},
        optional={
            "subnets": st.lists(SUBNETS, max_size=3),
            "vlan": st.integers(1, 4094),
            "sealed": st.booleans(),
        },
    ),
    "SecurityPolicy": st.fixed_dictionaries(
        {"rules": st.lists(RULES, max_size=3, unique_by=lambda rule: rule["name"])},
        optional={"priority": st.integers(0, 1000), "sites": SELECTORS},
    ),
    "Override": st.fixed_dictionaries(
        {
            "target": st.fixed_dictionaries({"kind": st.just("Network"), "name": NAMES}),
            "reason": (TEXT | TRICKY).filter(bool),
            "spec": st.fixed_dictionaries({"subnets": st.lists(SUBNETS, max_size=3)}),
        },
        optional={"expiresAt": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")},
    ),
}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(SPECS)))
    metadata = st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "tenant": NAMES,
            "labels": LABELS,
            "annotations": st.dictionaries(TEXT | TRICKY, TEXT | TRICKY, max_size=3),
        },
    )
    return {
        "apiVersion": "hanse/v1",
        "kind": kind,
        "metadata": draw(metadata),
        "spec": draw(SPECS[kind]),
    }


@given(st.lists(documents(), min_size=1, max_size=3))
def test_an_envelope_survives_yaml_and_json(data: list[dict[str, Any]]) -> None:
    read = [parse_value(each) for each in data]
    assert [faults for _, faults in read] == [()] * len(data)
    envelopes = [envelope for envelope, _ in read if envelope is not None]
    for text, form in ((to_yaml(envelopes), "yaml"), (to_json(envelopes), "json")):
        again = parse_documents(text.encode(), format=form)
        assert again.faults == ()
        assert [each.envelope for each in again.documents] == envelopes


@given(documents())
def test_yaml_that_we_write_means_the_same_to_readers_of_yaml_1_1(data: dict[str, Any]) -> None:
    envelope, _ = parse_value(data)
    assert envelope is not None
    (plain,) = map(json.loads, to_json([envelope]).splitlines())
    assert yaml.safe_load(to_yaml([envelope])) == plain


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(each for part, child in inner for each in paths(child, (*path, part)))]


def spoiled(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    part, *rest = path
    copy = value.copy()
    copy[part] = spoiled(value[part], tuple(rest), by)
    return copy


@given(documents(), st.data())
def test_a_spoiled_document_is_read_or_refused_never_more(
    document: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(paths(document)))
    text = json.dumps(spoiled(document, path, data.draw(JSON_VALUES)))
    for form in ("json", "yaml"):
        reading = parse_documents(text.encode(), file="f", format=form)
        assert bool(reading.faults) != bool(reading.documents)
        assert all(fault.line and fault.code and fault.message for fault in reading.faults)


MARKS = ["- ", ": ", "\n", "  ", "{", "}", "[", "]", ",", "'", '"', "|", ">", "#", "? ", "\t"]
WORDS = ["a", "&x ", "*x", "!!str ", "---", "...", "%YAML 1.2", "~", "<<", "0x1", "1e9", "kind: "]
FIELDS = ["apiVersion: hanse/v1\n", "kind: Network\n", "metadata: {name: x}\n", "spec: {}\n"]
YAML_PIECES = st.lists(st.sampled_from([*MARKS, *WORDS, *FIELDS]), max_size=30).map("".join)


@given(st.binary(max_size=200) | YAML_PIECES.map(str.encode), st.sampled_from(["yaml", "json"]))
@example(b"? a\n: b\n? [*x]\n", "yaml")
@example(b"*x", "yaml")
@example(b'{"a":' * 2000, "json")
def test_garbage_never_raises(data: bytes, form: str) -> None:
    reading = parse_documents(data, file="f", format=form)
    assert all(fault.file == "f" and fault.message for fault in reading.faults)


@given(st.lists(st.integers(0, 99) | TEXT | TRICKY, max_size=5))
def test_a_path_is_read_as_it_was_written(parts: list[Any]) -> None:
    if all(isinstance(part, int) or len(part) <= 80 for part in parts):
        assert parse_path(path_text(parts)) == tuple(parts)


@pytest.mark.parametrize("value", ["x", 1, 1.5, True, None, [], {"a": ["b"]}])
def test_dumped_yaml_is_read_back(value: Any) -> None:
    faults = Faults()
    (source,) = read_yaml(dump_yaml({"value": value}), faults)
    assert source.data == {"value": value}
    assert faults.found == []


@given(JSON_VALUES.filter(lambda value: value == value))  # noqa: PLR0124 - leaves NaN out
def test_dumped_yaml_of_any_data_is_read_back(value: Any) -> None:
    faults = Faults()
    (source,) = read_yaml(dump_yaml({"value": value}), faults)
    if not faults.found:
        assert source.data == {"value": value}


@given(JSON_VALUES.filter(lambda value: value == value))  # noqa: PLR0124 - leaves NaN out
def test_a_value_on_a_line_is_read_back_and_is_one_line(value: Any) -> None:
    line = dump_line(value)
    assert line.splitlines() in ([], [line])
    faults = Faults()
    (source,) = read_yaml(f"value: {line}", faults)
    if not faults.found:
        assert source.data == {"value": value}
