"""Seals: what was in the trail at a moment, signed, so that its end can't be cut off unseen.

Every ten seconds one process writes the heads of the chains that have grown into a seal, which
names the hash of the seal before it and is signed with the server's key.  Once a day a seal is
*whole*, naming every chain: there retention may cut.  What is older than the last seal can't be
taken away by anybody who holds the database but not the key; a seal kept elsewhere (the FSM keeps
each site's, a syslog receiver all) guards the seals against who holds both.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

import orjson

from shared.clock import Clock
from shared.pki.certificates import certificates_to_pem, thumbprint_of
from shared.pki.credentials import Credentials
from shared.pki.signatures import sign
from shared.store.contract import Head, SealText, Store, Transaction, Unsealed
from shared.tasks.loop import Outcome

PURPOSE: Final = "hanse audit seal"
SIGNERS: Final = "audit.signers"
"""The space of records with the certificate chains of those who sealed, by thumbprint."""

PERIOD: Final = 10.0
"""Seconds between two seals, while there is something to seal."""
WHOLE_EVERY: Final = timedelta(days=1)

# Two processes' clocks may differ by so much without both sealing at once.
_SLACK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says; `heads` are the position and hash in which each chain ended.

    `number` is that of the last record then, `unchained` of the last record in no chain;
    `whole_at` is when a seal last named every chain.
    """

    sequence: int
    at: datetime
    incarnation: str
    number: int
    unchained: int
    heads: Mapping[str, tuple[int, str]]
    whole: bool
    whole_at: datetime
    previous: str | None
    signer: str

    @classmethod
    def parse(cls, text: SealText) -> Self:
        """Read a seal; ValueError if it is none, or its hash is another's."""
        if hash_of(text.body) != text.hash:
            raise ValueError("its hash is not that of what it says")
        try:
            body = orjson.loads(text.body)
            seal = cls(
                sequence=int(body["sequence"]),
                at=datetime.fromisoformat(body["at"]),
                incarnation=str(body["incarnation"]),
                number=int(body["number"]),
                unchained=int(body["unchained"]),
                heads={name: (int(at), str(end)) for name, (at, end) in body["heads"].items()},
                whole=bool(body["whole"]),
                whole_at=datetime.fromisoformat(body["wholeAt"]),
                previous=body["previous"],
                signer=str(body["signer"]),
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError("it says less than a seal must") from exc
        if seal.sequence != text.sequence:
            raise ValueError(f"it says that it is seal {seal.sequence}")
        return seal

    def to_body(self) -> str:
        body: dict[str, Any] = {
            "sequence": self.sequence,
            "at": self.at.isoformat(),
            "incarnation": self.incarnation,
            "number": self.number,
            "unchained": self.unchained,
            "heads": {name: list(end) for name, end in self.heads.items()},
            "whole": self.whole,
            "wholeAt": self.whole_at.isoformat(),
            "previous": self.previous,
            "signer": self.signer,
        }
        return orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()


def hash_of(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


class Sealer:
    """A reconciler: seals what no seal has yet."""

    name = "seal the audit trail"

    def __init__(
        self,
        store: Store,
        *,
        credentials: Callable[[], Credentials],
        clock: Clock,
        sealed: Callable[[SealText], None] = lambda _: None,
    ) -> None:
        """`credentials` gives the server's key of now; `sealed` is told of each new seal."""
        self._store = store
        self._credentials = credentials
        self._clock = clock
        self._sealed = sealed
        self._signers: set[str] = set()

    async def reconcile(self) -> Outcome:
        async with self._store.ledger.view() as view:
            heads = await view.heads()
        if all(head.position <= head.sealed for head in heads):
            return Outcome()
        credentials = self._credentials()
        signer = thumbprint_of(credentials.certificate)
        await self._introduce(signer, credentials)
        now = self._clock.now()

        def make(unsealed: Unsealed) -> SealText | None:
            seal = next_seal(unsealed, at=now, signer=signer)
            if seal is None:
                return None
            body = seal.to_body()
            signature = sign(credentials.key, PURPOSE, body.encode())
            return SealText(seal.sequence, body, hash_of(body), signature)

        made = await self._store.ledger.seal(make)
        if made is None:
            return Outcome()
        self._sealed(made)
        return Outcome(changed=1)

    async def _introduce(self, signer: str, credentials: Credentials) -> None:
        """Keep the certificates that a verifier needs."""
        if signer in self._signers:
            return
        chain = certificates_to_pem(credentials.chain)

        async def work(transaction: Transaction) -> None:
            await transaction.put_record(SIGNERS, signer, {"chain": chain})

        await self._store.transact(work)
        self._signers.add(signer)


def next_seal(unsealed: Unsealed, *, at: datetime, signer: str) -> Seal | None:
    """Return what is to be sealed now; None if nothing is, or another has just done it.  Pure."""
    grown = [head for head in unsealed.heads if head.position > head.sealed]
    if not grown:
        return None
    last = Seal.parse(unsealed.last) if unsealed.last else None
    if last and timedelta(0) <= at - last.at < timedelta(seconds=PERIOD) - _SLACK:
        return None
    # Whoever sets the clock back gets a whole seal more.
    whole = last is None or not timedelta(0) <= at - last.whole_at < WHOLE_EVERY
    named: Sequence[Head] = unsealed.heads if whole else grown
    return Seal(
        sequence=last.sequence + 1 if last else 1,
        at=at,
        incarnation=unsealed.incarnation,
        number=unsealed.number,
        unchained=unsealed.unchained,
        heads={head.chain: (head.position, head.hash) for head in named},
        whole=whole,
        whole_at=at if whole else last.whole_at if last else at,
        previous=unsealed.last.hash if unsealed.last else None,
        signer=signer,
    )
