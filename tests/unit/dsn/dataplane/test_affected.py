"""Only packets that a change may concern are judged again; that misses none."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dsn.dataplane.admissible import check, is_minimal
from dsn.dataplane.ending import Affected
from shared.algebra.cidrs import parse_cidrs
from shared.errors import Invalid
from shared.policy.nodeconfig import Judge, NodeConfiguration, NodeRule, NodeService, Packet

SETS = [f"s{number:016x}" for number in range(3)]

# A few addresses and ports, so that packets and rules meet.
small_cidrs = st.lists(st.integers(0, 15), unique=True).map(
    lambda hosts: parse_cidrs(f"10.0.0.{host}/32" for host in hosts).cidrs()
)
rules = st.builds(
    NodeRule,
    id=st.just(""),
    tier=st.just("local"),
    tenant=st.just("common"),
    policy=st.just("p"),
    rule=st.just("r"),
    origin=st.just("local"),
    action=st.sampled_from(["allow", "deny", "pass"]),
    source=st.sampled_from([None, *SETS]),
    destination=st.sampled_from([None, *SETS]),
    within=st.sampled_from([None, *SETS]),
    services=st.sampled_from([None, (NodeService(6, ((1, 2),)),), (NodeService(6, ((2, 3),)),)]),
)


@st.composite
def configurations(draw: st.DrawFn) -> NodeConfiguration:
    made = draw(st.lists(rules, max_size=6))
    return NodeConfiguration(
        node="node-1",
        default_action=draw(st.sampled_from(["allow", "deny"])),
        addresses=draw(small_cidrs),
        sets={name: draw(small_cidrs) for name in SETS},
        rules=tuple(replace(rule, id=f"{number:016x}") for number, rule in enumerate(made)),
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[NodeConfiguration, NodeConfiguration]:
    """Two configurations that have much in common."""
    before, other = draw(configurations()), draw(configurations())
    after = before
    for name in draw(st.sets(st.sampled_from(["addresses", "default_action", "sets", "rules"]))):
        after = replace(after, **{name: getattr(other, name)})
    if draw(st.booleans()) and after.rules:
        kept = list(after.rules)
        kept.pop(draw(st.integers(0, len(kept) - 1)))
        after = replace(after, rules=tuple(draw(st.permutations(kept))))
    return before, after


@given(pair=changes())
def test_a_packet_that_is_not_affected_is_judged_as_before(
    pair: tuple[NodeConfiguration, NodeConfiguration],
) -> None:
    before, after = pair
    had = Judge(before)
    have = had.after(after)
    affected = Affected(before, had, after, have)
    for source in range(16):
        for port in (1, 3):
            base = 10 << 24
            packet = Packet(4, base + source, base + 15 - source, 6, 9, port)
            if not affected.may_be(packet):
                old, new = had.judge(packet), have.judge(packet)
                assert (old and old.verdict) == (new and new.verdict)
            assert have.judge(packet) == Judge(after).judge(packet)


addresses = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 63), st.integers(26, 32)).map(
            lambda each: f"10.0.0.{each[0] & -(1 << (32 - each[1]))}/{each[1]}"
        ),
        st.tuples(st.integers(0, 15), st.integers(124, 128)).map(
            lambda each: f"fd00::{each[0] & -(1 << (128 - each[1])):x}/{each[1]}"
        ),
        st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.1", "10.0.0.1/24", "x", "10.0.0.00/32"]),
    ),
    max_size=5,
)


@given(cidrs=addresses)
def test_minimal_is_what_the_algebra_prints(cidrs: list[str]) -> None:
    try:
        printed = parse_cidrs(cidrs).cidrs()
    except ValueError:
        printed = None
    assert is_minimal(cidrs) == (tuple(cidrs) == printed)


@given(before=addresses, after=addresses)
def test_what_is_known_hides_no_fault(before: list[str], after: list[str]) -> None:
    known = NodeConfiguration("n", "deny", (), {SETS[0]: parse_or_empty(before)})
    wanted = replace(known, sets={SETS[0]: tuple(after)})

    assert faults(wanted, known) == faults(wanted, None)


def parse_or_empty(cidrs: list[str]) -> tuple[str, ...]:
    try:
        return parse_cidrs(cidrs).cidrs()
    except ValueError:
        return ()


def faults(wanted: NodeConfiguration, known: NodeConfiguration | None) -> str:
    try:
        check(wanted, known=known)
    except Invalid as exc:
        return exc.message
    return ""
