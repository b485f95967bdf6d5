"""Tokens of service accounts: `hanse_sa_ID_SECRET`, shown once; only a hash of the secret is kept.

They live for months, so they are no JWT: each is a record, which is gone as soon as it is revoked,
and it counts only while its account is the very one that it was made for, and is enabled.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from shared.auth.tokens import refused
from shared.ids import Key
from shared.login.session_records import digest
from shared.store.contract import Stored

PROGRAMS: Final = "programtokens"
PREFIX: Final = "hanse_sa_"
LIFETIME: Final = timedelta(days=90)
"""A guess: what is shorter is rotated by hand too often, what is longer is forgotten."""
LONGEST: Final = timedelta(days=366)

_FORM: Final = re.compile(r"hanse_sa_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProgramToken:
    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> "ProgramToken":
        return cls(secrets.token_hex(8), secrets.token_hex(32))

    @classmethod
    def parse(cls, text: str) -> "ProgramToken":
        """Unauthenticated (`invalid_token`) if it hasn't the form."""
        found = _FORM.fullmatch(text)
        if not found:
            raise refused("it has not the form of a token")
        return cls(*found.groups())

    @property
    def text(self) -> str:
        return f"{PREFIX}{self.id}_{self.secret}"


@dataclass(frozen=True, slots=True)
class Program:
    """A service account's token as it is kept; `uid` is the account's."""

    id: str
    account: Key
    uid: str
    created_at: datetime
    expires_at: datetime
    created_by: str
    description: str = ""
    secret: str = field(default="", repr=False)

    @property
    def subject(self) -> str:
        return f"{self.account.tenant}/{self.account.name}"

    @property
    def identity(self) -> str:
        return f"serviceaccount:{self.subject}"

    def is_of(self, token: ProgramToken) -> bool:
        return hmac.compare_digest(self.secret, digest(token.secret))

    def counts_for(self, account: Stored | None) -> bool:
        """Return whether this is the account it was made for, and enabled."""
        return (
            account is not None
            and account.uid == self.uid
            and not account.spec.get("disabled", False)
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "tenant": self.account.tenant,
            "scope": self.account.scope,
            "name": self.account.name,
            "uid": self.uid,
            "createdAt": self.created_at.isoformat(),
            "expiresAt": self.expires_at.isoformat(),
            "createdBy": self.created_by,
            "description": self.description,
            "secret": self.secret,
        }

    @classmethod
    def from_record(cls, name: str, record: Mapping[str, Any]) -> "Program":
        return cls(
            id=name,
            account=Key("ServiceAccount", record["tenant"], record["scope"], record["name"]),
            uid=record["uid"],
            created_at=datetime.fromisoformat(record["createdAt"]),
            expires_at=datetime.fromisoformat(record["expiresAt"]),
            created_by=record["createdBy"],
            description=record["description"],
            secret=record["secret"],
        )
