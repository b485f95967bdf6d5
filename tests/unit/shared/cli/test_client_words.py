"""What people write and read around the client: kinds, servers, fingerprints, differences."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.cli.answers import Applied, AuditEntry, Change, Object
from shared.cli.changes import differences
from shared.cli.columns import age_text, columns_of, rows_of
from shared.cli.kinds import find_kind, kind_and_names
from shared.cli.trust import parse_fingerprint, server_url
from shared.errors import Invalid, Malformed
from shared.model.kinds import KINDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_object(kind: str = "Network", /, *, spec: object = None, **metadata: object) -> Object:
    return Object.of({"kind": kind, "metadata": {"name": "a", **metadata}, "spec": spec or {}})


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_is_found_by_its_name_and_plural_in_any_case(kind) -> None:
    for word in (kind.name, kind.plural, kind.name.lower(), kind.plural.upper()):
        assert find_kind(word) is kind


def test_a_name_may_follow_a_slash() -> None:
    network = KINDS["Network"]
    assert kind_and_names("network/a", ()) == (network, ["a"])
    assert kind_and_names("networks", ("a", "network/b")) == (network, ["a", "b"])
    assert kind_and_names("net/a", ("Network/b",)) == (network, ["a", "b"])
    for subject, names in (("network", ()), ("network/a", ("site/b",)), ("x/a", ())):
        with pytest.raises(Invalid):
            kind_and_names(subject, names)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://fsm.example:8443", "https://fsm.example:8443"),
        ("https://fsm.example:8443/", "https://fsm.example:8443"),
        ("fsm.example:8443", "https://fsm.example:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_server_is_a_host_and_a_port(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "http://fsm.example",
        "ftp://x",
        "https://",
        "https://u:p@h",
        "https://h/path",
        "https://h?q",
        "https://h#f",
        "https://h:99999",
        "",
        "https://h:x",
    ],
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="https://HOST:PORT"):
        server_url(text)


def test_a_fingerprint_is_read_as_tools_write_it() -> None:
    digest = bytes(range(32))
    for text in (digest.hex(), digest.hex(":").upper(), f" SHA256:{digest.hex()}\n"):
        assert parse_fingerprint(text) == digest
    for text in ("", "ab", "x" * 64, digest.hex() + "00"):
        with pytest.raises(Invalid):
            parse_fingerprint(text)


def test_differences_pair_rules_by_their_names() -> None:
    before = an_object(
        spec={"rules": [{"name": "a", "action": "allow"}, {"name": "b", "action": "deny"}]}
    )
    after = an_object(
        labels={"env": "prod"},
        spec={"rules": [{"name": "b", "action": "deny"}, {"name": "c", "action": "allow"}]},
    )
    assert [str(each) for each in differences(before, after)] == [
        "- spec.rules[a]: name: a, action: allow",
        "+ spec.rules[c]: name: c, action: allow",
        "+ labels: env: prod",
    ]


def test_a_change_of_order_is_a_difference() -> None:
    rules = [{"name": "a"}, {"name": "b"}]
    before, after = an_object(spec={"rules": rules}), an_object(spec={"rules": rules[::-1]})
    assert [str(each) for each in differences(before, after)] == ["spec.rules (order): a, b → b, a"]
    assert differences(before, before) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400, "1d")],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert age_text(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_table_even_of_bare_objects(kind: str) -> None:
    for wide in (False, True):
        columns = columns_of(kind, [an_object(kind)], wide=wide, now=NOW)
        (row,) = rows_of(columns, [an_object(kind)])
        assert row[0] == "a"


def test_answers_of_a_later_version_are_read_all_the_same() -> None:
    document = {
        "kind": "Network",
        "metadata": {"name": "a", "novel": 1},
        "spec": {"novel": 1},
        "novel": 1,
    }
    found = Object.of(document)
    assert (found.name, found.spec, found.document) == ("a", {"novel": 1}, document)
    with pytest.raises(Invalid):
        found.envelope()
    assert (
        Change.of({"operation": "put", "revision": 3, "object": document, "new": 1}).revision == 3
    )
    assert AuditEntry.of({"number": 1, "new": 2}).object is None
    assert Applied.of({"revision": 1, "results": [], "new": 1}).warnings == ()


@pytest.mark.parametrize("document", [None, [], "x", {}, {"kind": "Network"}, {"metadata": {}}])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(Malformed):
        Object.of(document)
