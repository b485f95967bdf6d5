"""What a disagreement between a site and what it inherits is, before anybody has dealt with it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.model.override import ConflictType, ProposalName, Urgency
from shared.policy.definitions import Name

JSON = Mapping[str, Any]

_LONGEST: Final = 180
"""Characters of a target's name in a conflict's: the whole must stay a name."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A way out.

    `spec` is the target's that would result here, without what an exception can't set; None where
    that is made only once somebody asks (shared.policy.ways).
    """

    name: ProposalName
    spec: JSON | None = field(default=None, hash=False)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name} if self.spec is None else {"name": self.name, "spec": self.spec}


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement.

    `type`, `target` and `subject` identify it: found again tomorrow, it is the same conflict.
    `subject` tells those of one type and target apart: the Override, the rule, the name.  Versions
    that there are none of are empty.  `facts` is what else was found, in the words of its type's
    module.
    """

    type: ConflictType
    target: Name
    subject: str = ""
    urgency: Urgency = "normal"
    base: JSON = field(default_factory=dict, hash=False)
    local: JSON = field(default_factory=dict, hash=False)
    inherited: JSON = field(default_factory=dict, hash=False)
    fields: tuple[str, ...] = ()
    facts: JSON = field(default_factory=dict, hash=False)
    proposals: tuple[Proposal, ...] = ()
    tenant: str = ""
    """Whose conflict it is; left out, the target's.  It tells of nothing of any other tenant."""

    @property
    def owner(self) -> str:
        return self.tenant or self.target.tenant

    @property
    def name(self) -> str:
        """The conflict's name: readable, and the same for the same identity."""
        identity = "\0".join((self.type, *self.target, self.subject))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        kind = self.type.replace("_", "-")
        return f"{kind}-{self.target.name[:_LONGEST]}-{digest}"
