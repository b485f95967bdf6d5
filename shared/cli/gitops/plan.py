"""What has to be written so that a server has what a repository says, and nothing else.  Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from shared.cli.answers import Delete, Object, Put
from shared.cli.gitops.manifest import Manifest
from shared.cli.gitops.ownership import claimed, is_as_applied, normal, owner_of, released
from shared.errors import Invalid
from shared.ids import Key
from shared.model.documents import Parsed, to_plain
from shared.model.kinds import KINDS

LOCAL: Final = (None, "local")
"""Origins of what a server itself has; all else is inherited there."""

# A pruning up to this number is never too many, as long as something is left.
_FEW: Final = 3


class Action(StrEnum):
    """What becomes of an object."""

    CREATE = "create"
    UPDATE = "update"
    ADOPT = "adopt"
    """It is there and nobody owns it; it may change as well."""
    TAKE_OVER = "take over"
    """Another manifest owns it."""
    KEEP = "keep"
    PRUNE = "prune"
    RELEASE = "release"
    """It is no longer in the repository, and stays without an owner."""


OUTCOMES: Final[Mapping[Action, str]] = {
    Action.CREATE: "created",
    Action.UPDATE: "configured",
    Action.ADOPT: "adopted",
    Action.TAKE_OVER: "taken over",
    Action.KEEP: "unchanged",
    Action.PRUNE: "pruned",
    Action.RELEASE: "released",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One object: what is there, what the repository says, and what has to be done."""

    key: Key
    action: Action
    live: Object | None
    document: Parsed | None
    written: Mapping[str, Any] | None
    """The document to be sent, as a manifest writes it; None for a deletion."""

    @property
    def place(self) -> str:
        """Where it comes from, for messages."""
        if self.document is None:
            return f"{self.action} of {self.key}"
        return f"{self.document.file}:{self.document.line}"

    @property
    def content_differs(self) -> bool:
        """Whether more than the owner changes."""
        if self.live is None or self.document is None:
            return self.action is not Action.RELEASE
        return normal(self.live.as_written(), self.key) != normal(_plain(self), self.key)

    def operation(self) -> Put | Delete:
        """Return what to send: only if the object is still as it was compared."""
        at = 0 if self.live is None else self.live.revision
        if self.written is None:
            return Delete(self.key.kind, self.key.name, self.key.tenant, self.key.scope, at)
        asked = None if self.document is None else self.document.envelope.metadata.revision
        return Put(self.written, at if asked is None else asked)


@dataclass(frozen=True, slots=True)
class Plan:
    """All objects of a repository, in its order, then those that it has no longer.

    `foreign` are steps on objects that another manifest owns.
    """

    manifest: Manifest | None
    steps: tuple[Step, ...]
    owned: int

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that write; a secret can't be compared, so the server is to judge."""
        return tuple(
            each
            for each in self.steps
            if each.action is not Action.KEEP or KINDS[each.key.kind].secret
        )

    @property
    def differences(self) -> tuple[Step, ...]:
        return tuple(each for each in self.steps if each.action is not Action.KEEP)

    def of(self, *actions: Action) -> tuple[Step, ...]:
        return tuple(each for each in self.steps if each.action in actions)


def make_plan(
    documents: Iterable[tuple[Key, Parsed]],
    live: Mapping[Key, Object],
    manifest: Manifest | None,
    *,
    keep: frozenset[tuple[str, str]] = frozenset(),
) -> Plan:
    """Compare; without a manifest nothing is owned, and nothing pruned.

    `keep` are kind and name of objects that are to stay although the repository has them no
    longer.  Of what a server has by inheritance nothing is touched.
    """
    steps = [_step(key, parsed, live.get(key), manifest) for key, parsed in documents]
    wanted = {each.key for each in steps}
    owned = {
        key: found
        for key, found in live.items()
        if manifest and found.origin in LOCAL and manifest.is_ours(owner_of(found))
    }
    for key in sorted(owned.keys() - wanted):
        found = owned[key]
        if (key.kind, key.name) in keep:
            steps.append(Step(key, Action.RELEASE, found, None, released(found)))
        else:
            steps.append(Step(key, Action.PRUNE, found, None, None))
    return Plan(manifest, tuple(steps), len(owned))


def _step(key: Key, parsed: Parsed, live: Object | None, manifest: Manifest | None) -> Step:
    document = to_plain(parsed.envelope)
    if manifest is not None:
        document = claimed(document, key, manifest.manifest)
    return Step(key, _action(key, document, live, manifest), live, parsed, document)


def _action(
    key: Key, document: Mapping[str, Any], live: Object | None, manifest: Manifest | None
) -> Action:
    if live is None:
        return Action.CREATE
    differs = normal(live.as_written(), key) != normal(dict(document), key)
    if manifest is not None:
        owner = owner_of(live)
        if owner is None:
            return Action.ADOPT
        if not manifest.is_ours(owner):
            return Action.TAKE_OVER
        differs = differs or owner != manifest.manifest or not is_as_applied(live)
    return Action.UPDATE if differs else Action.KEEP


def _plain(step: Step) -> dict[str, Any]:
    assert step.document is not None, "only asked of what the repository has"
    return to_plain(step.document.envelope)


def refuse_foreign(plan: Plan) -> None:
    """Invalid (`owned_by_another`), with every object that another manifest owns."""
    foreign = plan.of(Action.TAKE_OVER)
    if foreign:
        names = "; ".join(f"{each.key} is {owner_of(each.live)}'s" for each in foreign if each.live)
        raise Invalid(
            f"another manifest owns what this repository has: {names}. Take it out of one of the "
            "two, or give --take-over",
            code="owned_by_another",
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """How many objects one pruning may delete: a number, or a share of what is owned."""

    number: int | None = None
    percent: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read `20` or `30%`; ValueError if it is neither."""
        value, is_share = text.removesuffix("%"), text.endswith("%")
        if not (value.isascii() and value.isdecimal()) or (is_share and int(value) > 100):
            raise ValueError(f"{text!r} is neither a number nor a share: write 20 or 30%")
        return cls(None, int(value)) if is_share else cls(int(value), None)


DEFAULT_PERCENT: Final = 25


def refuse_many(plan: Plan, limit: Limit | None) -> None:
    """Invalid (`prunes_too_much`) if a pruning deletes more than was said, or than seems meant.

    Without a limit: all that the manifest owns, or more than three and a quarter of it.
    """
    pruned = plan.of(Action.PRUNE)
    if not pruned:
        return
    if limit is None:
        share = len(pruned) * 100 > DEFAULT_PERCENT * plan.owned
        refused = len(pruned) == plan.owned or (share and len(pruned) > _FEW)
    elif limit.number is not None:
        refused = len(pruned) > limit.number
    else:
        refused = len(pruned) * 100 > (limit.percent or 0) * plan.owned
    if refused:
        raise Invalid(
            f"this would delete {len(pruned)} of the {plan.owned} objects that the manifest owns: "
            f"{_named(pruned)}. If that is meant, say so: --prune-at-most {len(pruned)}",
            code="prunes_too_much",
        )


def _named(steps: Sequence[Step]) -> str:
    shown = ", ".join(f"{each.key.kind.lower()}/{each.key.name}" for each in steps[:10])
    return shown if len(steps) <= 10 else f"{shown} and {len(steps) - 10} more"
