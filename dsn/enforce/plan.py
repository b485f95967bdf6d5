"""What has to be done so that the node enforces what it should.  Pure."""

from dataclasses import dataclass
from enum import StrEnum

from dsn.enforce.assignment import Version


class Step(StrEnum):
    """One thing to do, in the order in which they are done."""

    APPLY = "apply"
    END_CONNECTIONS = "end connections"
    ACKNOWLEDGE = "acknowledge"
    SAVE = "save"


@dataclass(frozen=True, slots=True)
class Done:
    """How far each step has come: hashes of configurations, and versions where those count.

    None is where a step was never done, or where it isn't known what has become of it.
    """

    applied: str | None = None
    ended: str | None = None
    acknowledged: Version | None = None
    saved: Version | None = None


def compute_plan(done: Done, wanted: Version) -> tuple[Step, ...]:
    """Return the steps that are missing for the wanted version.

    Acknowledged is what is enforced on open connections too; saved, what has stood in the data
    plane, so a restart never begins with what was refused.
    """
    missing = {
        Step.APPLY: done.applied != wanted.hash,
        Step.END_CONNECTIONS: done.ended != wanted.hash,
        Step.ACKNOWLEDGE: done.acknowledged != wanted,
        Step.SAVE: done.saved != wanted,
    }
    return tuple(step for step in Step if missing[step])
