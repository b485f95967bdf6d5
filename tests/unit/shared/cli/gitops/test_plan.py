"""What a plan deletes, keeps and owns, over random histories of repositories and people."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cli.answers import Delete, Object
from shared.cli.gitops.manifest import Manifest
from shared.cli.gitops.ownership import claimed, is_as_applied, owner_of
from shared.cli.gitops.plan import Action, Limit, Plan, make_plan, refuse_foreign, refuse_many
from shared.errors import Invalid
from shared.ids import Key
from shared.model.documents import Parsed, parse_documents

NAMES = "ABCDEF"


def network(name: str, vlan: int, kind: str = "Network") -> dict[str, Any]:
    spec = {"vlan": vlan} if kind == "Network" else {}
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def key_of(name: str) -> Key:
    return Key("Network", "common", "federation", name)


def parsed(document: Mapping[str, Any]) -> Parsed:
    (found,) = parse_documents(json.dumps(document).encode(), format="json").documents
    return found


class Server:
    """Objects by key, as a server answers them; each write takes a revision."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.revision = 0

    def put(self, document: Mapping[str, Any], *, origin: str | None = None) -> None:
        self.revision += 1
        metadata = {**document["metadata"], "scope": "federation", "revision": self.revision}
        if origin:
            metadata["origin"] = origin
        found = Object({**document, "metadata": metadata})
        self.objects[found.key] = found

    def carry_out(self, plan: Plan) -> None:
        for step in plan.changes:
            operation = step.operation()
            present = self.objects.get(step.key)
            assert operation.if_match == (present.revision if present else 0)
            if isinstance(operation, Delete):
                del self.objects[step.key]
            else:
                self.put(operation.document)

    def content(self) -> dict[str, Any]:
        return {key.name: each.spec.get("vlan") for key, each in self.objects.items()}


def plan_of(repository: Mapping[str, int], server: Server, manifest: str = "shop") -> Plan:
    documents = [(key_of(name), parsed(network(name, vlan))) for name, vlan in repository.items()]
    return make_plan(documents, server.objects, Manifest(manifest=manifest))


repositories = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3))
events = st.one_of(
    st.tuples(st.just("shop"), repositories),
    st.tuples(st.just("other"), repositories),
    st.tuples(st.just("person"), repositories),
)


@given(history=st.lists(events, max_size=8))
def test_a_manifest_owns_exactly_its_repository_and_touches_nothing_else(
    history: list[tuple[str, dict[str, int]]],
) -> None:
    server = Server()
    for who, content in history:
        before = server.content()
        if who == "person":
            for name, vlan in content.items():
                server.put(network(name, vlan))
            continue
        owned = {k.name for k, each in server.objects.items() if owner_of(each) == who}
        plan = plan_of(content, server, who)
        server.carry_out(plan)

        after = server.content()
        assert {name: after[name] for name in content} == content
        assert {k.name for k, each in server.objects.items() if owner_of(each) == who} == set(
            content
        )
        # What is gone was its own; all else is as it was.
        assert before.keys() - after.keys() == owned - content.keys()
        for name in before.keys() - owned - content.keys():
            assert after[name] == before[name]
        assert all(is_as_applied(server.objects[key_of(name)]) for name in content)
        assert not plan_of(content, server, who).changes


def test_what_is_inherited_is_never_pruned_whatever_it_says() -> None:
    server = Server()
    server.put(claimed(network("A", 1), key_of("A"), "shop"), origin="federation")
    assert plan_of({}, server).steps == ()
    server.put(claimed(network("A", 1), key_of("A"), "shop"), origin="local")
    assert [each.action for each in plan_of({}, server).steps] == [Action.PRUNE]


def test_labels_and_annotations_count_and_the_systems_own_dont() -> None:
    server = Server()
    document = claimed(network("A", 1), key_of("A"), "shop")
    document["metadata"]["annotations"]["hanse/expired-at"] = "2026-01-01"
    server.put(document)
    assert not plan_of({"A": 1}, server).changes
    document["metadata"]["annotations"]["note"] = "by hand"
    server.put(document)
    (step,) = plan_of({"A": 1}, server).changes
    assert (step.action, step.content_differs) == (Action.UPDATE, True)


def test_a_secret_is_sent_each_time_and_its_digest_says_nothing_of_it() -> None:
    key = Key("Credential", "common", "federation", "radius")
    one, other = (
        {**network("radius", 0, "Credential"), "spec": {"secret": secret}} for secret in ("x", "y")
    )
    assert claimed(one, key, "shop")["metadata"] == claimed(other, key, "shop")["metadata"]


@pytest.mark.parametrize(
    ("owned", "left", "limit", "refused"),
    [
        pytest.param(10, 8, None, False, id="a fifth"),
        pytest.param(4, 1, None, False, id="three, of few"),
        pytest.param(4, 0, None, True, id="all of few"),
        pytest.param(1, 0, None, True, id="the only one"),
        pytest.param(12, 8, None, True, id="four, a third"),
        pytest.param(16, 12, None, False, id="four, a quarter"),
        pytest.param(12, 8, "4", False, id="four were said"),
        pytest.param(12, 8, "3", True, id="three were said"),
        pytest.param(12, 8, "33%", True, id="a share too small"),
        pytest.param(12, 8, "34%", False, id="a share"),
        pytest.param(4, 0, "100%", False, id="all were said"),
        pytest.param(4, 3, "0", True, id="none were said"),
    ],
)
def test_a_pruning_of_much_has_to_be_meant(
    owned: int, left: int, limit: str | None, *, refused: bool
) -> None:
    server = Server()
    for number in range(owned):
        server.put(claimed(network(f"N{number}", 1), key_of(f"N{number}"), "shop"))
    plan = plan_of({f"N{number}": 1 for number in range(left)}, server)
    said = None if limit is None else Limit.parse(limit)
    if not refused:
        refuse_many(plan, said)
        return
    with pytest.raises(Invalid) as found:
        refuse_many(plan, said)
    assert found.value.code == "prunes_too_much"


@pytest.mark.parametrize("text", ["", "-1", "101%", "half", "3 %", "٣"])
def test_a_limit_is_a_number_or_a_share(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number nor a share"):
        Limit.parse(text)


def test_every_object_of_another_manifest_is_named() -> None:
    server = Server()
    for name in "AB":
        server.put(claimed(network(name, 1), key_of(name), "other"))
    with pytest.raises(Invalid, match=r"Network A .* is other's; Network B .* is other's"):
        refuse_foreign(plan_of({"A": 1, "B": 1}, server))
