"""What is issued here, and who lets it count no longer: the same at the FSM and at an SDSP.

Revoking one's own certificate, or the last one of somebody, asks first.  A CA that is in use can't
be revoked: it is exchanged, everybody follows, and then it is.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from shared.access.authorize import authorize
from shared.access.permissions import Permission
from shared.clock import Clock
from shared.enrolment.register import Issued, issued_in, revoke
from shared.enrolment.revocations import Revocations, revoked_in
from shared.errors import Conflict, Forbidden, HanseError, Invalid, NotFound
from shared.ids import COMMON
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.pki.certificates import Certificate, serial_of, validity_of
from shared.pki.rotation import Due, Validity, due
from shared.store.contract import Snapshot, Store, Transaction

State = Literal["good", "superseded", "expiring", "revoked", "expired"]
Kind = Literal["root", "issuing", "fsm", "site", "sdsp", "node"]

_ORDER: Final = ("root", "issuing", "fsm", "site", "sdsp", "node")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an exchange is: `phase` in words, and those who haven't followed."""

    phase: str
    behind: Sequence[str] = ()
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"phase": self.phase, "behind": list(self.behind), "message": self.message}


class Rotation(Protocol):
    """How one kind of certificate of this server is exchanged."""

    async def begin(self) -> Standing:
        """Make the successor; where that was done before, say how far everybody is."""

    async def proceed(self) -> Standing:
        """Go on to the next step, whoever has not followed; Conflict if there is none."""

    async def behind(self) -> Sequence[str]:
        """Return who would be out if the old one were dropped now."""

    async def finish(self) -> tuple[Standing, Sequence[Issued]]:
        """Drop the old one; return also the certificates that are to be revoked with that."""


class AtOnce:
    """A Rotation of the certificate that the server shows: open connections keep theirs."""

    def __init__(self, renew: Callable[[], Awaitable[None]], *, message: str) -> None:
        """`message` is what is said when `renew` has shown the new one."""
        self._renew = renew
        self._message = message

    async def begin(self) -> Standing:
        await self._renew()
        return Standing("done", message=self._message)

    async def proceed(self) -> Standing:
        raise self._refusal()

    async def behind(self) -> Sequence[str]:
        return ()

    async def finish(self) -> tuple[Standing, Sequence[Issued]]:
        raise self._refusal()

    def _refusal(self) -> Conflict:
        return Conflict(
            "the server's certificate is exchanged in one step: hanse pki rotate server",
            code="no_exchange",
        )


async def superseded(
    snapshot: Snapshot, current: Certificate, *, is_authority: Callable[[str], bool], now: datetime
) -> list[Issued]:
    """Return the CAs on record, by their identities, that count still beside the one of now."""
    revoked = await revoked_in(snapshot)
    return [
        each
        for each in await issued_in(snapshot)
        if is_authority(each.identity)
        and each.not_after > now
        and each.serial != serial_of(current)
        and each.serial not in revoked
    ]


class Own(Protocol):
    """What this server shows and issues from now; it is never left without."""

    def roots(self) -> Sequence[Certificate]: ...

    def authority(self) -> Certificate:
        """The CA from which this server issues."""

    def server(self) -> Certificate:
        """The certificate that this server shows."""

    async def renew(self) -> None:
        """Issue a successor of the server's certificate, and show it from now on."""


class Certificates:
    def __init__(
        self,
        store: Store,
        *,
        home: Literal["fsm", "sdsp"],
        own: Own,
        rotations: Mapping[str, Rotation],
        revocations: Revocations,
        trail: Trail,
        clock: Clock,
    ) -> None:
        self._store = store
        self._home = home
        self._scope = "federation" if home == "fsm" else "site"
        self._own = own
        self._rotations = rotations
        self._revocations = revocations
        self._trail = trail
        self._clock = clock
        self._rotating = asyncio.Lock()

    async def listed(self, call: Call) -> list[dict[str, Any]]:
        """Return everything that is issued here and hasn't expired; Forbidden."""
        self._check(call, Permission.READ_STATUS)
        async with self._store.snapshot() as snapshot:
            issued = await issued_in(snapshot)
            revoked = await revoked_in(snapshot)
        now = self._clock.now()
        own = {serial_of(self._own.authority()), serial_of(self._own.server())}
        newest = _newest((each for each in issued if each.serial not in revoked), own)
        found = [
            {
                "kind": self._kind_of(each.identity),
                "identity": each.identity,
                "serial": each.serial,
                "notBefore": each.not_before.isoformat() if each.not_before else None,
                "notAfter": each.not_after.isoformat(),
                "issuer": each.issuer,
                "state": _state(each, revoked, newest, now),
                "own": each.serial in own,
            }
            for each in issued
            if each.not_after > now
        ]
        found += [self._root(each, now) for each in self._own.roots()]
        return sorted(found, key=lambda e: (_ORDER.index(e["kind"]), e["identity"], e["notAfter"]))

    async def revoke(
        self, call: Call, target: str, *, reason: str, confirmed: bool
    ) -> Sequence[Issued]:
        """Let a certificate (its serial), or all of an identity, count no longer; return them.

        NotFound; Conflict (`in_use`, `is_root`), and (`confirmation_needed`), which says what it
        would mean; Forbidden.
        """
        try:
            return await self._revoke(call, target, reason=reason, confirmed=confirmed)
        except HanseError as exc:
            await self._trail.refused(call, "certificate.revoke", exc)
            raise

    async def rotate(
        self,
        call: Call,
        what: str,
        *,
        step: Literal["begin", "proceed", "finish"],
        force: bool,
    ) -> Standing:
        """Exchange a certificate of this server.

        Conflict (`not_followed`) if it would put out somebody and `force` isn't set; NotFound
        (`root_key_offline`); Invalid for what isn't exchanged here; Forbidden.
        """
        try:
            self._check(call, Permission.REVOKE)
            async with self._rotating:
                return await self._rotate(call, what, step=step, force=force)
        except HanseError as exc:
            await self._trail.refused(call, f"certificate.rotate.{what[:20]}", exc)
            raise

    async def _rotate(self, call: Call, what: str, *, step: str, force: bool) -> Standing:
        rotation = self._rotations.get(what)
        if rotation is None:
            known = ", ".join(sorted(self._rotations))
            raise Invalid(f"{what[:80]!r} is not exchanged here; there is: {known}")
        dropped: Sequence[Issued] = ()
        if step == "finish":
            behind = await rotation.behind()
            if behind and not force:
                raise Conflict(
                    f"not followed yet: {', '.join(behind)}; whoever hasn't is out and must join "
                    "anew. Wait for them, or drop the old one all the same with --force",
                    code="not_followed",
                )
            standing, dropped = await rotation.finish()
        else:
            standing = await (rotation.begin() if step == "begin" else rotation.proceed())
        record = self._trail.record(
            call,
            f"certificate.rotate.{what}",
            reason=step,
            diff={"phase": standing.phase, "behind": list(standing.behind)},
        )

        async def work(transaction: Transaction) -> None:
            now = self._clock.now()
            await revoke(
                transaction, dropped, scope=self._scope, now=now, reason="its successor is in use"
            )
            await transaction.audit(record)

        await self._store.transact(work)
        await self._read()
        return standing

    async def _revoke(
        self, call: Call, target: str, *, reason: str, confirmed: bool
    ) -> Sequence[Issued]:
        self._check(call, Permission.REVOKE)
        wanted = target.strip().lower()
        if wanted in {serial_of(each) for each in self._own.roots()}:
            raise Conflict(
                "a root can't be revoked, only exchanged: hanse pki rotate root", code="is_root"
            )
        live, chosen = await self._choose(wanted)
        if serial_of(self._own.authority()) in {each.serial for each in chosen}:
            what = "issuing" if self._home == "fsm" else "authority"
            raise Conflict(
                f"this server issues from that CA; exchange it first: hanse pki rotate {what}",
                code="in_use",
            )
        is_own = serial_of(self._own.server()) in {each.serial for each in chosen}
        if (warnings := _warnings(live, chosen, is_own=is_own)) and not confirmed:
            raise Conflict("; ".join(warnings), code="confirmation_needed")
        if is_own:
            await self._own.renew()
        record = self._trail.record(
            call,
            "certificate.revoke",
            reason=reason,
            diff={"revoked": [f"{each.serial} {each.identity}" for each in chosen]},
        )

        async def work(transaction: Transaction) -> None:
            now = self._clock.now()
            await revoke(transaction, chosen, scope=self._scope, now=now, reason=reason)
            await transaction.audit(record)

        await self._store.transact(work)
        await self._read()
        return chosen

    async def _choose(self, wanted: str) -> tuple[list[Issued], list[Issued]]:
        """Return all live certificates, and those that were meant; NotFound."""
        now = self._clock.now()
        async with self._store.snapshot() as snapshot:
            revoked = await revoked_in(snapshot)
            live = [
                each
                for each in await issued_in(snapshot)
                if each.not_after > now and each.serial not in revoked
            ]
        identity = wanted if wanted.startswith("spiffe://") else f"spiffe://{wanted}"
        serial = wanted.replace(":", "").lstrip("0")
        chosen = [each for each in live if each.serial == serial or each.identity == identity]
        if not chosen:
            raise NotFound(
                f"no certificate that is still good has the serial or identity {wanted[:120]!r} "
                "here; `hanse pki list` shows what there is",
                code="unknown_certificate",
            )
        return live, chosen

    async def _read(self) -> None:
        async with self._store.snapshot() as snapshot:
            await self._revocations.read(snapshot)

    def _check(self, call: Call, permission: Permission) -> None:
        # Certificates are the server's own affair, and so of no tenant but the common one.
        decision = authorize(call.caller, permission, tenant=COMMON, scope=self._scope)
        if not decision.allowed:
            raise Forbidden(decision.reason)

    def _kind_of(self, identity: str) -> Kind:
        _, _, path = identity.removeprefix("spiffe://").partition("/")
        if path.startswith("node/"):
            return "node"
        if path == "fsm":
            return "fsm"
        if path == "sdsp":
            # The FSM issues sites' CAs only, under the name of whom they make a site.
            return "site" if self._home == "fsm" else "sdsp"
        return "issuing" if self._home == "fsm" else "site"

    def _root(self, root: Certificate, now: datetime) -> dict[str, Any]:
        validity = validity_of(root)
        late = due(validity, now=now) in (Due.ALERT, Due.EXPIRED)
        return {
            "kind": "root",
            "identity": root.subject.rfc4514_string().removeprefix("CN="),
            "serial": serial_of(root),
            "notBefore": validity.not_before.isoformat(),
            "notAfter": validity.not_after.isoformat(),
            "issuer": None,
            "state": "expiring" if late else "good",
            "own": False,
        }


def _newest(issued: Iterable[Issued], own: Container[str]) -> Mapping[str, str]:
    """Return the serial of each identity's newest certificate.

    Of those of one second it is the one that this server uses itself, by the serials in `own`.
    """
    by_identity: dict[str, list[Issued]] = defaultdict(list)
    for each in issued:
        by_identity[each.identity].append(each)
    return {
        identity: max(
            each, key=lambda one: (one.not_before or one.not_after, one.serial in own)
        ).serial
        for identity, each in by_identity.items()
    }


def _state(
    issued: Issued, revoked: Mapping[str, object], newest: Mapping[str, str], now: datetime
) -> State:
    if issued.serial in revoked:
        return "revoked"
    if issued.not_after <= now:
        return "expired"
    if newest.get(issued.identity) != issued.serial:
        return "superseded"
    if issued.not_before is not None:
        validity = Validity(issued.not_before, issued.not_after)
        if due(validity, now=now) is Due.ALERT:
            return "expiring"
    return "good"


def _warnings(live: Sequence[Issued], chosen: Sequence[Issued], *, is_own: bool) -> list[str]:
    serials = {each.serial for each in chosen}
    found = []
    if is_own:
        found.append("this server shows that certificate itself: it will show a new one")
    for identity in sorted({each.identity for each in chosen}):
        left = [each for each in live if each.identity == identity and each.serial not in serials]
        if not left and not is_own:
            found.append(
                f"{identity} has no other certificate: it is out until it joins anew, and so is "
                "everything that its CA has issued"
            )
    beneath = {each.identity for each in live if each.issuer in serials}
    if beneath:
        found.append(f"{len(beneath)} others are beneath it and are out with it")
    return found
