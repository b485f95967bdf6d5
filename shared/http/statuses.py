"""Errors and HTTP statuses: the one table, read in both directions."""

from typing import Any, Final

from shared import errors

# Looked up along the class's bases, so a new error needs a line here only if it needs a status
# of its own.
STATUS: Final[dict[type[errors.HanseError], int]] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
}

_BY_CODE: Final[dict[str, type[errors.HanseError]]] = {
    "revision_conflict": errors.RevisionConflict,
    "validation_outdated": errors.RevisionConflict,
}
_BY_STATUS: Final = {status: kind for kind, status in STATUS.items()}


def status_of(error: errors.HanseError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def error_of(
    status: int, document: dict[str, Any], *, retry_after: float | None = None
) -> errors.HanseError:
    """Return the error that a problem document, received with `status`, stands for.

    The document comes from elsewhere: whatever it lacks or mistypes is made up for.
    """
    message = str(document.get("detail") or document.get("title") or f"it answered {status}")
    code = str(document.get("code") or "") or None
    if status == 429:
        return errors.TooManyRequests(message, retry_after=retry_after or 1.0)
    oldest = document.get("oldest")
    if code == "revision_compacted" and isinstance(oldest, int):
        return errors.RevisionCompacted(message, oldest=oldest)
    default = errors.Unavailable if status >= 500 else errors.HanseError
    kind = _BY_CODE.get(code or "") or _BY_STATUS.get(status) or default
    return kind(message, code=code, fields=_fields_of(document.get("errors")))


def _fields_of(items: Any) -> tuple[errors.FieldError, ...]:
    if not isinstance(items, list):
        return ()
    return tuple(
        errors.FieldError(str(i.get("path", "")), str(i.get("code", "")), str(i.get("message", "")))
        for i in items
        if isinstance(i, dict)
    )
