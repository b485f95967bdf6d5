"""What a node's agent says that it can do, beside what every agent can.

It says so with each request, in a header: a site of an earlier release passes over it, and an
agent that says nothing can't.  The site tells an agent nothing that it can't read.
"""

from collections.abc import Mapping
from typing import Final

HEADER: Final = "Hanse-Knows"

STAGED: Final = "staged"
"""Count what staged policies would decide otherwise (shared.policy.nodestaged)."""

BALANCERS: Final = "balancers"
"""Lead connections to backends (shared.policy.balancers)."""

AGENT: Final[Mapping[str, str]] = {HEADER: f"{STAGED}, {BALANCERS}"}
"""What this release's agent says."""


def abilities(header: str) -> frozenset[str]:
    """Return what a header's text names."""
    return frozenset(each.strip() for each in header.split(",") if each.strip())
