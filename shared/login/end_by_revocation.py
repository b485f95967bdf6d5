"""What a LoginRevocation ends: a person's logins at every server of the federation.

Whoever revokes a person's logins at the FSM means all of them; the sites' are others, which only
they can end.  So the FSM writes a LoginRevocation, the feed carries it ahead of all policy, and a
site ends what is there in the very transaction that takes it over.  Local users are a site's own:
one who has the same name is somebody else.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Final

from shared.ids import COMMON, FEDERATION, Key
from shared.login.end_records import names_of, record_of_end, write_ends
from shared.login.session_records import SESSIONS, Session, same_person
from shared.store.contract import Draft, Transaction

KIND: Final = "LoginRevocation"


def login_revocation(identity: str, *, at: datetime, reason: str) -> Draft:
    """Return the object that tells all sites; a later one of the same person replaces it."""
    spec = {"identity": identity, "at": at.isoformat(), "reason": reason[:2000]}
    return Draft(revocation_key(identity), spec)


def revocation_key(identity: str) -> Key:
    """Return the key of the object that says that a person's logins have ended, if they have."""
    name = hashlib.sha256(same_person(identity).encode()).hexdigest()[:40]
    return Key(KIND, COMMON, FEDERATION, name)


async def end_logins_of(
    transaction: Transaction, identities: Collection[str], *, at: datetime
) -> list[str]:
    """End all logins of people for whom not this server itself vouches, each with a record.

    Returns the names by which processes know them: what Callers.end takes, once it is committed.
    """
    wanted = {same_person(each) for each in identities}
    records = await transaction.records(SESSIONS) if wanted else {}
    found = [Session.from_record(name, record) for name, record in records.items()]
    ending = [
        each for each in found if each.provider != "local" and same_person(each.identity) in wanted
    ]
    await write_ends(transaction, ending, [])
    for each in ending:
        why = "the FSM has revoked his logins"
        record = record_of_end(each, why, cause="login-revocation", who="upstream", at=at)
        await transaction.audit(record)
    return names_of(ending, [])
