"""A conflict as a server showed it, read for people.

Answers may come from another version of the program: what is left out has its default, and what
isn't known here is ignored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self

from pydantic import ValidationError

from shared.cli.answers import Object, moment_of
from shared.ids import COMMON, SITE
from shared.model.kinds import KINDS
from shared.policy.merging import exempted, merge

JSON = Mapping[str, Any]

SIDES: Final = ("base", "local", "global")
_VERSIONS: Final[Mapping[str, Sequence[str]]] = {
    "edited_both": SIDES,
    "deleted_upstream": ("base", "local"),
    "name_taken": ("local", "global"),
    "upstream_went_back": ("base", "global"),
    "local_login_forbidden": (),
    "schedule_differs": ("local", "global"),
}
"""Which versions there are, by type; one of them may be an empty spec all the same."""

_URGENCIES: Final = ("immediate", "normal", "deferrable")
_STATES: Final = ("open", "deferred", "resolved")


@dataclass(frozen=True, slots=True)
class Case:
    """One conflict."""

    found: Object

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def type(self) -> str:
        return str(self.found.spec.get("type", ""))

    @property
    def facts(self) -> JSON:
        facts: JSON = self.found.spec.get("facts") or {}
        return facts

    @property
    def kind(self) -> str:
        return str(self._target.get("kind", ""))

    @property
    def target(self) -> str:
        """What it is about: kind, name, and the tenant if it isn't common."""
        tenant = self._target.get("tenant", COMMON)
        named = f"{self.kind} {self._target.get('name', '')}"
        return named if tenant == COMMON else f"{named} (tenant {tenant})"

    @property
    def _target(self) -> JSON:
        target: JSON = self.found.spec.get("target") or {}
        return target

    @property
    def about(self) -> str:
        """Which of several of its type and target it is: an Override, a rule, a name, a scope."""
        override = self.facts.get("override")
        if isinstance(override, Mapping):
            return str(override.get("name", ""))
        if self.many_rules:
            return f"{self.many_rules} rules"
        subject = str(self.found.spec.get("subject", ""))
        # Most objects are the site's, which need not be said.
        return "" if self.facts.get("scope") == SITE else subject

    @property
    def many_rules(self) -> int:
        """How many rules of a policy it is about, of one for all of them; else 0."""
        is_one = self.type in ("shadowed_rule", "contradicts_mandatory")
        return int(self.facts.get("count", 0)) if is_one else 0

    @property
    def urgency(self) -> str:
        return str(self.found.spec.get("urgency", "normal"))

    @property
    def state(self) -> str:
        return str(self.found.spec.get("state", "open"))

    @property
    def deadline(self) -> datetime | None:
        return moment_of(self.found.spec.get("deadline"))

    @property
    def deferred_until(self) -> datetime | None:
        """Until when it was put off; None if it wasn't."""
        return moment_of((self.found.spec.get("deferred") or {}).get("until"))

    @property
    def asked(self) -> JSON:
        """What the federation was asked, and what it answered; empty if it wasn't."""
        asked: JSON = self.found.spec.get("asked") or {}
        return asked

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is to be done here before the federation has answered."""
        waiting = bool(self.asked) and self.asked.get("state", "waiting") == "waiting"
        return waiting and self.state == "deferred" and self.deferred_until is None

    @property
    def versions(self) -> Mapping[str, JSON]:
        """The versions there are, by side, without what an exception can't set."""
        sides = _VERSIONS.get(self.type)
        if sides is None:
            sides = [side for side in SIDES if self.found.spec.get(side)]
        return {side: exempted(self.found.spec.get(side) or {}) for side in sides}

    @property
    def overlaps(self) -> Sequence[str]:
        """The fields that both sides changed, and not alike."""
        return tuple(self.found.spec.get("fields") or ())

    @property
    def proposals(self) -> Sequence[JSON]:
        return tuple(self.found.spec.get("proposals") or ())

    def with_impacts(self, impacts: Iterable[JSON]) -> Self:
        """Return the conflict with what the server says that each proposal would change."""
        by_name = {each["name"]: each for each in impacts}
        proposals = [{**each, **by_name.get(each.get("name"), {})} for each in self.proposals]
        document = self.found.document
        spec = {**self.found.spec, "proposals": proposals}
        return replace(self, found=Object({**document, "spec": spec}))

    def proposal(self, name: str) -> JSON | None:
        """Return the proposal of that name; None if it isn't offered."""
        return next((each for each in self.proposals if each.get("name") == name), None)

    @property
    def running(self) -> JSON | None:
        """The target's spec as it counts here until somebody decides; None if that isn't told."""
        versions = self.versions
        if self.type == "name_taken":
            return versions["global"]
        if self.type == "deleted_upstream":
            return {}
        if self.type != "edited_both":
            return None
        runs = self.runs
        if runs == "merge":
            return merge(*(versions[side] for side in SIDES)).spec
        return versions["global" if runs == "applyGlobal" else "local"]

    @property
    def runs(self) -> str:
        """What counts of an `edited_both`: `merge`, `keepLocal` or `applyGlobal`.

        A merge that isn't valid doesn't: then the exception counts as it is.
        """
        runs = str(self.facts.get("runs", ""))
        return "keepLocal" if runs == "merge" and not self.merges else runs

    @property
    def merges(self) -> bool:
        """Whether the merge of both sides is valid, with the local side where they overlap."""
        kind = KINDS.get(self.kind)
        if self.type != "edited_both" or kind is None:
            return False
        merged = merge(*(self.versions[side] for side in SIDES)).spec
        try:
            kind.spec.model_validate(merged)
        except ValidationError:
            return False
        return True

    def rank(self, now: datetime) -> tuple[Any, ...]:
        """Where it comes in a list, the most pressing first."""
        deadline = self.deadline
        # What is overdue comes first, how urgent it may be.
        overdue = self.state == "open" and deadline is not None and deadline <= now
        last = -(self.found.updated_at.timestamp() if self.found.updated_at else 0)
        return (
            _place(_STATES, self.state),
            last if self.state == "resolved" else 0,
            not overdue,
            _place(_URGENCIES, self.urgency),
            (deadline is None, deadline.timestamp() if deadline else 0),
            self.name,
        )


def _place(words: Sequence[str], word: str) -> int:
    return words.index(word) if word in words else len(words)
