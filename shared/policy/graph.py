"""Trees given as parent links: where they go round in circles."""

from collections.abc import Mapping, Sequence


def cycles(parents: Mapping[str, str | None]) -> Sequence[Sequence[str]]:
    """Return the cycles among `parents` (name to parent's name), each in order from its least.

    Links to names that aren't keys are no part of a cycle.
    """
    if _is_forest(parents):
        return []
    import networkx as nx  # noqa: PLC0415 - rarely needed, and it takes a fifth of a second

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from((name, parent) for name, parent in parents.items() if parent is not None)
    found = []
    for cycle in nx.simple_cycles(graph):
        least = cycle.index(min(cycle))
        found.append(cycle[least:] + cycle[:least])
    return sorted(found)


def _is_forest(parents: Mapping[str, str | None]) -> bool:
    """Say whether no path outwards comes back, as is nearly always so; a graph costs far more."""
    sound: set[str] = set()
    for name in parents:
        path: set[str] = set()
        step: str | None = name
        while step is not None and step not in sound and step in parents:
            if step in path:
                return False
            path.add(step)
            step = parents[step]
        sound |= path
    return True


def ancestors(name: str, parents: Mapping[str, str | None]) -> Sequence[str]:
    """Return `name` and what is around it, outwards; a cycle is gone round once."""
    path: list[str] = []
    step: str | None = name
    while step is not None and step in parents and step not in path:
        path.append(step)
        step = parents[step]
    return path
