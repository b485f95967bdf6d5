"""Who may join, who has joined, and whose certificates count no longer.

The FSM keeps such a register of its sites, an SDSP of its nodes.  Everything happens inside the
caller's transaction: a token is spent in the very transaction that records the certificate, so no
token is ever used twice and no certificate goes unrecorded.

Tokens are objects, so that people see who may join; a token's hash is a record, which nobody sees,
and so are issued certificates and revocations.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.errors import Conflict, Unauthenticated
from shared.ids import COMMON, Key
from shared.pki.certificates import Certificate, serial_of
from shared.pki.jointoken import JoinKind, JoinToken, is_hash_of
from shared.store.contract import Draft, Selection, Snapshot, Transaction

TOKEN_LIFE: Final = timedelta(hours=1)
CERTIFICATES: Final = "certificates"
REVOKED: Final = "revoked"
HASHES: Final = "jointokens"

_TOKENS: Final = Selection(kinds=frozenset({"JoinToken"}))


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate on record; `serial` in hex, as shared.pki names it."""

    serial: str
    identity: str
    not_after: datetime


async def add_token(
    transaction: Transaction,
    token: JoinToken,
    *,
    identity: str,
    scope: str,
    now: datetime,
    replace: bool,
) -> datetime:
    """Record that `token` may be used once, and return until when.

    Tokens for the same joiner that were not used stop counting.  Conflict
    (`certificate_exists`) if `identity` has a live certificate and `replace` isn't set.
    """
    if not replace and await live_certificates(transaction, identity, now=now):
        raise Conflict(
            f"{token.name} has joined already and its certificate is still good; to join it "
            "anew, ask for the token with --replace, which revokes that certificate",
            code="certificate_exists",
        )
    for stored in await transaction.list(_TOKENS):
        if stored.spec["kind"] == token.kind and stored.spec["joins"] == token.name:
            await _drop_token(transaction, stored.key)
    expires_at = now + TOKEN_LIFE
    key = _token_key(token, scope)
    await transaction.put_record(HASHES, key.name, {"hash": token.hash})
    await transaction.put(
        Draft(
            key=key,
            spec={
                "kind": token.kind.value,
                "joins": token.name,
                "expiresAt": expires_at.isoformat(),
                **({"replace": True} if replace else {}),
            },
        )
    )
    return expires_at


async def spend_token(
    transaction: Transaction,
    text: str,
    *,
    kind: JoinKind,
    site: str | None,
    scope: str,
    now: datetime,
) -> tuple[JoinToken, bool]:
    """Take a token out of the register; return it and whether it replaces a live certificate.

    `site` is the site at which a node joins.  Invalid if it is no token of `kind`;
    Unauthenticated (`join_token_refused`) if it was never given out, is used, is late, or is for
    another site: which of these is not told, since whoever asks has proved nothing.
    """
    token = JoinToken.parse(text)
    token.check_kind(kind)
    key = _token_key(token, scope)
    stored, secret = await transaction.get(key), await transaction.record(HASHES, key.name)
    if (
        stored is None
        or secret is None
        or (site is not None and token.site != site)
        or not is_hash_of(secret["hash"], token)
        or now >= datetime.fromisoformat(stored.spec["expiresAt"])
    ):
        raise Unauthenticated(
            "this join token is not valid here: it was used, is older than an hour, or was "
            "given out by another server; ask for a new one",
            code="join_token_refused",
        )
    await _drop_token(transaction, key)
    return token, bool(stored.spec.get("replace", False))


async def record_certificate(
    transaction: Transaction, certificate: Certificate, *, identity: str
) -> Issued:
    """Remember an issued certificate, so that it can be found and revoked."""
    issued = Issued(serial_of(certificate), identity, certificate.not_valid_after_utc)
    await transaction.put_record(CERTIFICATES, issued.serial, _to_record(issued))
    return issued


async def live_certificates(
    view: Transaction | Snapshot, identity: str, *, now: datetime
) -> list[Issued]:
    """Return the certificates of `identity` that are neither expired nor revoked."""
    revoked = await view.records(REVOKED)
    issued = (_from_record(name, each) for name, each in (await view.records(CERTIFICATES)).items())
    return [
        each
        for each in issued
        if each.identity == identity and each.not_after > now and each.serial not in revoked
    ]


async def revoke(transaction: Transaction, issued: Iterable[Issued]) -> None:
    """Let certificates count no longer; they stay on record until they expire."""
    for each in issued:
        await transaction.put_record(REVOKED, each.serial, _to_record(each))


async def revoke_unknown(transaction: Transaction, *, is_known: Callable[[str], bool]) -> int:
    """Revoke all certificates of identities that are known no longer; return how many."""
    revoked = await transaction.records(REVOKED)
    unknown = [
        _from_record(serial, record)
        for serial, record in (await transaction.records(CERTIFICATES)).items()
        if serial not in revoked and not is_known(record["identity"])
    ]
    await revoke(transaction, unknown)
    return len(unknown)


async def forget_expired(transaction: Transaction, *, now: datetime) -> int:
    """Drop what has expired by itself: certificates, revocations, tokens.  Return how many."""
    dropped = 0
    for space in (CERTIFICATES, REVOKED):
        for name, record in (await transaction.records(space)).items():
            if _from_record(name, record).not_after <= now:
                await transaction.delete_record(space, name)
                dropped += 1
    for stored in await transaction.list(_TOKENS):
        if datetime.fromisoformat(stored.spec["expiresAt"]) <= now:
            await _drop_token(transaction, stored.key)
            dropped += 1
    return dropped


class Revocations:
    """The revoked serials as handshakes ask for them: in memory, read again when told to."""

    def __init__(self) -> None:
        self._serials: frozenset[str] = frozenset()

    def __call__(self, serial: str) -> bool:
        return serial in self._serials

    async def read(self, snapshot: Snapshot) -> None:
        self._serials = frozenset(await snapshot.records(REVOKED))


async def _drop_token(transaction: Transaction, key: Key) -> None:
    await transaction.delete(key)
    await transaction.delete_record(HASHES, key.name)


def _token_key(token: JoinToken, scope: str) -> Key:
    # Found by its hash, of which the first half says nothing of use about the secret.
    return Key("JoinToken", COMMON, scope, f"{token.kind}-{token.name}-{token.hash[:16]}")


def _to_record(issued: Issued) -> Mapping[str, str]:
    return {"identity": issued.identity, "notAfter": issued.not_after.isoformat()}


def _from_record(serial: str, record: Mapping[str, str]) -> Issued:
    return Issued(serial, record["identity"], datetime.fromisoformat(record["notAfter"]))
