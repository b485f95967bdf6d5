"""Every definition at a site, by name and then by scope: what the chains choose from.

The first layer of the planner: it depends on documents alone, on no chain and on no time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from pydantic import ValidationError

from shared.ids import Key
from shared.model.base import Spec
from shared.model.kinds import KINDS
from shared.model.override import Override
from shared.policy.inputs import Document, SiteInputs, is_inherited_scope

INHERITED_KINDS: Final = frozenset(name for name, kind in KINDS.items() if kind.inheritance)
"""The kinds whose objects are inherited along the chain, and which an Override may target."""


class Name(NamedTuple):
    """What definitions in different scopes have in common."""

    kind: str
    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class Exemption:
    """An Override with its inner spec read."""

    document: Document
    terms: Override = field(hash=False)
    spec: Spec = field(hash=False)


def target_of(override: Override) -> Name:
    return Name(override.target.kind, override.target.tenant, override.target.name)


def read_exemption(document: Document) -> Exemption | None:
    """Return an Override with its inner spec read; None if that can't be read.

    Whoever admits documents refuses such a one; should one be there all the same, it has no
    effect and the inherited definition stays in force.
    """
    terms = document.spec
    if not isinstance(terms, Override) or terms.target.kind not in INHERITED_KINDS:
        return None
    try:
        spec = KINDS[terms.target.kind].spec.model_validate(terms.spec)
    except ValidationError:
        return None
    return Exemption(document, terms, spec)


class ByScope(Protocol):
    """What a chain chooses from: a name's definitions and Overrides, by scope."""

    def of(self, name: Name) -> Mapping[str, Document]: ...

    def exemptions(self, name: Name) -> Mapping[str, list[Exemption]]: ...


class Definitions:
    """The definitions of one site's inputs, inherited and local."""

    def __init__(self, inputs: SiteInputs) -> None:
        self._by_name: dict[Name, dict[str, Document]] = {}
        self._exemptions: dict[Name, dict[str, list[Exemption]]] = {}
        self._names: dict[str, list[Name]] = {}
        for document in _inherited_kinds(inputs):
            key = document.key
            name = Name(key.kind, key.tenant, key.name)
            if name not in self._by_name:
                self._by_name[name] = {}
                self._names.setdefault(key.kind, []).append(name)
            self._by_name[name][key.scope] = document
        # Two in one scope are refused; should they meet, the first by name counts.
        for document in sorted(inputs.local.of_kind("Override"), key=lambda each: each.key):
            if (found := read_exemption(document)) is not None:
                by_scope = self._exemptions.setdefault(target_of(found.terms), {})
                by_scope.setdefault(document.key.scope, []).append(found)
        self.scopes: Final = frozenset().union(*self._by_name.values(), *self._exemptions.values())

    def names(self, kind: str) -> Iterable[Name]:
        """Return the names that have a definition of this kind in any scope."""
        return self._names.get(kind, ())

    def of(self, name: Name) -> Mapping[str, Document]:
        """Return a name's definitions by scope."""
        return self._by_name.get(name, {})

    def exemptions(self, name: Name) -> Mapping[str, list[Exemption]]:
        """Return the Overrides of a name by their scope."""
        return self._exemptions.get(name, {})


def name_of(key: Key) -> Name:
    return Name(key.kind, key.tenant, key.name)


def _inherited_kinds(inputs: SiteInputs) -> Iterable[Document]:
    # An object in the wrong home is a fault elsewhere; here it must not hide the right one.
    for kind in INHERITED_KINDS:
        for document in inputs.federation.of_kind(kind):
            if is_inherited_scope(document.key.scope):
                yield document
        for document in inputs.local.of_kind(kind):
            if not is_inherited_scope(document.key.scope):
                yield document
