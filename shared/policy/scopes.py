"""The chain: through which scopes a definition reaches a node, the nearest first.

    node -> its groups and their parents -> site -> region and its parents -> federation

Asked without a node, a site answers from the chain that begins at the site.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from shared.errors import NotFound
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.model.inventory import Node, NodeGroup, Region, Site
from shared.policy.graph import ancestors
from shared.policy.inputs import Document, Documents, SiteInputs

Chain = tuple[str, ...]
"""Scopes, the nearest first."""

_LEVELS: Final = {"region/": "region", "group/": "group", "node/": "node"}


def level_of(scope: str) -> str | None:
    """Return federation, region, site, group or node; None for what is no scope."""
    if scope in (FEDERATION, SITE):
        return scope
    for prefix, level in _LEVELS.items():
        if scope.startswith(prefix) and len(scope) > len(prefix):
            return level
    return None


def region_parents(documents: Documents) -> Mapping[str, str | None]:
    """Return each Region's parent."""
    return {
        each.key.name: each.spec.parent
        for each in documents.of_kind("Region")
        if isinstance(each.spec, Region)
    }


def group_parents(documents: Documents) -> Mapping[str, str | None]:
    """Return each NodeGroup's parent."""
    return {
        each.key.name: each.spec.parent
        for each in documents.of_kind("NodeGroup")
        if isinstance(each.spec, NodeGroup)
    }


def region_chain(region: str | None, parents: Mapping[str, str | None]) -> Chain:
    """Return the scopes from a region outwards, the federation last."""
    around = ancestors(region, parents) if region is not None else ()
    return (*(f"region/{name}" for name in around), FEDERATION)


def group_chain(groups: Iterable[str], parents: Mapping[str, str | None]) -> Chain:
    """Return the scopes of groups in order, each followed by its parents.

    Of a group met twice the last place counts.
    """
    met = [name for group in groups for name in ancestors(group, parents)]
    last = {name: place for place, name in enumerate(met)}
    return tuple(f"group/{name}" for place, name in enumerate(met) if last[name] == place)


def no_node(site: str, name: str) -> NotFound:
    return NotFound(f"site {site} has no node {name}", code="unknown_node")


class Places:
    """Where things lie at one site: its Site, the regions above it, its groups and nodes."""

    def __init__(self, inputs: SiteInputs) -> None:
        self._inputs = inputs
        self.document: Final[Document | None] = inputs.federation.get(
            Key("Site", COMMON, FEDERATION, inputs.site)
        )

    @property
    def site(self) -> Site:
        """The Site's spec; NotFound (`unknown_site`) if the federation has none."""
        if self.document is None or not isinstance(self.document.spec, Site):
            raise NotFound(
                f"there is no Site {self._inputs.site} in the federation; declare it there",
                code="unknown_site",
            )
        return self.document.spec

    @property
    def labels(self) -> Mapping[str, str]:
        return self.document.labels if self.document is not None else {}

    @cached_property
    def upstream(self) -> Chain:
        """The scopes above the site: its region, that one's parents, the federation."""
        return region_chain(self.site.region, region_parents(self._inputs.federation))

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """The site's nodes by name, in name order."""
        found = {
            each.key.name: each.spec
            for each in self._inputs.local.of_kind("Node")
            if isinstance(each.spec, Node)
        }
        return dict(sorted(found.items()))

    @cached_property
    def groups(self) -> Mapping[str, str | None]:
        return group_parents(self._inputs.local)

    def chain(self, node: str | None = None) -> Chain:
        """Return the chain that begins at a node, or at the site.

        NotFound (`unknown_node`, `unknown_site`) if there is none of that name.
        """
        if node is None:
            return (SITE, *self.upstream)
        if node not in self.nodes:
            raise no_node(self._inputs.site, node)
        own = group_chain(self.nodes[node].groups, self.groups)
        return (f"node/{node}", *own, SITE, *self.upstream)
