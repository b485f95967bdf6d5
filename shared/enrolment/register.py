"""Who may join, who has joined, and whose certificates count no longer.

The FSM keeps such a register of its sites, an SDSP of its nodes.  Everything happens inside the
caller's transaction: a token is spent in the very transaction that records the certificate, so no
token is ever used twice and no certificate goes unrecorded.

Tokens are objects, so that people see who may join; a token's hash is a record, which nobody sees,
and so are issued certificates.  Revocations are objects, so that the feed carries them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.enrolment.revocations import KIND, LEGACY, REVOCATIONS, revoked_in
from shared.errors import Conflict, Unauthenticated
from shared.ids import COMMON, FEDERATION, SITE, Key
from shared.pki.certificates import Certificate, serial_of
from shared.pki.jointoken import JoinKind, JoinToken, is_hash_of
from shared.store.contract import Draft, Selection, Snapshot, Transaction

TOKEN_LIFE: Final = timedelta(hours=1)
JOIN_ATTEMPTS: Final = "30 per minute"
"""How often one address may try to join: no token is ever guessed, but each try is audited."""

CERTIFICATES: Final = "certificates"
HASHES: Final = "jointokens"

_TOKENS: Final = Selection(kinds=frozenset({"JoinToken"}))


@dataclass(frozen=True, slots=True)
class GivenToken:
    """A join token's text, to be shown once, and when it expires (RFC 3339)."""

    token: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate on record; `serial` in hex, as shared.pki names it.

    `issuer` is the serial of the CA that signed it; `owner` the uid of the Site or Node that it
    was issued for: another one of the same name has no part in it.  Both are None where they
    aren't known, or there is none.
    """

    serial: str
    identity: str
    not_after: datetime
    not_before: datetime | None = None
    issuer: str | None = None
    owner: str | None = None


async def add_token(
    transaction: Transaction,
    token: JoinToken,
    *,
    identity: str,
    scope: str,
    now: datetime,
    replace: bool,
) -> GivenToken:
    """Record that `token` may be used once, and return it as its joiner gets it.

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
    return GivenToken(str(token), expires_at.isoformat())


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
    transaction: Transaction,
    chain: Sequence[Certificate],
    *,
    identity: str,
    owner: str | None = None,
) -> Issued:
    """Remember an issued certificate, the first of `chain`, so that it can be found and revoked."""
    certificate = chain[0]
    issued = Issued(
        serial_of(certificate),
        identity,
        certificate.not_valid_after_utc,
        certificate.not_valid_before_utc,
        serial_of(chain[1]) if len(chain) > 1 else None,
        owner,
    )
    await transaction.put_record(CERTIFICATES, issued.serial, _to_record(issued))
    return issued


async def issued_in(view: Transaction | Snapshot) -> list[Issued]:
    """Return all certificates on record, expired and revoked ones too, by serial."""
    return [_from_record(name, each) for name, each in (await view.records(CERTIFICATES)).items()]


async def live_certificates(
    view: Transaction | Snapshot, identity: str, *, now: datetime
) -> list[Issued]:
    """Return the certificates of `identity` that are neither expired nor revoked."""
    revoked = await revoked_in(view)
    return [
        each
        for each in await issued_in(view)
        if each.identity == identity and each.not_after > now and each.serial not in revoked
    ]


async def revoke(
    transaction: Transaction, issued: Iterable[Issued], *, scope: str, now: datetime, reason: str
) -> None:
    """Let certificates count no longer; they stay on record until they expire.

    `scope` is `federation` at the FSM, from where it goes to every site, and `site` at an SDSP.
    """
    for each in issued:
        key = revocation_key(each.serial, scope)
        if await transaction.get(key) is not None:
            continue
        spec = {
            "identity": each.identity,
            "notAfter": each.not_after.isoformat(),
            "at": now.isoformat(),
            "reason": reason[:2000],
        }
        origin = "local" if scope == SITE else None
        await transaction.put(Draft(key=key, spec=spec, origin=origin))


async def revoke_live(
    transaction: Transaction, identity: str, *, scope: str, now: datetime, reason: str
) -> list[Issued]:
    """Let all live certificates of `identity` count no longer, as revoke() does; return them."""
    live = await live_certificates(transaction, identity, now=now)
    await revoke(transaction, live, scope=scope, now=now, reason=reason)
    return live


async def revoke_unknown(
    transaction: Transaction, *, is_known: Callable[[Issued], bool], now: datetime
) -> int:
    """Revoke all certificates of owners that are known no longer; return how many."""
    revoked = await revoked_in(transaction)
    unknown = [
        each
        for each in await issued_in(transaction)
        if each.serial not in revoked and each.not_after > now and not is_known(each)
    ]
    await revoke(transaction, unknown, scope=FEDERATION, now=now, reason="its Site was deleted")
    return len(unknown)


async def drop_tokens(
    transaction: Transaction, kind: JoinKind, names: Iterable[str] | None = None
) -> int:
    """Void the unused tokens of joiners, without names of all; return how many."""
    wanted, dropped = None if names is None else frozenset(names), 0
    for stored in await transaction.list(_TOKENS):
        if stored.spec["kind"] == kind and (wanted is None or stored.spec["joins"] in wanted):
            await _drop_token(transaction, stored.key)
            dropped += 1
    return dropped


async def forget_expired(transaction: Transaction, *, now: datetime, scope: str) -> int:
    """Drop what has expired by itself: certificates, revocations, tokens.  Return how many.

    Revocations are dropped where they were made; elsewhere they go as they came.
    """
    dropped = 0
    for each in await issued_in(transaction):
        if each.not_after <= now:
            await transaction.delete_record(CERTIFICATES, each.serial)
            dropped += 1
    await _take_over(transaction, now=now, scope=scope)
    for stored in await transaction.list(REVOCATIONS):
        expired = datetime.fromisoformat(stored.spec["notAfter"]) <= now
        if stored.key.scope == scope and expired:
            await transaction.delete(stored.key)
            dropped += 1
    for stored in await transaction.list(_TOKENS):
        if datetime.fromisoformat(stored.spec["expiresAt"]) <= now:
            await _drop_token(transaction, stored.key)
            dropped += 1
    return dropped


async def _take_over(transaction: Transaction, *, now: datetime, scope: str) -> None:
    """Make objects of what an earlier release revoked in records."""
    for serial, record in (await transaction.records(LEGACY)).items():
        earlier = [_from_record(serial, record)]
        await revoke(transaction, earlier, scope=scope, now=now, reason="by an earlier release")
        await transaction.delete_record(LEGACY, serial)


def revocation_key(serial: str, scope: str) -> Key:
    return Key(KIND, COMMON, scope, serial)


async def _drop_token(transaction: Transaction, key: Key) -> None:
    await transaction.delete(key)
    await transaction.delete_record(HASHES, key.name)


def _token_key(token: JoinToken, scope: str) -> Key:
    # Found by its hash, of which the first half says nothing of use about the secret.
    return Key("JoinToken", COMMON, scope, f"{token.kind}-{token.name}-{token.hash[:16]}")


def _to_record(issued: Issued) -> Mapping[str, Any]:
    record = {"identity": issued.identity, "notAfter": issued.not_after.isoformat()}
    if issued.not_before is not None:
        record["notBefore"] = issued.not_before.isoformat()
    optional = {"issuer": issued.issuer, "owner": issued.owner}
    return record | {name: value for name, value in optional.items() if value is not None}


def _from_record(serial: str, record: Mapping[str, Any]) -> Issued:
    began = record.get("notBefore")
    return Issued(
        serial,
        record["identity"],
        datetime.fromisoformat(record["notAfter"]),
        datetime.fromisoformat(began) if began else None,
        record.get("issuer"),
        record.get("owner"),
    )
