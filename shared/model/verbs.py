"""The words of a Role's grants: what may be done, and to what beside objects of a kind."""

from typing import Final

READ: Final = "read"
WRITE: Final = "write"
EVERY: Final = "*"

SPECIAL_VERBS: Final = (
    "override",
    "allot",
    "force",
    "admit",
    "decide",
    "confirm",
    "detach",
    "revoke",
    "trace",
)
"""Verbs that concern no one kind; shared.access.permissions says what each allows."""

VERBS: Final = (READ, WRITE, *SPECIAL_VERBS)

READ_ONLY_KINDS: Final = ("status", "audit", "metrics")
"""What can be read and is no object of any kind."""
