"""What is wrong with documents taken together, as values.

Each check is a pure function from documents to faults.  The same ones serve `validate` on files,
the FSM's admission and an SDSP's.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shared.ids import Key
from shared.policy.inputs import Document

UNKNOWN: Final = {
    kind: f"unknown_{word}"
    for kind, word in {
        "Region": "region",
        "Site": "site",
        "Tenant": "tenant",
        "NodeGroup": "group",
        "Node": "node",
        "Network": "network",
        "Service": "service",
    }.items()
}
"""The code of a reference to an object of this kind that isn't there."""


_DISCREET: Final = {
    "address_taken": (
        "an address of these can't be this tenant's here; ask whoever gives out this site's "
        "addresses for others"
    ),
    "would_unresolve": (
        "a rule that you may not see uses a name that would mean nothing any more; define it "
        "elsewhere first, or write with --force (which needs the permission override)"
    ),
    "in_use": (
        "it is still named by something that you may not see; ask somebody who sees all tenants "
        "to change that first"
    ),
}
_DISCREETLY: Final = (
    "this clashes with something that you may not see; ask somebody who sees all tenants"
)


def discreet(code: str) -> str:
    """Return what is said of a fault to somebody who may not see what it is about."""
    return _DISCREET.get(code, _DISCREETLY)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a document names and isn't there."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong.  `path` is the field (`spec.rules[0].from[1].network`).

    `document` is where it stands; None where a document is missing.  `refers` is what an
    unknown reference names; `others` are the documents beside it that the message tells of.
    """

    document: Document | None = field(compare=False)
    path: str = field(compare=False)
    code: str
    message: str
    refers: Reference | None = None
    others: tuple[Document, ...] = field(default=(), compare=False)
    key: Key | None = field(init=False)

    def __post_init__(self) -> None:
        key = self.document.key if self.document is not None else None
        object.__setattr__(self, "key", key)

    def told_to(self, may_see: Callable[[Document], bool]) -> str:
        """Return the message, or one that names nothing if it tells of what may not be seen."""
        about = self.others if self.document is None else (self.document, *self.others)
        return self.message if all(map(may_see, about)) else discreet(self.code)


def unknown(document: Document, path: str, kind: str, name: str, hint: str = "") -> Fault:
    """Return the fault of naming what isn't there."""
    word = UNKNOWN[kind].removeprefix("unknown_")
    message = f"there is no {word} {name}{f' {hint}' if hint else ''}; declare it or mend the name"
    return Fault(document, path, UNKNOWN[kind], message, Reference(kind, name))


def new_faults(before: Iterable[Fault], after: Iterable[Fault]) -> Iterator[Fault]:
    """Yield the faults of `after` that were not there before, wherever in its document.

    A write is refused for what it makes worse, not for what upstream has brought.
    """
    known = set(before)
    for fault in after:
        if fault not in known:
            yield fault
