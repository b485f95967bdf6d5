"""Which definition counts in one view: the nearest, unless it is sealed off or mandatory.

A view is a chain at one moment.  Policies and settings: the nearest wins whole, a mandatory one
over any nearer.  Networks and services: the nearest that has subnets or entries, a sealed one
over any nearer.  An Override stands in the place of the inherited definition that is in force.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from shared.model.base import Spec
from shared.model.network import Network, Service
from shared.model.policy import SecurityPolicy
from shared.model.selectors import Selector
from shared.policy.definitions import ByScope, Definitions, Exemption, Name
from shared.policy.exceptions import combine
from shared.policy.inputs import LOCAL, Document, is_inherited_scope
from shared.policy.scopes import Chain

OVERRIDE: Final = "override"

Tier = Literal["mandatory", "local", "default"]
Why = Literal["not_selected", "staged", "replaced", "suspended", "expired", "no_effect"]
"""Why a document that reaches a view doesn't count there."""


@dataclass(frozen=True, slots=True)
class Effective:
    """What counts for a name in one view.

    `document` is the definition itself (an override's target), `spec` what to use of it:
    the override's where there is one.
    """

    document: Document
    spec: Spec = field(hash=False)
    override: Document | None = None

    @property
    def scope(self) -> str:
        """Where it is defined, as answers show it."""
        return self.document.key.scope if self.override is None else OVERRIDE

    @property
    def origin(self) -> str:
        return self.document.origin if self.override is None else OVERRIDE

    @property
    def source(self) -> Document:
        """The document whose text is used."""
        return self.document if self.override is None else self.override

    @property
    def is_mandatory(self) -> bool:
        return is_mandatory(self.document)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A document that reaches the view and doesn't count there; `by` is what counts instead."""

    document: Document
    why: Why
    by: Document | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a chain makes of one name of a policy or of settings.

    `tier` is where a policy is evaluated: a local one that replaces an inherited default one
    stands in the default tier.
    """

    effective: Effective | None
    tier: Tier = "local"
    left_out: tuple[LeftOut, ...] = ()


def is_mandatory(document: Document) -> bool:
    """Return whether it is an inherited mandatory policy (of rules or of settings)."""
    return (
        is_inherited_scope(document.key.scope)
        and getattr(document.spec, "enforcement", None) == "mandatory"
    )


def is_sealed(document: Document) -> bool:
    """Return whether a nearer definition of its name is refused: services of the FSM are, unless
    they say otherwise; what has no subnets or entries seals nothing.
    """
    spec = document.spec
    if not has_meaning(spec):
        return False
    sealed: bool | None = getattr(spec, "sealed", None)
    if sealed is None:
        return isinstance(spec, Service) and is_inherited_scope(document.key.scope)
    return sealed


def has_meaning(spec: Spec) -> bool:
    """Return whether a Network has subnets, or a Service entries; one without only declares."""
    if isinstance(spec, Network):
        return bool(spec.subnets)
    return isinstance(spec, Service) and bool(spec.entries)


def selects(document: Document, labels: Mapping[str, str]) -> bool:
    """Return whether a policy applies to a site with these labels."""
    sites: Selector | None = getattr(document.spec, "sites", None)
    return sites is None or sites.matches(labels)


class Inheritance:
    """Chooses, for the chains of one site at one moment.

    With `staged`, staged policies count as enforced; else they replace and suspend nothing.
    """

    def __init__(
        self,
        definitions: ByScope,
        *,
        labels: Mapping[str, str],
        now: datetime,
        staged: bool = False,
    ) -> None:
        self._definitions = definitions
        self._labels = labels
        self._now = now
        self._staged = staged

    def declares(self, name: Name, chain: Chain) -> bool:
        """Return whether the chain declares the name, with or without a meaning."""
        by_scope = self._definitions.of(name)
        return any(scope in by_scope for scope in chain)

    def definition(self, name: Name, chain: Chain) -> Effective | None:
        """Return what a network's or service's name means; None if that is unresolved."""
        defined = _along(chain, self._definitions.of(name))
        inherited = [each for each in defined if is_inherited_scope(each.key.scope)]
        counting = _unsealed([each for each in defined if has_meaning(each.spec)])
        if counting is not None and not is_inherited_scope(counting.key.scope):
            return Effective(counting, counting.spec)
        if not inherited:
            return None
        # Where no inherited definition has a meaning, an override stands for the declaration.
        target = counting or inherited[0]
        exempted = self._exempted(name, chain, target)
        if exempted is None:
            return Effective(counting, counting.spec) if counting is not None else None
        return exempted if has_meaning(exempted.spec) else None

    def choose(self, name: Name, chain: Chain) -> Choice:
        """Return which policy or settings of a name count, and why the others don't."""
        left_out: list[LeftOut] = []
        present = list(self._present(name, chain, left_out))
        inherited = [each for each in present if is_inherited_scope(each.key.scope)]
        local = [each for each in present if not is_inherited_scope(each.key.scope)]
        # Two mandatory ones of a name are refused on the FSM; should they meet, the outer holds.
        mandatory = [each for each in inherited if is_mandatory(each)]
        target = mandatory[-1] if mandatory else next(iter(inherited), None)
        if local and not mandatory:
            chosen = Effective(local[0], local[0].spec)
            left_out += self._unused(name, chain, by=local[0])
        elif target is not None:
            chosen = self._exempted(name, chain, target) or Effective(target, target.spec)
            left_out += self._unused(name, chain, by=chosen.source)
        else:
            left_out += self._unused(name, chain)
            return Choice(None, left_out=tuple(left_out))
        for each in present:
            if each is not chosen.source:
                why: Why = "suspended" if mandatory and each.origin == LOCAL else "replaced"
                left_out.append(LeftOut(each, why, chosen.source))
        tier: Tier = "mandatory" if mandatory else "default" if inherited else "local"
        return Choice(chosen, tier, tuple(left_out))

    def _present(self, name: Name, chain: Chain, left_out: list[LeftOut]) -> Iterator[Document]:
        for document in _along(chain, self._definitions.of(name)):
            if is_inherited_scope(document.key.scope) and not selects(document, self._labels):
                left_out.append(LeftOut(document, "not_selected"))
            elif not self._counts(document.spec):
                left_out.append(LeftOut(document, "staged"))
            else:
                yield document

    def _exempted(self, name: Name, chain: Chain, target: Document) -> Effective | None:
        """Return what the nearest Override that counts now makes of its target.

        None if there is none, or if the target itself runs since both have changed.
        """
        by_scope = self._definitions.exemptions(name)
        for exemption in (each for scope in chain for each in by_scope.get(scope, ())):
            if self._expired(exemption):
                continue
            spec = combine(exemption, target).spec
            if spec is None:
                return None
            if self._counts(spec):
                return Effective(target, spec, exemption.document)
        return None

    def _unused(self, name: Name, chain: Chain, *, by: Document | None = None) -> Iterator[LeftOut]:
        by_scope = self._definitions.exemptions(name)
        for exemption in (each for scope in chain for each in by_scope.get(scope, ())):
            if exemption.document is by:
                continue
            if self._expired(exemption):
                yield LeftOut(exemption.document, "expired")
            elif not self._counts(exemption.spec):
                yield LeftOut(exemption.document, "staged")
            elif by is None:
                yield LeftOut(exemption.document, "no_effect")
            else:
                yield LeftOut(exemption.document, "replaced", by)

    def _expired(self, exemption: Exemption) -> bool:
        expires_at = exemption.terms.expires_at
        return expires_at is not None and expires_at <= self._now

    def _counts(self, spec: Spec) -> bool:
        return self._staged or not (isinstance(spec, SecurityPolicy) and spec.stage == "staged")


def _along(chain: Chain, by_scope: Mapping[str, Document]) -> list[Document]:
    if len(by_scope) == 1:
        ((scope, document),) = by_scope.items()
        return [document] if scope in chain else []
    return [by_scope[scope] for scope in chain if scope in by_scope]


def _unsealed(defined: Sequence[Document]) -> Document | None:
    """Return the nearest of `defined` (nearest first) that no farther one seals off."""
    for document in reversed(defined):
        if is_sealed(document):
            return document
    return next(iter(defined), None)


def effective_settings(
    inheritance: Inheritance, definitions: Definitions, kind: str, chain: Chain
) -> Mapping[Name, Effective]:
    """Return the settings of a kind that count along a chain, by name, in name order."""
    chosen = {
        name: choice.effective
        for name in sorted(definitions.names(kind))
        if (choice := inheritance.choose(name, chain)).effective is not None
    }
    return {name: effective for name, effective in chosen.items() if effective is not None}
