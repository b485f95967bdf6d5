"""What databases complain of, in the one family of errors.  No SQL error leaves this package."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import HanseError, StorageFull, Unavailable

# https://www.postgresql.org/docs/15/errcodes-appendix.html
_SERIALIZATION_STATES: Final = ("40001", "40P01")
_FULL_STATES: Final = ("53100",)
_BUSY_STATES: Final = ("55P03", "53300", "57014")
_AWAY_CLASSES: Final = ("08", "57", "3D", "28", "25")

_FULL_NAMES: Final = ("SQLITE_FULL",)
_BUSY_NAMES: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")
_AWAY_NAMES: Final = (
    *("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM"),
    *("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_NOLFS"),
)


class SerializationFailure(Unavailable):
    """The database could not order this transaction among others (40001): run it again."""

    default_code = "serialization_failure"


@contextmanager
def translated(attempt: str) -> Iterator[None]:
    """Turn a database's errors into ours; `attempt` says what was tried (`read the store`)."""
    try:
        yield
    except PoolTimeout as exc:
        raise Unavailable(
            f"could not {attempt}: all connections to the database are in use; try again",
            code="database_busy",
        ) from exc
    except DBAPIError as exc:
        raise _translate(exc.orig, attempt) from exc
    except SQLAlchemyError as exc:
        raise HanseError(
            f"could not {attempt}; the log has the reason", detail=f"{type(exc).__name__}: {exc}"
        ) from exc
    except _errors_of_drivers() as exc:
        raise _translate(exc, attempt) from exc
    except OSError as exc:
        raise _away(attempt, str(exc)) from exc


def _translate(cause: BaseException | None, attempt: str) -> HanseError:
    detail = f"{type(cause).__name__}: {cause}"
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(getattr(cause, "sqlite_errorname", None) or "", attempt, detail)
    if isinstance(cause, _errors_of_drivers()):
        return _of_postgres(getattr(cause, "sqlstate", None), attempt, detail)
    return HanseError(f"could not {attempt}; the log has the reason", detail=detail)


def _errors_of_drivers() -> tuple[type[Exception], ...]:
    """Return SQLite's, and psycopg's once a PostgreSQL is used: nobody else needs to import it."""
    psycopg = sys.modules.get("psycopg")
    return (sqlite3.Error,) if psycopg is None else (sqlite3.Error, psycopg.Error)


def _of_sqlite(name: str, attempt: str, detail: str) -> HanseError:
    if name in _FULL_NAMES:
        return _full(attempt, detail)
    if name.startswith(_BUSY_NAMES):
        return _busy(attempt, detail)
    if name.startswith(_AWAY_NAMES):
        return _away(attempt, detail)
    return HanseError(f"could not {attempt}; the log has the reason", detail=detail)


def _of_postgres(state: str | None, attempt: str, detail: str) -> HanseError:
    if state in _SERIALIZATION_STATES:
        return SerializationFailure(
            f"could not {attempt}: the database kept putting it off; try again", detail=detail
        )
    if state in _FULL_STATES:
        return _full(attempt, detail)
    if state in _BUSY_STATES:
        return _busy(attempt, detail)
    # Without a state it was the client's library that gave up: no connection, or a lost one.
    if state is None or state.startswith(_AWAY_CLASSES):
        return _away(attempt, detail)
    return HanseError(f"could not {attempt}; the log has the reason", detail=detail)


def _full(attempt: str, detail: str) -> StorageFull:
    return StorageFull(
        f"could not {attempt}: the disk of the database is full; nothing was changed, "
        "free some space and try again",
        detail=detail,
    )


def _busy(attempt: str, detail: str) -> Unavailable:
    return Unavailable(
        f"could not {attempt}: the database is busy; try again",
        code="database_busy",
        detail=detail,
    )


def _away(attempt: str, detail: str) -> Unavailable:
    return Unavailable(
        f"could not {attempt}: the database can't be reached or read; try again when it is back",
        code="database_unavailable",
        detail=detail,
    )
