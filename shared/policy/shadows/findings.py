"""What is found about rules that others come before."""

from dataclasses import dataclass
from typing import Literal

from shared.policy.nodeconfig import Packet
from shared.policy.shadows.rules import RuleName

Decided = Literal["alike", "otherwise", "both"]
"""How those that come before decide the packets of a shadowed rule: all of them as it would (deny
and reject are alike), none, or some.
"""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A rule that no packet reaches.

    `by`, in order of evaluation, are earlier rules that suffice for that and of which none could
    be left out.  `example` is a packet that is decided otherwise than the rule would; None if
    there is none.
    """

    rule: RuleName
    by: tuple[RuleName, ...]
    decided: Decided
    example: Packet | None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A rule of the site's own, packets of which mandatory rules decide the other way: all of
    them, or some.

    `by`, in order of evaluation, are mandatory rules that suffice for that and of which none could
    be left out.  `example` is such a packet.
    """

    rule: RuleName
    by: tuple[RuleName, ...]
    extent: Literal["whole", "part"]
    example: Packet


Finding = Shadowed | Contradiction


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change did to findings.  One that says something else now has closed as it was, and
    opened as it is.
    """

    opened: tuple[Finding, ...]
    closed: tuple[Finding, ...]
