"""A way out of a conflict: which local objects it writes, and what would result.

What a decision writes and what its impact is judged by are the same steps, so that the one can't
differ from the other.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shared.ids import Key
from shared.model.kinds import KINDS
from shared.model.override import ProposalName
from shared.policy.inputs import Document, SiteInputs

JSON = Mapping[str, Any]

_TERMS: Final = ("reason", "expiresAt")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person adds to a proposal: why, and until when an exception counts."""

    reason: str = "to be decided"
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One local object as a way out leaves it: its spec, None where it goes.

    `based_on` is what an exception is based on from then on.
    """

    key: Key
    spec: JSON | None = field(hash=False)
    based_on: Document | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One way out.

    `spec` is what results of the object that it is about, as an exception would say it.
    `keeps_exception` says that an Override is left, which may be given an end; `asks` is the
    inherited object that the federation is asked to change, where nothing is decided here.
    """

    name: ProposalName
    spec: JSON = field(hash=False)
    steps: tuple[Step, ...] = ()
    keeps_exception: bool = False
    asks: Document | None = None

    @property
    def digest(self) -> str:
        """What it writes, but for why and until when: by this one knows it for what was shown."""
        writes = [
            [*step.key, step.spec and {k: v for k, v in step.spec.items() if k not in _TERMS}]
            for step in self.steps
        ]
        said = json.dumps([self.name, writes, self.spec], sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Barred:
    """A way out that there isn't here, and why not."""

    name: ProposalName
    why: str


def applied(inputs: SiteInputs, way: Way) -> SiteInputs:
    """Return the site's documents once a way out has been taken."""
    puts = []
    for step in way.steps:
        if step.spec is None:
            continue
        spec = dict(step.spec)
        if step.based_on is not None:
            now = step.based_on
            spec["basedOn"] = {"revision": now.revision or 0, "spec": now.spec.to_json()}
        before = inputs.local.get(step.key)
        labels = before.labels if before is not None else {}
        puts.append(Document(step.key, KINDS[step.key.kind].spec.model_validate(spec), labels))
    gone = [step.key for step in way.steps if step.spec is None]
    local = inputs.local.changed(put=puts, delete=gone)
    return SiteInputs(inputs.site, inputs.federation, local, inputs.now)
