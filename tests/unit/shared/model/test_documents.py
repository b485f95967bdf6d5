"""Documents from text: what is read, what is refused, and where each fault is said to be."""

import json
from time import process_time

import pytest

from shared.model.documents import parse_documents, parse_value, to_json, to_yaml
from shared.model.source import MAX_DOCUMENT_BYTES, MAX_TRANSACTION_BYTES

NETWORK = """\
apiVersion: hanse/v1
kind: Network
metadata: {name: Web}
spec: {subnets: [10.0.0.0/24], vlan: 5}
"""
POLICY = """\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata:
  name: p
spec:
  rules:
    - name: r
      from: any
      to:
        - network: Web
      action: allow
"""


def read(text: str | bytes, **given):
    data = text if isinstance(text, bytes) else text.encode()
    return parse_documents(data, file="f.yaml", **given)


def faults(text: str | bytes, **given) -> list[tuple[int | None, str, str]]:
    return [(each.line, each.path, each.code) for each in read(text, **given).faults]


def messages(text: str) -> list[str]:
    return [each.message for each in read(text).faults]


def with_spec(spec: str, kind: str = "Network") -> str:
    return f"apiVersion: hanse/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"


def annotated(value: str) -> str:
    return (
        "apiVersion: hanse/v1\nkind: Tenant\n"
        f"metadata: {{name: x, annotations: {{a: {value}}}}}\nspec: {{}}\n"
    )


class TestReading:
    def test_a_file_may_hold_several_documents_and_empty_ones_are_left_out(self):
        text = f"# only a comment\n---\n{NETWORK}---\n---\n# nothing\n---\n{POLICY}---\n"
        reading = read(text)
        assert [each.envelope.kind for each in reading.documents] == ["Network", "SecurityPolicy"]
        assert [each.line for each in reading.documents] == [3, 11]
        assert reading.faults == ()

    @pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "\ufeff"])
    def test_a_text_without_documents_is_no_fault(self, text):
        assert read(text) == parse_documents(b"")

    def test_lines_of_fields_are_known_after_reading(self):
        (parsed,) = read("---\n" + POLICY).documents
        assert parsed.line_of("spec.rules[0].to[0].network") == 11
        assert parsed.line_of("spec.rules[0].log") == 8  # left out: the rule's
        assert parsed.line_of("") == 2

    def test_json_is_read_like_yaml(self):
        plain = '{"apiVersion":"hanse/v1",\n"kind":"Tenant","metadata":{"name":"a"},"spec":{}}'
        reading = parse_documents(f"{plain}\n{plain}".encode(), file="f.json", format="json")
        assert [each.line for each in reading.documents] == [1, 3]
        assert reading.faults == ()

    @pytest.mark.parametrize(
        "text", ["yes", "no", "on", "off", "y", "1_000", "12:30:00", "2027-03-31", "0b11", "=", "+"]
    )
    def test_what_yaml_1_1_takes_for_something_else_is_text(self, text):
        (parsed,) = read(annotated(text)).documents
        assert parsed.envelope.metadata.annotations == {"a": text}

    @pytest.mark.parametrize(
        ("written", "vlan"), [("0o17", 15), ("0x1F", 31), ("0017", 17), ("+5", 5)]
    )
    def test_numbers_are_those_of_yaml_1_2(self, written, vlan):
        (parsed,) = read(with_spec(f"{{vlan: {written}}}")).documents
        assert parsed.envelope.spec.vlan == vlan

    def test_times_are_text_with_a_zone(self):
        override = "{target: {kind: Network, name: x}, reason: r, spec: {}, expiresAt: %s}"
        (parsed,) = read(with_spec(override % "2027-03-31T00:00:00Z", "Override")).documents
        assert parsed.envelope.spec.expires_at.isoformat() == "2027-03-31T00:00:00+00:00"
        for bad, code in (
            ("2027-03-31T00:00:00", "time_without_zone"),
            ("1700000000", "invalid_time"),
            ('"1700000000"', "invalid_time"),
            ("2027-03-31", "invalid_time"),
        ):
            found = faults(with_spec(override % bad, "Override"))
            assert found == [(4, "spec.expiresAt", code)]


class TestValues:
    @pytest.mark.parametrize("number", ["1.10", "5", "0x10", "true", "1e3"])
    def test_a_number_where_text_is_asked_says_quote_it(self, number):
        text = NETWORK.replace("Web", number)
        assert faults(text) == [(3, "metadata.name", "invalid_value")]
        assert messages(text) == [f'this must be text; quote it: "{number}"']

    @pytest.mark.parametrize("null", ["null", "~", "", "NULL"])
    def test_null_where_a_value_is_asked_is_a_fault(self, null):
        text = with_spec(f"\n  vlan: {null}")
        assert faults(text) == [(5, "spec.vlan", "null")]

    @pytest.mark.parametrize(
        ("spec", "path"),
        [
            ("", "spec"),
            ("{rules: [{name: r, from: , to: any, action: deny}]}", "spec.rules[0].from"),
            ("{rules: [{name: r, from: [~], to: any, action: deny}]}", "spec.rules[0].from[0]"),
            ("{rules: [], sites: null}", "spec.sites"),
            ("{rules: null}", "spec.rules"),
            (
                "{rules: [{name: r, from: [{networks: }], to: any, action: deny}]}",
                "spec.rules[0].from[0].networks",
            ),
        ],
    )
    def test_null_is_told_once_whatever_is_asked(self, spec, path):
        assert faults(with_spec(spec, "SecurityPolicy")) == [(4, path, "null")]

    def test_null_in_an_overrides_spec_is_a_fault(self):
        spec = "{target: {kind: Network, name: x}, reason: r, spec: {vlan: null}}"
        assert faults(with_spec(spec, "Override")) == [(4, "spec.spec.vlan", "null")]

    def test_text_where_a_number_is_asked_is_a_fault(self):
        assert faults(with_spec('{vlan: "5"}')) == [(4, "spec.vlan", "invalid_value")]
        assert messages(with_spec('{vlan: "5"}')) == ['this must be a whole number, not "5"']

    @pytest.mark.parametrize("port", ["80", '"80"', '"8000-8080"'])
    def test_ports_may_be_numbers_or_text(self, port):
        entries = f"{{entries: [{{protocol: tcp, ports: [{port}]}}]}}"
        assert faults(with_spec(entries, "Service")) == []

    def test_booleans_are_true_and_false_only(self):
        assert messages(with_spec("{sealed: yes}")) == ['this must be true or false, not "yes"']

    def test_host_bits_are_a_fault(self):
        found = faults(with_spec("{subnets: [10.0.0.0/8, 10.0.0.1/8]}"))
        assert found == [(4, "spec.subnets[1]", "invalid_subnet")]

    @pytest.mark.parametrize("number", ["1e999", ".inf", "-.INF", ".nan", "9" * 200, "9" * 9000])
    def test_numbers_that_nobody_can_store_are_faults(self, number):
        assert faults(annotated(number)) == [(3, "metadata.annotations.a", "invalid_value")]

    def test_status_is_refused_from_a_user(self):
        assert faults(NETWORK + "status: {x: 1}\n") == [(5, "status", "status_refused")]

    @pytest.mark.parametrize("name", ["Foo", "a_b", "a.b", "-a", "a" * 64])
    @pytest.mark.parametrize("kind", ["Site", "Node"])
    def test_sites_and_nodes_are_named_by_a_dns_label(self, kind, name):
        text = f"apiVersion: hanse/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{}}\n"
        assert {(line, path, code) for line, path, code in faults(text)} == {
            (3, "metadata.name", "invalid_name")
        }


class TestFields:
    def test_an_unknown_field_is_named_by_path_with_the_nearest_known_one(self):
        text = POLICY.replace("action: allow", "action: allow\n      sevices: any")
        assert faults(text) == [(12, "spec.rules[0].sevices", "unknown_field")]
        assert messages(text) == ['there is no field "sevices" here; did you mean "services"?']

    def test_an_unknown_kind_suggests_one_and_the_rest_is_checked_all_the_same(self):
        text = "apiVersion: hanse/v1\nkind: Netwrok\nmetadata: {nam: x}\nspec: {}\n"
        assert faults(text) == [
            (2, "kind", "unknown_kind"),
            (3, "metadata.name", "missing_field"),
            (3, "metadata.nam", "unknown_field"),
        ]
        assert 'did you mean "Network"?' in messages(text)[0]

    def test_a_missing_field_has_the_line_of_what_it_is_missing_in(self):
        text = POLICY.replace("      action: allow\n", "")
        assert faults(text) == [(7, "spec.rules[0].action", "missing_field")]

    def test_union_tags_are_no_part_of_a_path(self):
        text = with_spec(
            "{rules: [{name: r, from: 5, to: {list: 1}, services: [7], action: deny}]}",
            "SecurityPolicy",
        )
        assert [path for _, path, _ in faults(text)] == [
            "spec.rules[0].from",
            "spec.rules[0].to",
            "spec.rules[0].services[0]",
        ]

    @pytest.mark.parametrize(
        ("service", "path", "code"),
        [
            ("{protocol: icmp, ports: [1]}", "[0].ports", "ports_without_protocol"),
            ("{protocol: tcp, sourcePorts: []}", "[0].sourcePorts", "empty_ports"),
            ("{protocol: tcp, ports: [1, 65536]}", "[0].ports[1]", "invalid_port"),
            ("{service: x, ports: [1]}", "[0]", "invalid_service"),
            ("{service: x}, {}", "[1]", "invalid_service"),
        ],
    )
    def test_a_rules_services_are_told_by_their_place(self, service, path, code):
        rule = f"{{name: r, from: any, to: any, action: deny, services: [{service}]}}"
        found = faults(with_spec(f"{{rules: [{rule}]}}", "SecurityPolicy"))
        assert found == [(4, f"spec.rules[0].services{path}", code)]

    def test_a_rules_name_stands_once_in_a_policy(self):
        rule = "{name: r, from: any, to: any, action: deny}"
        found = faults(with_spec(f"\n  rules:\n  - {rule}\n  - {rule}", "SecurityPolicy"))
        assert found == [(7, "spec.rules[1].name", "duplicate_rule")]

    def test_keys_that_are_no_plain_words_are_quoted_in_paths(self):
        text = NETWORK.replace("name: Web", 'name: Web, labels: {"a.b/c": 1}')
        assert faults(text) == [(3, 'metadata.labels["a.b/c"]', "invalid_value")]

    def test_all_faults_of_all_documents_are_told_at_once(self):
        text = (
            f"{NETWORK.replace('vlan: 5', 'vlan: 5000')}---\n"
            f"{POLICY.replace('allow', 'alow').replace('from: any', 'from: []')}"
        )
        assert faults(text) == [
            (4, "spec.vlan", "invalid_value"),
            (13, "spec.rules[0].from", "invalid_value"),
            (16, "spec.rules[0].action", "invalid_value"),
        ]

    def test_an_override_is_checked_by_its_targets_kind(self):
        spec = "{target: {kind: %s, name: x}, reason: r, spec: {%s}}"
        assert faults(with_spec(spec % ("Network", "vlam: 5"), "Override")) == [
            (4, "spec.spec.vlam", "unknown_field")
        ]
        assert faults(with_spec(spec % ("Netwrok", ""), "Override")) == [
            (4, "spec.target.kind", "unknown_kind")
        ]
        assert faults(with_spec(spec % ("Node", ""), "Override")) == [
            (4, "spec.target.kind", "invalid_target")
        ]
        own = "rules: [], enforcement: mandatory, sites: {}"
        assert faults(with_spec(spec % ("SecurityPolicy", own), "Override")) == [
            (4, "spec.spec.enforcement", "not_overridable"),
            (4, "spec.spec.sites", "not_overridable"),
        ]


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "code", "line"),
        [
            pytest.param("a: &x 1\n", "alias", 1, id="an anchor"),
            pytest.param("a: 1\nb: *x\n", "alias", 2, id="an alias"),
            pytest.param("a: !!str 1\n", "tag", 1, id="a tag"),
            pytest.param("a: !!python/name:os.system 1\n", "tag", 1, id="a hostile tag"),
            pytest.param("a: ! 1\n", "tag", 1, id="the tag that says nothing"),
            pytest.param("%TAG ! tag:x,2000:\n---\na: 1\n", "tag", 1, id="a tag directive"),
            pytest.param("%YAML 1.1\n---\na: 1\n", "yaml_version", 1, id="another YAML"),
            pytest.param("a: 1\n<<: {b: 2}\n", "merge_key", 2, id="a merge key"),
            pytest.param("a: 1\nb: 2\n'a': 3\n", "duplicate_key", 3, id="a duplicate key"),
            pytest.param("~: 1\n", "null", 1, id="a null key"),
            pytest.param("? \n: 1\n", "null", 1, id="an empty key"),
            pytest.param("5: 1\n", "invalid_value", 1, id="a number for a key"),
            pytest.param("true: 1\n", "invalid_value", 1, id="a boolean for a key"),
            pytest.param("? [a]\n: 1\n", "invalid_value", 1, id="a list for a key"),
            pytest.param("? {a: 1}\n: 1\n", "invalid_value", 1, id="a mapping for a key"),
            pytest.param("- a\n", "invalid_value", 1, id="a list for a document"),
            pytest.param("text\n", "invalid_value", 1, id="text for a document"),
            pytest.param("null\n", "invalid_value", 1, id="null for a document"),
            pytest.param("\n\na: [\n", "malformed", 4, id="an open bracket"),
            pytest.param("a: b: c\n", "malformed", 1, id="two colons"),
            pytest.param("a:\n\t- b\n", "malformed", 2, id="a tab"),
            pytest.param('a: "\\x00"\n', "control_character", 1, id="an escaped NUL"),
            pytest.param("a: 1\nb: \x07\n", "control_character", 2, id="a bell"),
            pytest.param("a: \x85\n", "control_character", 1, id="a C1 control"),
        ],
    )
    def test_what_yaml_can_and_documents_may_not(self, text, code, line):
        reading = read(text)
        assert (line, code) in {(each.line, each.code) for each in reading.faults}
        assert reading.documents == ()

    def test_a_merge_or_alias_is_told_once_not_with_all_that_follows(self):
        text = NETWORK.replace("{name: Web}", "\n  <<: {name: Web}")
        assert faults(text) == [(4, "metadata", "merge_key")]
        assert faults(NETWORK.replace("[10.0.0.0/24]", "*x")) == [(4, "spec.subnets", "alias")]

    def test_a_merge_key_in_quotes_is_text(self):
        assert faults(annotated("x").replace("a: x", '"<<": x')) == []

    def test_text_that_is_not_utf8_is_told_with_its_line(self):
        assert faults(NETWORK.encode() + b"# \xff\n") == [(5, "", "not_utf8")]
        assert faults(NETWORK.encode("utf-16")) == [(1, "", "not_utf8")]

    def test_a_billion_laughs_are_refused_and_never_expanded(self):
        bomb = "a: &a [x,x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n"
            for n in range(20)
        )
        assert {code for _, _, code in faults(bomb)} >= {"alias"}

    def test_faults_end_somewhere(self):
        reading = read("a: &x 1\n" * 100_000)
        assert len(reading.faults) == 1001
        assert reading.faults[-1].code == "too_many_faults"
        assert not reading.is_complete

    def test_a_mistake_in_the_syntax_keeps_what_came_before(self):
        reading = read(NETWORK + "---\n{\n")
        assert [each.envelope.kind for each in reading.documents] == ["Network"]
        assert [each.code for each in reading.faults] == ["malformed"]
        assert not reading.is_complete

    def test_what_was_refused_is_still_there_to_look_at(self):
        reading = read(NETWORK.replace("vlan: 5", "vlan: x"))
        assert [data["metadata"] for data in reading.refused] == [{"name": "Web"}]
        assert reading.is_complete


class TestJSON:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            pytest.param('{"a": 1,\n"a": 2}', (2, "a", "duplicate_key"), id="a duplicate key"),
            pytest.param('{"a": NaN}', (1, "", "malformed"), id="NaN"),
            pytest.param('{"a": Infinity}', (1, "", "malformed"), id="Infinity"),
            pytest.param('\n{"a": 1e999}', (2, "a", "invalid_value"), id="more than a double"),
            pytest.param('{"a": 99999999999999999999}', (1, "a", "invalid_value"), id="long"),
            pytest.param('{"a": %s}' % ("9" * 5000), (1, "", "malformed"), id="very long"),
            pytest.param('{"a": "\\ud800"}', (1, "a", "control_character"), id="half a pair"),
            pytest.param('{"a": "\\u0000"}', (1, "a", "control_character"), id="NUL"),
            pytest.param('{"\\u0000": 1}', (1, '["\\u0000"]', "control_character"), id="in a key"),
            pytest.param("{'a': 1}", (1, "", "malformed"), id="single quotes"),
            pytest.param('{"a": 1,}', (1, "", "malformed"), id="a trailing comma"),
            pytest.param("[1, 2", (1, "", "malformed"), id="an open bracket"),
            pytest.param("[]", (1, "", "invalid_value"), id="a list"),
        ],
    )
    def test_what_is_refused(self, text, found):
        reading = parse_documents(text.encode(), file="f.json", format="json")
        assert found in {(each.line, each.path, each.code) for each in reading.faults}
        assert reading.documents == ()

    def test_a_number_where_text_is_asked_is_shown_as_it_was_written(self):
        text = '{"apiVersion":"hanse/v1","kind":"Tenant",\n"metadata":{"name":1.10},"spec":{}}'
        (fault,) = parse_documents(text.encode(), file="f.json", format="json").faults
        assert (fault.line, fault.message) == (2, 'this must be text; quote it: "1.10"')


class TestHostileInput:
    @pytest.mark.parametrize("form", ["yaml", "json"])
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("[" * 1_000_000, id="open brackets"),
            pytest.param("[" * 33 + "]" * 33, id="33 levels"),
            pytest.param('{"a":' * 200_000, id="open mappings"),
        ],
    )
    def test_deep_input_is_refused_at_once(self, text, form):
        start = process_time()
        reading = parse_documents(text.encode(), format=form)
        assert [each.code for each in reading.faults] == ["too_deep"]
        assert process_time() - start < 0.1

    @pytest.mark.parametrize("form", ["yaml", "json"])
    def test_32_levels_are_not_too_deep(self, form):
        reading = parse_documents(b"[" * 32 + b"]" * 32, format=form)
        assert [each.code for each in reading.faults] == ["invalid_value"]

    @pytest.mark.parametrize("form", ["yaml", "json"])
    @pytest.mark.parametrize(
        ("size", "limit"),
        [
            pytest.param(MAX_DOCUMENT_BYTES + 1, MAX_DOCUMENT_BYTES, id="a document"),
            pytest.param(MAX_TRANSACTION_BYTES + 1, MAX_TRANSACTION_BYTES, id="a transaction"),
        ],
    )
    def test_huge_input_is_refused_at_once(self, form, size, limit):
        data = b'{"a": "' + b"x" * (size - 9) + b'"}'
        start = process_time()
        reading = parse_documents(data, format=form, limit=limit)
        assert [each.code for each in reading.faults] == ["too_large"]
        assert process_time() - start < 0.1

    @pytest.mark.parametrize("form", ["yaml", "json"])
    def test_one_huge_document_among_others_is_refused_at_once(self, form):
        data = b'{"a": "' + b"x" * MAX_DOCUMENT_BYTES + b'"}\n'
        small = NETWORK.encode() + b"---\n" if form == "yaml" else b""
        start = process_time()
        reading = parse_documents(small + data, format=form, limit=MAX_TRANSACTION_BYTES)
        assert [each.code for each in reading.faults] == ["too_large"]
        assert process_time() - start < 0.1

    @pytest.mark.parametrize("form", ["yaml", "json"])
    def test_more_values_than_anyone_writes_are_refused(self, form):
        text = "[" + "1," * 300_000 + "1]"
        reading = parse_documents(text.encode(), file="f", format=form)
        assert [each.code for each in reading.faults] == ["too_large"]

    def test_more_faults_than_anyone_mends_are_counted_only(self):
        rules = {"rules": [5] * 100_000}
        plain = {"apiVersion": "hanse/v1", "kind": "SecurityPolicy", "metadata": {"name": "x"}}
        start = process_time()
        _, found = parse_value({**plain, "spec": rules})
        assert [each.code for each in found] == ["too_many_faults"]
        assert process_time() - start < 1

    def test_many_documents_may_share_a_large_text(self):
        text = ("---\n" + NETWORK) * 12_000
        assert len(text) > MAX_DOCUMENT_BYTES
        start = process_time()
        reading = parse_documents(text.encode(), limit=MAX_TRANSACTION_BYTES)
        assert len(reading.documents) == 12_000
        assert process_time() - start < 10


class TestWriting:
    def test_a_document_is_written_without_what_is_a_default(self):
        (parsed,) = read(NETWORK).documents
        assert to_yaml([parsed.envelope]) == (
            "apiVersion: hanse/v1\nkind: Network\nmetadata:\n  name: Web\n"
            "spec:\n  subnets:\n  - 10.0.0.0/24\n  vlan: 5\n"
        )
        assert json.loads(to_json([parsed.envelope])) == {
            "apiVersion": "hanse/v1",
            "kind": "Network",
            "metadata": {"name": "Web"},
            "spec": {"subnets": ["10.0.0.0/24"], "vlan": 5},
        }

    @pytest.mark.parametrize("text", ["0o17", "yes", "1e3", "2027-03-31", "~", "", "null", "1_0"])
    def test_text_that_looks_like_something_else_is_quoted(self, text):
        (parsed,) = read(annotated(f'"{text}"')).documents
        again = read(to_yaml([parsed.envelope]))
        assert again.documents[0].envelope == parsed.envelope
        assert f"a: '{text}'" in to_yaml([parsed.envelope])


def test_plain_data_is_read_with_a_prefix_for_its_paths() -> None:
    data = {"apiVersion": "hanse/v1", "kind": "Network", "metadata": {"name": 1}, "spec": {}}
    envelope, found = parse_value(data, prefix="operations[3].object")
    assert envelope is None
    assert [(each.path, each.code) for each in found] == [
        ("operations[3].object.metadata.name", "invalid_value")
    ]
    envelope, found = parse_value({**data, "metadata": {"name": "a"}})
    assert envelope is not None
    assert found == ()
