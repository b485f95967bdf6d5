"""The one family of errors.

Every error says what is wrong in a sentence that a person can act on, and carries a
stable `code` for programs.  Nothing here knows of HTTP: shared.http.problems turns an
error into a response as the last step of a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in one place of a document.

    `path` is the field (`spec.rules[2].from[0].network`), `file` and `line` (from 1) say where
    that stands, if it came from a file.
    """

    path: str
    code: str
    message: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        place = " ".join(part for part in (where, self.path) if part)
        return (
            f"{place}: {self.message} ({self.code})" if place else f"{self.message} ({self.code})"
        )


class HanseError(Exception):
    """Base of all: a message for people, a stable code, a detail for the log only.

    `recorded` is what the audit trail keeps instead of the message, which may tell the caller of
    things that those who read the record may not see.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        detail: str | None = None,
        fields: Sequence[FieldError] = (),
        recorded: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.detail = detail
        self.fields = tuple(fields)
        self.recorded = message if recorded is None else recorded


class Malformed(HanseError):
    """What was sent can't be read at all: bad JSON, a bad parameter."""

    default_code = "malformed"


class TooLarge(HanseError):
    """More bytes than allowed."""

    default_code = "too_large"


class Invalid(HanseError):
    """Read, understood and refused; nothing was written.  `fields` says where."""

    default_code = "invalid"


class Unauthenticated(HanseError):
    default_code = "unauthenticated"


class Forbidden(HanseError):
    default_code = "forbidden"


class NotFound(HanseError):
    """There is none, or the caller may not know that there is one."""

    default_code = "not_found"


class Conflict(HanseError):
    """The request is sound, but doesn't fit the present state."""

    default_code = "conflict"


class RevisionConflict(Conflict):
    """Someone else wrote first; nothing was changed."""

    default_code = "revision_conflict"


class Gone(HanseError):
    """The position asked for can't be resumed; list again.

    Codes: `revision_compacted`, `history_diverged`, `view_changed`.
    """

    default_code = "gone"


class RevisionCompacted(Gone):
    """The log before `oldest` is dropped."""

    default_code = "revision_compacted"

    def __init__(self, message: str, *, oldest: int) -> None:
        super().__init__(message)
        self.oldest = oldest


class TooManyRequests(HanseError):
    """Try again after `retry_after` seconds."""

    default_code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(HanseError):
    """Something this needs is out; the same request may succeed later."""

    default_code = "unavailable"


class StorageFull(Unavailable):
    """The disk is full: reads go on, writes don't."""

    default_code = "storage_full"


class Unreachable(Unavailable):
    """Another component or server did not answer."""

    default_code = "unreachable"
