"""How the end of a login, or of a program's token, is recorded, whatever ended it."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from shared.auth.tokens import LEEWAY
from shared.login.programs import PROGRAMS, Program
from shared.login.session_records import ENDED, SESSIONS, Session
from shared.store.contract import AuditRecord, Transaction


async def write_ends(
    transaction: Transaction, sessions: Sequence[Session], programs: Sequence[Program]
) -> None:
    """Let them go, and leave a mark for processes that remember them."""
    for session in sessions:
        await transaction.delete_record(SESSIONS, session.id)
        mark = {"ended": True, "until": remembered_until(session)}
        await transaction.put_record(ENDED, f"session:{session.id}", mark)
    for program in programs:
        await transaction.delete_record(PROGRAMS, program.id)
        mark = {"ended": True, "until": program.expires_at.isoformat()}
        await transaction.put_record(ENDED, f"program:{program.id}", mark)


def names_of(sessions: Sequence[Session], programs: Sequence[Program]) -> list[str]:
    """Return their names in ENDED."""
    return [
        *(f"session:{each.id}" for each in sessions),
        *(f"program:{each.id}" for each in programs),
    ]


def record_of_end(session: Session, why: str, *, cause: str, who: str, at: datetime) -> AuditRecord:
    """Return the record of a login that no person ended; `cause` begins its request id."""
    return AuditRecord(
        at=at,
        request_id=f"{cause}-{secrets.token_hex(8)}",
        identity=who,
        action="end session",
        outcome="ok",
        reason=f"{session.identity}: {why}",
    )


def remembered_until(session: Session) -> str:
    """Return until when an end must be remembered: no token of the session lives longer."""
    return (session.expires_at + 2 * LEEWAY).isoformat()
