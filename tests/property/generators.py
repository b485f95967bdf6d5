"""Whole worlds of documents, for Hypothesis or by a seed.

Worlds are valid by construction: what validation would refuse isn't drawn, or is left out where
two draws clash.  With `live`, states that can only arise on a running site are drawn too: an
inherited mandatory policy that arrived after a local one of its name, a definition sealed after a
nearer one was there, an override whose target no longer applies.
"""

from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.property.choices import Choices, Drawn, Rolled
from tests.property.generated_documents import (
    GROUPS,
    NETWORKS,
    NODES,
    NOW,
    POLICIES,
    REGIONS,
    SERVICES,
    SITE,
    Focus,
    Spec,
    document,
    either,
    global_policy,
    labels,
    local_policy,
    name_of,
    names,
    outwards,
    override,
    scope_of,
    tenant_of,
    workload,
)
from tests.property.oracle_inheritance import (
    Asking,
    Document,
    World,
    local_chain,
    selects,
)


@st.composite
def worlds(draw: Any, *, live: bool = True) -> World:
    """Return a world that shrinks well."""
    return made_world(Drawn(draw), live=live)


def rolled_world(seed: int, *, live: bool = True) -> World:
    """Return the world of a seed: made fast, but it doesn't shrink."""
    return made_world(Rolled(seed), live=live)


def made_world(choose: Choices, *, live: bool = True) -> World:
    """Return a world with the site s1, its nodes n1 and n2, and another site."""
    focus = Focus(*(either(choose, ("", ""), of, 0) for of in (NETWORKS, SERVICES, POLICIES)))
    federation = places(choose)
    site = next(each for each in federation if each["kind"] == "Site")
    region = site["spec"].get("region")
    on_chain = outwards(f"region/{region}" if region else "federation")
    scopes = ("federation", *on_chain * 2, *(f"region/{name}" for name in REGIONS))
    above = first_of_each_key(names(choose, scopes, focus, 4, 12), "federation")
    above = above if live else unsealed(above, [], "federation")
    policies = global_policies(choose, scopes, focus, above)
    inherited = [each for each in above if scope_of(each, "federation") in on_chain]
    reaching = [each for each in policies if scope_of(each, "federation") in on_chain]
    local = inventory(choose)
    inwards = local_scopes(local)
    here = first_of_each_key(names(choose, inwards, focus, 2, 9), "site")
    here = here if live else unsealed(here, inherited, "site")
    own = first_of_each_key(
        choose.some(lambda: local_policy(choose, inwards, focus, inherited + here), 0, 4), "site"
    )
    if not live:
        reaching = [
            each
            for each in reaching
            if selects(each["spec"].get("sites", {}), site["metadata"]["labels"])
        ]
        own = [
            each
            for each in own
            if not any(same_name(each, other) and is_mandatory(other) for other in reaching)
        ]
    workloads = first_of_each_key(choose.some(lambda: workload(choose), 1, 7), "site")
    known = Known(inherited + reaching, here + own, inherited + here)
    exceptions = overrides(choose, inwards, focus, known)
    return {
        "federation": [*federation, *above, *policies],
        "sites": {
            SITE: [*local, *here, *workloads, *own, *exceptions],
            "s2": [
                document("Network", {"name": "A"}, {"subnets": ["10.0.0.0/24"]}),
                document("SecurityPolicy", {"name": "p0"}, {"rules": []}),
            ],
        },
        "tests": [],
    }


def global_policies(
    choose: Choices, scopes: tuple[str, ...], focus: Focus, declared: list[Document]
) -> list[Document]:
    """Return policies of the FSM, none under a mandatory one of its name.

    "refused (`mandatory_policy_exists`), and so is a region's under a mandatory one of the
    federation or of an outer region"
    """
    found = first_of_each_key(
        choose.some(lambda: global_policy(choose, scopes, focus, declared), 2, 6), "federation"
    )
    return [
        each
        for each in found
        if not any(
            same_name(each, other)
            and is_mandatory(other)
            and scope_of(other, "federation") in outwards(scope_of(each, "federation"))[1:]
            for other in found
        )
    ]


class Known(NamedTuple):
    """What an override may be of, what may replace that, and what it may name."""

    targets: list[Document]
    local: list[Document]
    declared: list[Document]


def overrides(
    choose: Choices, scopes: tuple[str, ...], focus: Focus, known: Known
) -> list[Document]:
    """Return overrides of inherited objects that no local namesake replaces."""

    def replaced(target: Document) -> bool:
        namesakes = [each for each in known.local if same_name(each, target)]
        if target["kind"] == "SecurityPolicy":
            # Beside a mandatory one they are suspended and replace nothing.
            others = [each for each in known.targets if same_name(each, target)]
            return bool(namesakes) and not all(is_mandatory(each) for each in others)
        content = content_of(target)
        return any(each["spec"].get(content) for each in namesakes)

    free = [each for each in known.targets if not replaced(each)]
    if not free:
        return []
    return first_of_each_key(
        choose.some(lambda: override(choose, scopes, focus, free, known.declared), 0, 4), "site"
    )


def content_of(target: Document) -> str:
    return "subnets" if target["kind"] == "Network" else "entries"


def first_of_each_key(documents: list[Document], usual: str) -> list[Document]:
    kept: dict[Any, Document] = {}
    for each in documents:
        kept.setdefault((each["kind"], tenant_of(each), scope_of(each, usual), name_of(each)), each)
    return list(kept.values())


def same_name(first: Document, second: Document) -> bool:
    return (first["kind"], tenant_of(first), name_of(first)) == (
        second["kind"], tenant_of(second), name_of(second)
    )  # fmt: skip


def is_mandatory(policy: Document) -> bool:
    return bool(policy["spec"].get("enforcement") == "mandatory")


def depth(each: Document, usual: str) -> int:
    """Return how far in a document's scope is; of two groups neither is further out for sure."""
    scope = scope_of(each, usual)
    if scope == "federation" or scope.startswith("region/"):
        return len(outwards(scope))
    return {"site": 10, "group": 11, "node": 13}[scope.partition("/")[0]]


def unsealed(documents: list[Document], further_out: list[Document], usual: str) -> list[Document]:
    """Leave out definitions that a sealed one further out refuses."""
    found: list[Document] = []
    known = [(depth(each, "federation"), each) for each in further_out]
    for each in sorted(documents, key=lambda each: depth(each, usual)):
        deep = depth(each, usual)
        refused = any(
            same_name(each, other)
            and (
                (deeper < deep and is_sealed(other, deeper))
                # Of two groups either may be the nearer one.
                or (deeper == deep == 11 and (is_sealed(other, deep) or is_sealed(each, deep)))
            )
            for deeper, other in known
        )
        if not refused:
            found.append(each)
            known.append((deep, each))
    return found


def is_sealed(each: Document, deep: int) -> bool:
    content = each["spec"].get("subnets") or each["spec"].get("entries")
    return bool(content) and each["spec"].get("sealed", each["kind"] == "Service" and deep < 10)


def places(choose: Choices) -> list[Document]:
    site_spec: Spec = {}
    region = choose.pick(("cove", "bay", "west", None, "east"))
    if region is not None:
        site_spec["region"] = region
    if choose.chance(60):
        site_spec["defaultAction"] = choose.pick(("deny", "allow"))
    return [
        *(
            document("Region", {"name": name}, {"parent": parent} if parent else {})
            for name, parent in REGIONS.items()
        ),
        *(document("Tenant", {"name": name}, {}) for name in ("blue", "red")),
        document("Site", {"name": SITE, "labels": labels(choose)}, site_spec),
        document("Site", {"name": "s2"}, {"region": "west"}),
    ]


def inventory(choose: Choices) -> list[Document]:
    found = []
    for place, name in enumerate(GROUPS):
        parent = choose.pick((None, *GROUPS[:place], *GROUPS[:place]))
        found.append(document("NodeGroup", {"name": name}, {"parent": parent} if parent else {}))
    for name in NODES:
        groups = choose.some_of(GROUPS)
        spec: Spec = {"groups": groups} if groups else {}
        if choose.chance(10):
            spec["admission"] = choose.pick(("pending", "refused", "admitted"))
        found.append(document("Node", {"name": name}, spec))
    return found


def local_scopes(places: list[Document]) -> tuple[str, ...]:
    """Return the scopes of a site's documents, those more often that the node n1 inherits from."""
    world = {"federation": [], "sites": {SITE: places}}
    met = local_chain(Asking(world, SITE, NODES[0], NOW))
    elsewhere = (*(f"group/{group}" for group in GROUPS), f"node/{NODES[1]}")
    return ("site", *met * 2, *elsewhere)
