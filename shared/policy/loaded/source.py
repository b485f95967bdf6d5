"""What a loaded site is made from: objects as a store holds them, indexed by name and scope.

Specs are JSON data that was validated when it was written.  Reading each into its model would
cost more than compiling it, so that is done only where a name is defined more than once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from shared.ids import Key
from shared.model.kinds import KINDS
from shared.policy.definitions import (
    Exemption,
    Name,
    name_of,
    read_exemption,
    target_of,
)
from shared.policy.inherit import Effective
from shared.policy.inputs import Document, SiteInputs, is_inherited_scope

JSON = Mapping[str, Any]

NAMED_KINDS: Final = frozenset(
    {"Network", "Service", "SecurityPolicy", "LoadBalancer", "ServicePolicy"}
)
"""The inherited kinds that decide what nodes enforce."""


_NARROW: Final = ("node/", "group/")


class Source:
    """One object; `data` is its spec as plain JSON in the form of Spec.to_json()."""

    __slots__ = ("_document", "_whole", "data", "key", "labels", "revision")

    def __init__(
        self, key: Key, data: JSON, labels: Mapping[str, str], revision: int | None = None
    ) -> None:
        self.key = key
        self.data = data
        self.labels = labels
        self.revision = revision
        self._document: Document | None = None
        self._whole: Document | None = None

    @classmethod
    def of(cls, document: Document) -> "Source":
        """Return a document's source; a file's documents come this way."""
        return cls(document.key, document.spec.to_json(), document.labels, document.revision)

    @property
    def document(self) -> Document:
        """The object for questions of inheritance: a SecurityPolicy is read without its rules."""
        if self._document is None:
            data = self.data
            if self.key.kind == "SecurityPolicy":
                data = {**data, "rules": []}
            self._document = self._read(data)
        return self._document

    @property
    def whole(self) -> Document:
        """The object with all that it says, as an exception to it is merged with it."""
        if self._whole is None:
            self._whole = self._read(self.data)
        return self._whole

    def _read(self, data: JSON) -> Document:
        spec = KINDS[self.key.kind].spec.model_validate(data)
        return Document(self.key, spec, self.labels, self.revision)

    @property
    def is_sealed(self) -> bool:
        """Whether a network or service that means something seals its name: see is_sealed of
        shared.policy.inherit.
        """
        sealed: bool | None = self.data.get("sealed")
        if sealed is None:
            return self.key.kind == "Service" and is_inherited_scope(self.key.scope)
        return sealed


_NO_SOURCE: Final[Mapping[str, Source]] = {}
_NOTHING: Final[Mapping[str, Mapping[str, Source]]] = {}


class LoadedDefinitions:
    """Definitions that are added and removed one by one; a shared.policy.definitions.ByScope."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._sources: Final[dict[str, dict[str, dict[str, dict[str, Source]]]]] = {
            kind: {} for kind in NAMED_KINDS
        }
        """By kind, tenant, name and scope."""
        self._overrides: Final[dict[Name, dict[str, list[Exemption]]]] = {}
        self._targets: Final[dict[Key, Name]] = {}
        self.narrow_scopes: Final[Counter[str]] = Counter()
        """How many definitions and overrides there are in each scope of a node or a group."""
        for source in sources:
            self.put(source)

    def put(self, source: Source) -> Name | None:
        """Add or replace a definition or an Override; return the name that it concerns, if any."""
        key = source.key
        if key.kind == "Override":
            return self._put_override(source)
        kind, tenant, scope, name = key
        names = self._sources[kind].get(tenant)
        if names is None:
            names = self._sources[kind][tenant] = {}
        by_scope = names.get(name)
        if by_scope is None:
            by_scope = names[name] = {}
        if scope not in by_scope:
            self._count(scope, 1)
        by_scope[scope] = source
        return Name(kind, tenant, name)

    def discard(self, key: Key) -> Name | None:
        """Remove a definition or an Override; return the name that it concerned, if any."""
        if key.kind == "Override":
            return self._discard_override(key)
        names = self._sources[key.kind].get(key.tenant, {})
        by_scope = names.get(key.name, {})
        if by_scope.pop(key.scope, None) is None:
            return None
        self._count(key.scope, -1)
        if not by_scope:
            del names[key.name]
        return name_of(key)

    def target(self, key: Key) -> Name | None:
        """Return the name that an Override which is here concerns."""
        return self._targets.get(key)

    def of_tenant(self, kind: str, tenant: str) -> Mapping[str, Mapping[str, Source]]:
        """Return a tenant's definitions of a kind, by name and scope."""
        return self._sources[kind].get(tenant, _NOTHING)

    def sources(self, name: Name) -> Mapping[str, Source]:
        """Return a name's definitions by scope, as they are stored."""
        return self.of_tenant(name.kind, name.tenant).get(name.name, _NO_SOURCE)

    def rules(self, name: Name, effective: Effective) -> list[JSON]:
        """Return the rules of a policy that was chosen for a name, as plain data."""
        if effective.override is None:
            return list(self.sources(name)[effective.document.key.scope].data["rules"])
        return list(effective.spec.to_json()["rules"])

    @property
    def exempted(self) -> Iterable[tuple[Name, Exemption]]:
        """All Overrides, each with the name of its target."""
        for name, by_scope in self._overrides.items():
            for found in by_scope.values():
                for exemption in found:
                    yield name, exemption

    @property
    def exempted_kinds(self) -> frozenset[str]:
        """The kinds of the Overrides' targets."""
        return frozenset(name.kind for name in self._overrides)

    def has_exemptions(self, name: Name) -> bool:
        return name in self._overrides

    def names(self, kind: str) -> Iterable[Name]:
        for tenant, names in self._sources[kind].items():
            for name in names:
                yield Name(kind, tenant, name)

    def of(self, name: Name) -> Mapping[str, Document]:
        sources = self.sources(name).items()
        if name in self._overrides:
            return {scope: source.whole for scope, source in sources}
        return {scope: source.document for scope, source in sources}

    def exemptions(self, name: Name) -> Mapping[str, list[Exemption]]:
        return self._overrides.get(name, {})

    def _put_override(self, source: Source) -> Name | None:
        self._discard_override(source.key)
        found = read_exemption(source.document)
        if found is None:
            return None
        name = target_of(found.terms)
        if name.kind not in NAMED_KINDS:
            return None
        same = self._overrides.setdefault(name, {}).setdefault(source.key.scope, [])
        same.append(found)
        # Two in one scope are refused; should they meet, the first by name counts.
        same.sort(key=lambda each: each.document.key)
        self._targets[source.key] = name
        self._count(source.key.scope, 1)
        return name

    def _discard_override(self, key: Key) -> Name | None:
        name = self._targets.pop(key, None)
        if name is None:
            return None
        by_scope = self._overrides[name]
        by_scope[key.scope] = [each for each in by_scope[key.scope] if each.document.key != key]
        if not by_scope[key.scope]:
            del by_scope[key.scope]
        if not by_scope:
            del self._overrides[name]
        self._count(key.scope, -1)
        return name

    def _count(self, scope: str, by: int) -> None:
        if scope.startswith(_NARROW):
            self.narrow_scopes[scope] += by
            if not self.narrow_scopes[scope]:
                del self.narrow_scopes[scope]


def sources_of(inputs: SiteInputs) -> list[Source]:
    """Return the sources of a site's documents; of named kinds only those that are at home."""
    return [
        Source.of(document)
        for documents, inherited in ((inputs.federation, True), (inputs.local, False))
        for document in documents
        if document.key.kind not in NAMED_KINDS
        or is_inherited_scope(document.key.scope) is inherited
    ]
