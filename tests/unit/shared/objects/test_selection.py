import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.objects.selection import parse_field_selector, parse_label_selector

LABELS = {"env": "prod", "tier": "web", "example.com/owner": "kim", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("env=prod", True),
        ("env==prod", True),
        ("env = prod", True),
        ("env=test", False),
        ("env!=test", True),
        ("missing!=x", True),
        ("env!=prod", False),
        ("env in (prod,test)", True),
        ("env in ( test , dev )", False),
        ("env notin (test)", True),
        ("missing notin (test)", True),
        ("env", True),
        ("missing", False),
        ("!missing", True),
        ("! env", False),
        ("example.com/owner=kim", True),
        ("empty=", True),
        ("env=prod,tier=web", True),
        ("env=prod,tier=db", False),
        ("env in (prod, test),tier notin (db,cache),!missing", True),
        (" env=prod , tier=web ", True),
    ],
)
def test_label_selectors_mean_what_kubectls_do(text: str, matches: bool) -> None:
    selector = parse_label_selector(text)
    assert selector is not None
    assert selector.matches(LABELS) is matches


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_selector_selects_nothing_out(text: str | None) -> None:
    assert parse_label_selector(text) is None
    assert parse_field_selector(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "=x",
        "a=b=c",
        "a in",
        "a in (b",
        "a in b)",
        "a in ()x",
        "a,,b",
        ",",
        "a=(b)",
        "-a=b",
        "a in (b,(c))",
        "a in (b\x00)",
        "a" * 400,
    ],
)
def test_a_bad_label_selector_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_label_selector(text)
    assert caught.value.code == "invalid_selector"


@given(st.text(alphabet="ab=!,() in\t\n'\"", max_size=40))
def test_no_text_makes_a_parser_fail_otherwise(text: str) -> None:
    for parse in (parse_label_selector, parse_field_selector):
        try:
            parse(text)
        except Malformed as exc:
            assert exc.code == "invalid_selector"  # noqa: PT017 - most texts are refused, some aren't


DOCUMENT = {
    "kind": "Network",
    "metadata": {"name": "web", "revision": 7},
    "spec": {"vlan": 110, "sealed": True, "subnets": ["10.0.0.0/8"]},
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("spec.vlan=110", True),
        ("spec.vlan=11", False),
        ("spec.sealed=true", True),
        ("spec.missing=", True),
        ("spec.missing!=x", True),
        ("spec.vlan.deeper=1", False),
        ("spec.subnets=10.0.0.0/8", False),
        ("metadata.name=web, spec.vlan!=1", True),
    ],
)
def test_field_selectors_compare_as_text(text: str, matches: bool) -> None:
    selected = parse_field_selector(text)
    assert selected is not None
    assert selected(DOCUMENT) is matches


@pytest.mark.parametrize("text", ["name=web", "metadata", "metadata..x=1", "spec.a=b=c", "kind=x,"])
def test_a_bad_field_selector_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_field_selector(text)
