"""No sequence of writes gives anybody what its writer didn't hold.

Everybody may try everything: bind, widen, unbind, make accounts, enable and disable them, delete
them, set passwords.  After each write that is taken, who may do what to which object is worked
out anew for everybody, object by object.
"""

from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shared.access.authorize import authorize
from shared.access.book import Account, Book
from shared.access.permissions import Permission
from shared.auth.identity import Caller, CallerKind, Grant, Subject
from shared.ids import Key
from shared.model.documents import parse_value
from shared.objects.admission import Batch, Proposal
from shared.objects.granting import Change
from shared.store.contract import Draft, Operation, Stored
from tests.property.profile import SOAKING

PERMISSIONS = (Permission.READ_NETWORK, Permission.WRITE_NETWORK, Permission.TRACE)
TENANTS = ("common", "acme", "tomorrow")
SCOPES = ("site", "group/web")
LABELS = ({}, {"app": "shop"})
POINTS = tuple(product(PERMISSIONS, TENANTS, SCOPES, LABELS))

USERS = ("kim", "lee", "root")
GROUPS = ("ops", "CN=noc, dc=example")
PEOPLE = tuple(
    Subject(CallerKind.PERSON, user, frozenset(groups))
    for user in USERS
    for groups in ((), GROUPS[:1], ("cn=noc,dc=example", "ops"))
)
PROGRAMS = tuple(Subject(CallerKind.SERVICE_ACCOUNT, name) for name in ("common/bot", "acme/bot"))
EVERYBODY = (*PEOPLE, *PROGRAMS)

ROLES = ("shop-keeper", "reader", "viewer")
grants = st.fixed_dictionaries(
    {
        "verbs": st.lists(st.sampled_from(["read", "write", "*"]), min_size=1, max_size=2),
        "kinds": st.sampled_from([["Network"], ["*"]]),
    },
    optional={
        "tenants": st.sampled_from([["acme"], ["common", "acme"], ["*"]]),
        "scopes": st.sampled_from([["site"], ["group/web"], ["*"]]),
        "selector": st.sampled_from([{}, {"matchLabels": {"app": "shop"}}]),
    },
)
subjects = st.one_of(
    st.builds(lambda name: {"kind": "User", "name": name}, st.sampled_from(USERS)),
    st.builds(lambda name: {"kind": "Group", "name": name}, st.sampled_from(GROUPS)),
    st.builds(
        lambda name: {"kind": "ServiceAccount", "name": name},
        st.sampled_from(["bot", "acme/bot"]),
    ),
)
bindings = st.fixed_dictionaries(
    {
        "role": st.sampled_from((*ROLES, "global-admin")),
        "subjects": st.lists(subjects, min_size=1, max_size=2),
    },
    optional={"tenants": st.sampled_from([["acme"], ["*"]])},
)
writes = st.one_of(
    st.tuples(
        st.just("Role"),
        st.sampled_from(ROLES[:2]),
        st.fixed_dictionaries({"grants": st.lists(grants, max_size=2)}),
    ),
    st.tuples(st.just("RoleBinding"), st.sampled_from(["one", "two", "three"]), bindings),
    st.tuples(
        st.just("User"),
        st.sampled_from(USERS),
        st.fixed_dictionaries(
            {"disabled": st.booleans()}, optional={"credential": st.sampled_from(["c1", "c2"])}
        ),
    ),
    st.tuples(
        st.just("ServiceAccount"),
        st.sampled_from(["bot"]),
        st.fixed_dictionaries({"disabled": st.booleans()}),
    ),
    st.tuples(
        st.just("Credential"),
        st.sampled_from(["c1", "c2"]),
        st.fixed_dictionaries({"secret": st.just("a new one")}),
    ),
    st.tuples(
        st.sampled_from(["Role", "RoleBinding", "User", "ServiceAccount"]),
        st.sampled_from([*ROLES[:2], "one", "two", "three", *USERS, "bot"]),
        st.none(),
    ),
)


ON_SHOPS = {"verbs": ["*"], "kinds": ["*"], "selector": {"matchLabels": {"app": "shop"}}}
FIRST: tuple[tuple[str, str, Any], ...] = (
    ("User", "root", {"credential": "c1"}),
    ("User", "lee", {"credential": "c2", "disabled": True}),
    ("Role", "shop-keeper", {"grants": [ON_SHOPS]}),
    (
        "RoleBinding",
        "shops",
        {"role": "shop-keeper", "subjects": [{"kind": "User", "name": "kim"}]},
    ),
    (
        "RoleBinding",
        "lees",
        {"role": "global-admin", "subjects": [{"kind": "User", "name": "lee"}]},
    ),
    ("RoleBinding", "nocs", {"role": "viewer", "subjects": [{"kind": "Group", "name": GROUPS[1]}]}),
    (
        "RoleBinding",
        "bots",
        {"role": "viewer", "subjects": [{"kind": "ServiceAccount", "name": "acme/bot"}]},
    ),
)


def held_by(book: Book, subject: Subject) -> frozenset[int]:
    return points_of(book.grants_of(subject))


@lru_cache(maxsize=1000)
def points_of(grants: tuple[Grant, ...]) -> frozenset[int]:
    caller = Caller(CallerKind.PERSON, "user:x", "x", grants=grants)
    return frozenset(
        number
        for number, (permission, tenant, scope, labels) in enumerate(POINTS)
        if authorize(caller, permission, tenant=tenant, scope=scope, labels=labels).allowed
    )


def caller_of(book: Book, subject: Subject) -> Caller:
    return Caller(subject.kind, subject.name, subject.name, grants=book.grants_of(subject))


class Granting(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = Book({}, {"root": Account(("admin",))}, is_site=True)
        self.passwords: dict[str, Stored] = {}
        self.revision = 0

    @initialize(
        given=st.lists(st.tuples(st.sampled_from(ROLES), subjects, st.none() | grants), max_size=2)
    )
    def begin(self, given: list[tuple[str, dict[str, str], Any]]) -> None:
        """Begin with what root, who may everything, has set up."""
        root = Subject(CallerKind.PERSON, "root")
        for what in FIRST:
            assert self.write(root, what)
        for number, (role, subject, grant) in enumerate(given):
            if grant and role != "viewer":
                self.write(root, ("Role", role, {"grants": [grant]}))
            spec = {"role": role, "subjects": [subject]}
            self.write(root, ("RoleBinding", f"given{number}", spec))

    @rule(who=st.sampled_from(EVERYBODY), what=st.lists(writes, min_size=1, max_size=2))
    def somebody_writes(self, who: Subject, what: list[tuple[str, str, Any]]) -> None:
        self.write(who, *what)

    @precondition(lambda self: len(self.book.objects) > 1)
    @rule(what=writes)
    def root_writes(self, what: tuple[str, str, Any]) -> None:
        assert self.write(Subject(CallerKind.PERSON, "root"), what) or held_by(
            self.book, Subject(CallerKind.PERSON, "root")
        ) != frozenset(range(len(POINTS))), "whoever holds everything may grant everything"

    def write(self, who: Subject, *what: tuple[str, str, Any]) -> bool:
        before, tenants = self.book, {"ServiceAccount": "acme"}
        proposals: dict[Key, Proposal] = {}
        for kind, name, spec in what:
            key = Key(kind, tenants.get(kind, "common"), "site", name)
            proposals[key] = self.proposal(key, spec)
        batch = Batch(tuple(proposals.values()), caller_of(before, who))
        access = [each for each in proposals.values() if each.key.kind != "Credential"]
        after = before.changed(
            {each.key: each.envelope.spec for each in access if each.envelope},
            [each.key for each in access if each.envelope is None],
        )
        codes = [fault.error.code for fault in Change(batch, before, after).faults()]
        if codes:
            return set(codes) <= {"in_use", "unknown_role"}
        own = held_by(before, who)
        for each in EVERYBODY:
            more = held_by(after, each) - held_by(before, each) - own
            assert not more, (who, what, each, [POINTS[number] for number in sorted(more)])
        self.check_passwords(before, after, proposals, own)
        self.book = after
        return True

    def check_passwords(
        self, before: Book, after: Book, proposals: dict[Key, Proposal], own: frozenset[int]
    ) -> None:
        """Whoever sets a user's password may log in as him."""
        new = {key.name for key in proposals if key.kind == "Credential"}
        for key, spec in after.objects.items():
            if key.kind != "User" or spec.credential is None:
                continue
            was = before.objects.get(key)
            if spec.credential in new or was is None or was.credential != spec.credential:
                his = held_by(after, Subject(CallerKind.PERSON, key.name))
                assert his <= own, (key, [POINTS[number] for number in sorted(his - own)])

    def proposal(self, key: Key, spec: Any) -> Proposal:
        before = self.book.objects.get(key)
        stored = None
        if before is not None:
            self.revision += 1
            stored = _stored(key, before.to_json(), self.revision)
        if spec is None:
            return Proposal(Operation.DELETE, key, None, None, stored)
        metadata = {"name": key.name, "tenant": key.tenant, "scope": key.scope}
        envelope, faults = parse_value(
            {"apiVersion": "hanse/v1", "kind": key.kind, "metadata": metadata, "spec": spec}
        )
        assert envelope is not None, faults
        return Proposal(Operation.PUT, key, envelope, Draft(key, spec), stored)


def _stored(key: Key, spec: dict[str, Any], revision: int) -> Stored:
    at = datetime(2027, 1, 1, tzinfo=UTC)
    return Stored(key, "u", spec, {}, {}, None, revision, 1, at, at)


TestGranting = Granting.TestCase
TestGranting.settings = settings(
    max_examples=2_000 if SOAKING else 100, stateful_step_count=15, deadline=None
)


def test_enabling_somebody_needs_all_that_he_himself_is_bound_to() -> None:
    world = Granting()
    root = Subject(CallerKind.PERSON, "root")
    for what in FIRST:
        assert world.write(root, what)
    # He holds what every group does, and not what lee does.
    kim = Subject(CallerKind.PERSON, "kim", frozenset(GROUPS))
    enabled = ("User", "lee", {"credential": "c2"})
    assert not world.write(kim, enabled)
    assert world.write(root, enabled)
