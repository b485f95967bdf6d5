"""Continue tokens: where a list goes on, at the revision at which it began.

A token isn't secret and isn't signed: it names a position, and what may be seen from there is
decided anew with each request.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Self

from shared.errors import Gone, Malformed
from shared.ids import Incarnation, Key, Revision
from shared.model.source import CONTROL


@dataclass(frozen=True, slots=True)
class Continue:
    """The last key that was given, and the store's position at which the list is read."""

    incarnation: Incarnation
    revision: Revision
    after: Key

    def __str__(self) -> str:
        data = json.dumps([self.incarnation, self.revision, *self.after], separators=(",", ":"))
        return base64.urlsafe_b64encode(data.encode()).rstrip(b"=").decode("ascii")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a token says; Malformed (`invalid_continue`) if it is none of ours."""
        try:
            data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            incarnation, revision, kind, tenant, scope, name = json.loads(data)
        except (ValueError, TypeError, binascii.Error, RecursionError) as exc:
            raise _invalid() from exc
        texts = (incarnation, kind, tenant, scope, name)
        if not all(isinstance(each, str) and not CONTROL.search(each) for each in texts):
            raise _invalid()
        if not isinstance(revision, int) or not 0 <= revision < 2**63:
            raise _invalid()
        return cls(Incarnation(incarnation), Revision(revision), Key(kind, tenant, scope, name))

    def check(self, incarnation: Incarnation) -> None:
        """Raise Gone (`history_diverged`) if the store isn't the one that the list began in."""
        if incarnation != self.incarnation:
            raise Gone(
                "the store has been restored since this list began; begin again",
                code="history_diverged",
            )


def _invalid() -> Malformed:
    return Malformed(
        "this continue token is none of ours; list again without it", code="invalid_continue"
    )
