"""Who inherits from where, and which policies are in force: a plain reading of the contract.

Part of the oracle, see oracle.py.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from shared.model.kinds import KINDS
from shared.policy.merging import exempted, merge

Document = dict[str, Any]
World = dict[str, Any]
Found = list[tuple[str, Document]]
"""Documents, each with its scope."""

TIERS = ("mandatory", "local", "default")


class Asking(NamedTuple):
    """Who asks, and when: a site, or one of its nodes."""

    world: World
    site: str
    node: str | None
    now: datetime
    staged: bool = False


def load(repository: Path) -> World:
    """Return the world that a folder of documents describes."""
    return {
        "federation": _read(repository / "federation"),
        "sites": {
            folder.name: _read(folder) for folder in sorted((repository / "sites").glob("*"))
        },
        "tests": _read(repository / "tests"),
    }


def _read(folder: Path) -> list[Document]:
    found = []
    for path in sorted(folder.rglob("*.yaml")):
        found += [each for each in yaml.safe_load_all(path.read_text()) if each is not None]
    return found


# What a document says of itself.


def tenant_of(document: Document) -> str:
    return str(document["metadata"].get("tenant", "common"))


def name_of(document: Document) -> str:
    return str(document["metadata"]["name"])


def labels_of(document: Document) -> dict[str, str]:
    return dict(document["metadata"].get("labels", {}))


def global_documents(world: World, kind: str) -> Found:
    """Return (scope, document) of the FSM's documents of a kind."""
    return [
        (each["metadata"].get("scope", "federation"), each)
        for each in world["federation"]
        if each["kind"] == kind
    ]


def local_documents(world: World, site: str, kind: str) -> Found:
    """Return (scope, document) of the site's own documents of a kind."""
    return [
        (each["metadata"].get("scope", "site"), each)
        for each in world["sites"].get(site, [])
        if each["kind"] == kind
    ]


def named(found: Found, name: str) -> Document:
    return next(each for _, each in found if name_of(each) == name)


def site_document(asking: Asking) -> Document:
    return named(global_documents(asking.world, "Site"), asking.site)


# Selectors.


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """`{}` matches everything; all terms are ANDed."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions", []):
        present = term["key"] in labels
        among = present and labels[term["key"]] in term.get("values", [])
        # "`NotIn` and `DoesNotExist` match an object without the key."
        holds = {
            "In": among,
            "NotIn": not among,
            "Exists": present,
            "DoesNotExist": not present,
        }[term["operator"]]
        if not holds:
            return False
    return True


# The chain.


def chain(asking: Asking) -> list[str]:
    """Return the scopes that the view inherits from, the nearest first.

    "the node; for each group that the node lists, in that order, the group followed by its
    parents, of a group met twice the last place counting; the site; its region and that
    region's parents; the federation."
    """
    return local_chain(asking) + global_chain(asking)


def local_chain(asking: Asking) -> list[str]:
    if asking.node is None:
        # "Asked without a node, a site answers from the chain that begins at the site."
        return ["site"]
    groups = local_documents(asking.world, asking.site, "NodeGroup")
    nodes = local_documents(asking.world, asking.site, "Node")
    met = []
    for listed in named(nodes, asking.node)["spec"].get("groups", []):
        group: str | None = listed
        while group is not None:
            met.append(group)
            group = named(groups, group)["spec"].get("parent")
    last = [group for place, group in enumerate(met) if group not in met[place + 1 :]]
    return [f"node/{asking.node}", *(f"group/{group}" for group in last), "site"]


def global_chain(asking: Asking) -> list[str]:
    regions = global_documents(asking.world, "Region")
    found = []
    region = site_document(asking)["spec"].get("region")
    while region is not None:
        found.append(f"region/{region}")
        region = named(regions, region)["spec"].get("parent")
    return [*found, "federation"]


def nearest(scopes: list[str], found: Found) -> tuple[str, Document] | None:
    """Return the definition in the first of the scopes that has one."""
    for scope in scopes:
        for where, document in found:
            if where == scope:
                return where, document
    return None


def of_name(found: Found, tenant: str, name: str) -> Found:
    return [pair for pair in found if tenant_of(pair[1]) == tenant and name_of(pair[1]) == name]


# Overrides.


def moment(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def override_of(
    asking: Asking, kind: str, tenant: str, name: str, target: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the spec that the override of (kind, tenant, name) which counts puts in its place.

    "Its scope is the site, a group or a node; of several, the nearest unexpired counts."  `target`
    is the spec of the inherited definition that it replaces; None if that one runs.
    """
    found = []
    for scope, document in local_documents(asking.world, asking.site, "Override"):
        spec = document["spec"]
        aim = spec["target"]
        if (aim["kind"], aim.get("tenant", "common"), aim["name"]) != (kind, tenant, name):
            continue
        if "expiresAt" in spec and asking.now >= moment(spec["expiresAt"]):
            continue
        runs = until_decided(kind, spec, target)
        # "A staged policy replaces nothing and suspends nothing; with `--staged` it does as an
        # enforced one": so a staged exception leaves what it would replace in force.
        says = target if runs is None else runs
        if says.get("stage", "enforced") == "staged" and not asking.staged:
            continue
        found.append((scope, {**document, "runs": runs}))
    counting = nearest(local_chain(asking), found)
    return None if counting is None else counting[1]["runs"]


def until_decided(
    kind: str, override: dict[str, Any], target: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what runs of an override until a conflict is decided; None: the target.

    "`edited_both` (an override's base is older than the inherited object now)"; "Until then the
    policy's `onConflict` says what runs: `merge` (the default for mandatory targets: global edits
    that don't overlap the local ones take effect at once, where they overlap the local side is
    kept ...), `keepLocal` (the default otherwise) or `applyGlobal`."
    """
    if "basedOn" not in override:
        return dict(override["spec"])
    base, local, inherited = (
        exempted(KINDS[kind].spec.model_validate(each).to_json())
        for each in (override["basedOn"]["spec"], override["spec"], target)
    )
    if inherited in (base, local):
        return dict(override["spec"])
    mandatory = target.get("enforcement", "default") == "mandatory"
    runs = target.get("onConflict", "merge" if mandatory else "keepLocal")
    if runs == "applyGlobal":
        return None
    return dict(merge(base, local, inherited).spec if runs == "merge" else override["spec"])


# Policies.


class Placed(NamedTuple):
    """A policy in force: where it stands and what it says."""

    tier: str
    depth: int
    tenant: str
    name: str
    origin: str
    spec: dict[str, Any]

    def order(self) -> tuple[Any, ...]:
        """`mandatory`: "the federation's before a region's before an inner region's; then by
        (priority, tenant, name)"; `local` and `default`: "by (priority, tenant, name), whatever
        their scope".
        """
        depth = self.depth if self.tier == "mandatory" else 0
        priority = self.spec.get("priority", 500)
        return TIERS.index(self.tier), depth, priority, self.tenant, self.name


def existing(asking: Asking, kind: str) -> tuple[Found, Found]:
    """Return the inherited and the site's own policies of a kind that exist in the view."""
    site_labels = labels_of(site_document(asking))

    def exists(spec: dict[str, Any]) -> bool:
        # "`sites` is applied first: a policy that doesn't select the site does not exist there."
        # "only `sites` may be left out, which selects every site"
        if not selects(spec.get("sites", {}), site_labels):
            return False
        return asking.staged or spec.get("stage", "enforced") == "enforced"

    inherited = [
        (scope, each)
        for scope, each in global_documents(asking.world, kind)
        if scope in global_chain(asking) and exists(each["spec"])
    ]
    own = [
        (scope, each)
        for scope, each in local_documents(asking.world, asking.site, kind)
        if scope in local_chain(asking) and exists(each["spec"])
    ]
    return inherited, own


def settings_in_force(asking: Asking, kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return, by name, the scope and spec of the settings of a kind in force in the view.

    "Documents of settings ... resolve the same way and carry `enforcement` as well: an inherited
    `mandatory` one wins over any nearer one."
    """
    inherited, own = existing(asking, kind)
    found = {}
    for name in {name_of(each) for _, each in inherited + own}:
        above = of_name(inherited, "common", name)
        mandatory = [
            pair for pair in above if pair[1]["spec"].get("enforcement", "default") == "mandatory"
        ]
        here = nearest(local_chain(asking), of_name(own, "common", name))
        winner = nearest(global_chain(asking)[::-1], mandatory) or nearest(
            global_chain(asking), above
        )
        if winner is None or (here is not None and not mandatory):
            assert here is not None
            found[name] = here[0], here[1]["spec"]
            continue
        exception = override_of(asking, kind, "common", name, winner[1]["spec"])
        found[name] = (
            (winner[0], winner[1]["spec"]) if exception is None else ("override", exception)
        )
    return found


def policies_in_force(asking: Asking) -> list[Placed]:
    """Return the policies of the view, in order of evaluation."""
    outwards = global_chain(asking)
    inherited, own = existing(asking, "SecurityPolicy")
    placed = []
    for tenant, name in {(tenant_of(each), name_of(each)) for _, each in inherited + own}:
        # "for one kind, tenant and name, the nearest definition wins whole, along the chain"
        above = nearest(outwards, of_name(inherited, tenant, name))
        here = nearest(local_chain(asking), of_name(own, tenant, name))
        if above is None:
            assert here is not None
            placed.append(Placed("local", 0, tenant, name, "local", here[1]["spec"]))
            continue
        origin, document = above
        tier = document["spec"].get("enforcement", "default")
        depth = outwards[::-1].index(origin)
        if tier == "default" and here is not None:
            # "A site's SecurityPolicy bearing the name of an inherited `default` policy replaces
            # it, in the `default` tier."
            placed.append(Placed("default", depth, tenant, name, "local", here[1]["spec"]))
            continue
        # "a mandatory one is in force and the local one is suspended"
        spec = document["spec"]
        exception = override_of(asking, "SecurityPolicy", tenant, name, spec)
        if exception is not None:
            # "It takes the target's place, tier included (`origin: override`)"; "a priority left
            # out is 500".
            origin, spec = "override", exception
        placed.append(Placed(tier, depth, tenant, name, origin, spec))
    return sorted(placed, key=Placed.order)
