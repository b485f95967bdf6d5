"""Credentials: what becomes of a secret that somebody writes, and who gets to read it.

An object of kind Credential holds no secret: its spec says which version there is and since when,
so history, watches, feeds and differences have none to tell.  The secret itself is a record beside
the object, written in its transaction and gone with it: sealed with the server's key for those
parts of the server that must have it (a directory's password), and as an argon2 hash for those
that only compare (a person's password).  Of earlier secrets nothing is kept.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from shared.auth.passwords import LONGEST, SHORTEST, Passwords
from shared.clock import Clock
from shared.errors import FieldError, Invalid, NotFound, RevisionConflict
from shared.ids import Key
from shared.model.access import Credential
from shared.pki.sealing import SealingKey
from shared.store.contract import JSON, Draft, Snapshot, Stored, Transaction

SPACE: Final = "credentials"
MOST: Final = 100
"""Secrets that one transaction may set: each takes an argon2 hash, some 50 ms."""

_WHERE: Final = "spec.secret"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A Credential as it is to be stored: the object, and its record if the secret is another.

    `version` is the secret's: the one of the object before, if that stays.
    """

    draft: Draft
    version: str
    record: JSON | None = field(default=None, repr=False)


class Secrets:
    """Seals the Credentials of one server's store, and opens them."""

    def __init__(self, *, key: SealingKey, passwords: Passwords, clock: Clock) -> None:
        self._key = key
        self._passwords = passwords
        self._clock = clock

    async def seal(
        self, draft: Draft, spec: Credential, *, before: Stored | None, snapshot: Snapshot
    ) -> Sealed:
        """Return what to write for what somebody asked for.

        A secret that is left out stays as it is, and so does one that is the same.  Invalid with
        the field: `missing_field` if there is none to stay, `weak_password`.
        """
        known = await snapshot.record(SPACE, record_name(draft.key)) if before else None
        version = _version_of(before)
        if spec.secret is None:
            if before is None or version is None:
                raise _invalid("missing_field", "there is no secret yet that could stay: give one")
            if "use" in spec.model_fields_set and before.spec.get("use") != spec.use:
                raise _invalid("missing_field", "another use needs the secret once more")
            return Sealed(replace(draft, spec=dict(before.spec)), version)
        if before is not None and version and known and await self._is_same(draft, spec, known):
            return Sealed(replace(draft, spec=dict(before.spec)), version)
        version = secrets.token_hex(8)
        noted = {"use": spec.use, "version": version, "setAt": self._clock.now().isoformat()}
        record = {"version": version, **await self._kept(draft.key, spec.use, spec.secret)}
        return Sealed(replace(draft, spec=noted), version, record)

    async def keep(self, transaction: Transaction, sealed: Sealed, before: Stored | None) -> None:
        """Write a secret in the transaction that writes its object.

        RevisionConflict (`validation_outdated`) if it was to stay and is another one by now.
        """
        if sealed.record is not None:
            await transaction.put_record(SPACE, record_name(sealed.draft.key), sealed.record)
        elif _version_of(before) != sealed.version:
            raise RevisionConflict(
                "the Credential was set anew meanwhile; try again", code="validation_outdated"
            )

    async def forget(self, transaction: Transaction, key: Key) -> None:
        """Remove a secret in the transaction that deletes its object."""
        await transaction.delete_record(SPACE, record_name(key))

    async def open(self, snapshot: Snapshot, key: Key) -> str:
        """Return a secret.

        NotFound (`unknown_credential`) if there is none; Invalid (`other_key`, `damaged_secret`,
        `password_only`) if it can't be opened.
        """
        record = await snapshot.record(SPACE, record_name(key))
        if record is None:
            raise NotFound(f"there is no {key}", code="unknown_credential")
        if record.get("sealed") is None:
            raise Invalid(
                f"{key} is for a password only: its text isn't kept, nobody can read it",
                code="password_only",
            )
        try:
            return self._key.open(str(record["sealed"]), context=record_name(key))
        except Invalid as exc:
            raise Invalid(f"{key} can't be opened: {exc.message}", code=exc.code) from exc

    def blinded(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a Credential's document with a keyed hash in the place of its secret."""
        spec = dict(document.get("spec") or {})
        if isinstance(spec.get("secret"), str):
            spec["secret"] = self._key.hash(spec["secret"])
        return {**document, "spec": spec}

    async def _is_same(self, draft: Draft, spec: Credential, known: JSON) -> bool:
        assert spec.secret is not None
        if known.get("sealed") is None:
            hashed = known.get("hash")
            return spec.use == "password" and await self._passwords.verify(spec.secret, hashed)
        if spec.use == "password":
            return False
        try:
            old = self._key.open(str(known["sealed"]), context=record_name(draft.key))
        except Invalid:
            return False
        return hmac.compare_digest(old.encode(), spec.secret.encode())

    async def _kept(self, key: Key, use: str, secret: str) -> dict[str, Any]:
        is_password = SHORTEST <= len(secret) <= LONGEST
        if use == "password":
            if not is_password:
                raise _invalid(
                    "weak_password", f"a password has {SHORTEST} to {LONGEST} characters"
                )
            return {"sealed": None, "hash": await self._passwords.hash(secret)}
        return {
            "sealed": self._key.seal(secret, context=record_name(key)),
            "hash": await self._passwords.hash(secret) if is_password else None,
        }


async def password_hash(snapshot: Snapshot, key: Key) -> str | None:
    """Return the argon2 hash of a Credential; None if there is none, or it is no password."""
    record = await snapshot.record(SPACE, record_name(key))
    hashed = record.get("hash") if record else None
    return None if hashed is None else str(hashed)


def version_of(stored: Stored | None) -> str | None:
    """Return what changes whenever a Credential's secret does; None if it has none."""
    return _version_of(stored)


def record_name(key: Key) -> str:
    return f"{key.tenant}/{key.scope}/{key.name}"


def _version_of(stored: Stored | None) -> str | None:
    found = stored.spec.get("version") if stored else None
    return found if isinstance(found, str) else None


def _invalid(code: str, message: str) -> Invalid:
    return Invalid(f"{_WHERE}: {message}", code=code, fields=[FieldError(_WHERE, code, message)])
