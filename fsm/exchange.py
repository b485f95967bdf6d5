"""Who has followed an exchange of the root or the issuing CA, and who hasn't yet.  Pure.

A site says in its reports which roots it and its nodes trust, and beneath which issuing CA its own
CA and its nodes' certificates are.  One that hasn't said it, cut off perhaps, hasn't followed.
An FSM process hasn't either whose folder is a copy made before another process went on.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Behind:
    """A site that hasn't followed; `nodes` are those of its nodes that haven't, None: it itself."""

    site: str
    nodes: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.nodes is None:
            return self.site
        return f"{self.site} ({', '.join(self.nodes)})"


def without_root(
    sites: Iterable[str], reports: Mapping[str, JSON], fingerprint: str
) -> list[Behind]:
    """Return the joined sites that don't trust a root yet, or have nodes that don't."""
    found = []
    for site in sorted(sites):
        said = _said(reports, site)
        if fingerprint not in said.get("roots", ()):
            found.append(Behind(site))
        elif nodes := said.get("untrusting"):
            found.append(Behind(site, tuple(nodes)))
    return found


def beneath_another(
    sites: Iterable[str], reports: Mapping[str, JSON], issuing: str
) -> list[Behind]:
    """Return the joined sites whose CA is not from this issuing CA, or whose nodes' isn't."""
    found = []
    for site in sorted(sites):
        said = _said(reports, site)
        if said.get("issuing") != issuing:
            found.append(Behind(site))
        elif nodes := said.get("behind"):
            found.append(Behind(site, tuple(nodes)))
    return found


_STAYING: Final = (("root", "current"), ("root", "next"))


@dataclass(frozen=True, slots=True)
class FolderSerials:
    """Serial numbers of the CAs in an FSM's folder; `coming` is the root that is to follow."""

    issuing: str
    roots: frozenset[str]
    coming: str | None


def is_left_behind(
    serials: FolderSerials, published: Mapping[str, JSON], recorded: Container[str]
) -> bool:
    """Return whether others have gone on since what lies in a folder was published.

    `published` are the TrustAnchors' specs by serial, `recorded` the serials of all that was ever
    issued and hasn't expired.  An issuing CA that nobody knows is new; one that is known and isn't
    the one of now was left behind.  A new root is published at once; it is never taken back, and
    one that was dropped never comes again.
    """
    if not published:
        return False
    states = {serial: (each["role"], each["state"]) for serial, each in published.items()}
    if states.get(serials.issuing) != ("issuing", "current"):
        return serials.issuing in recorded
    stays = {serial for serial, state in states.items() if state in _STAYING}
    return not stays <= serials.roots or not serials.roots <= states.keys() | {serials.coming}


def _said(reports: Mapping[str, JSON], site: str) -> JSON:
    said: JSON = (reports.get(site) or {}).get("trust") or {}
    return said
