"""The keys of a server's tokens: which one signs, and which still count.

Private keys lie in a folder (shared.auth.tokenkeys), their public halves in the store, so that
every process of a server knows every key, whether they share the folder or only the database.  A
key is published before it signs, and signs only some time after that.  The one before it counts
until the last token that it may have signed has expired.  Both are decided within transactions:
whoever issues a token asks, in the transaction that records the login, which key signs
(`reserve`); so no token is ever signed by a key that is about to be forgotten.

A key that isn't known is looked for in the store before a token is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from shared.auth.tokenkeys import KeyFolder
from shared.auth.tokens import LEEWAY, SigningKey, VerificationKey, unknown_key
from shared.clock import Clock
from shared.errors import Unavailable
from shared.login.reread import Reread
from shared.store.contract import AuditRecord, Snapshot, Store, Transaction

KEYS: Final = "tokenkeys"
ROTATION: Final = "tokenrotation"
_LATEST: Final = "latest"

LEAD: Final = timedelta(seconds=30)
"""How long a key is known before it signs: several times the period of reading."""

LIFE: Final = timedelta(days=30)
"""A key is followed by another after this time, without anybody's asking."""

# A folder that is gone for good (a host that was replaced) retires no keys itself.
_ABANDONED: Final = 2 * LIFE


@dataclass(frozen=True, slots=True)
class Published:
    """What the store says of a key.

    `owner` is the folder that has its private half, `number` counts that folder's keys, and
    `rotation` is the order to rotate that it has answered.  `longest` is the longest lifetime, in
    seconds, of a token that it signed.  From `retires_at` on it counts no longer.
    """

    public: VerificationKey
    owner: str
    number: int
    rotation: int
    created_at: datetime
    signs_at: datetime
    longest: float = 0.0
    retires_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        return self.retires_at is None or now < self.retires_at

    def to_record(self) -> dict[str, Any]:
        return {
            "public": self.public.public_pem,
            "owner": self.owner,
            "number": self.number,
            "rotation": self.rotation,
            "createdAt": self.created_at.isoformat(),
            "signsAt": self.signs_at.isoformat(),
            "longest": self.longest,
            "retiresAt": self.retires_at.isoformat() if self.retires_at else None,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Published":
        retires_at = record["retiresAt"]
        return cls(
            public=VerificationKey(record["public"]),
            owner=record["owner"],
            number=record["number"],
            rotation=record["rotation"],
            created_at=datetime.fromisoformat(record["createdAt"]),
            signs_at=datetime.fromisoformat(record["signsAt"]),
            longest=record["longest"],
            retires_at=datetime.fromisoformat(retires_at) if retires_at else None,
        )


Keys = Mapping[str, Published]


def signer(keys: Keys, owner: str, *, now: datetime) -> str | None:
    """Return the id of the key that signs for a folder: its newest that is long enough known."""
    own = {
        each.number: key_id
        for key_id, each in keys.items()
        if each.owner == owner and each.retires_at is None
    }
    ready = [number for number, key_id in own.items() if keys[key_id].signs_at <= now]
    # None is ready if the clock was set back, or another process's is ahead of ours.
    return own[max(ready) if ready else min(own)] if own else None


def is_due(keys: Keys, owner: str, *, rotation: int, now: datetime) -> bool:
    """Return whether a folder needs another key."""
    own = [each for each in keys.values() if each.owner == owner and each.retires_at is None]
    if not own:
        return True
    newest = max(own, key=lambda each: each.number)
    return newest.rotation < rotation or newest.created_at + LIFE <= now


def retired(keys: Keys, owner: str, *, now: datetime) -> dict[str, Published]:
    """Return those keys that sign no longer and whose end isn't set, with their end."""
    signing = signer(keys, owner, now=now)
    last = keys[signing].number if signing else 0
    return {
        key_id: replace(each, retires_at=now + timedelta(seconds=each.longest) + 2 * LEEWAY)
        for key_id, each in keys.items()
        if each.retires_at is None
        and (
            each.number < last
            if each.owner == owner
            else each.created_at + _ABANDONED <= now and each.signs_at <= now
        )
    }


class KeyRing:
    """Use after start(); refresh() now and then, in every process."""

    def __init__(self, folder: KeyFolder, store: Store, *, clock: Clock) -> None:
        self._folder = folder
        self._store = store
        self._clock = clock
        self._private: Mapping[str, SigningKey] = {}
        self._keys: Keys = {}
        self._known: dict[str, tuple[Mapping[str, Any], Published]] = {}
        self._reread = Reread(self._read_now, clock=clock)
        self.on_published: Callable[[], None] = lambda: None
        """Called when this process has published another key."""

    async def start(self) -> None:
        """Have a key that signs; Invalid (`key_exposed`, `invalid_key`)."""
        self._private = self._folder.keys()
        await self.refresh()

    async def refresh(self) -> int:
        """Read what others have published, and make, retire and drop what is due; how many."""
        async with self._store.snapshot() as snapshot:
            rotation = await self.read(snapshot)
        now, owner = self._clock.now(), self._folder.owner
        changes = 0
        if is_due(self._keys, owner, rotation=rotation, now=now):
            changes += await self._add()
        over = [key_id for key_id, each in self._keys.items() if not each.counts(now)]
        if over or retired(self._keys, owner, now=now):
            changes += await self._retire()
        for key_id in self._folder.keys().keys() - self._keys.keys():
            if not self._folder.is_young(key_id, now=now):
                self._folder.drop(key_id)
        self._private = self._folder.keys()
        return changes

    def counts(self, key_id: str) -> bool:
        """Return whether a key counts, as far as this process knows."""
        found = self._keys.get(key_id)
        return found is not None and found.counts(self._clock.now())

    @property
    def keys(self) -> Keys:
        return self._keys

    @property
    def signing(self) -> SigningKey | None:
        """The key that signs what is believed for a moment only; None while one is being made.

        A token, which is believed for longer, takes reserve().
        """
        found = signer(self._keys, self._folder.owner, now=self._clock.now())
        return self._private.get(found) if found else None

    @property
    def live(self) -> frozenset[str]:
        """The ids of the keys that count."""
        now = self._clock.now()
        return frozenset(key_id for key_id, each in self._keys.items() if each.counts(now))

    @property
    def longest(self) -> timedelta:
        """The longest lifetime of a token that any of the keys has signed."""
        return timedelta(seconds=max((each.longest for each in self._keys.values()), default=0.0))

    async def find(self, key_id: str) -> VerificationKey:
        """Return a key that counts; Unauthenticated (`invalid_token`), Unavailable."""
        if key_id not in self._keys:
            await self._reread()
        if not self.counts(key_id):
            raise unknown_key()
        return self._keys[key_id].public

    async def reserve(self, transaction: Transaction, lifetime: timedelta) -> SigningKey:
        """Return the key that signs a token of a lifetime, in the transaction that records it.

        Unavailable (`no_signing_key`) if a key is only being made: refresh(), and try again.
        """
        keys = _published(await transaction.records(KEYS))
        found = signer(keys, self._folder.owner, now=self._clock.now())
        if found is None or found not in self._private:
            raise Unavailable("the server is changing its keys; try again", code="no_signing_key")
        seconds = lifetime.total_seconds()
        if keys[found].longest < seconds:
            longer = replace(keys[found], longest=seconds)
            await transaction.put_record(KEYS, found, longer.to_record())
        return self._private[found]

    async def signing_for(self, lifetime: timedelta) -> SigningKey:
        """Return the key that signs a token of which nothing is recorded; Unavailable.

        Only the first of a longer lifetime than any before costs a transaction.
        """
        found = signer(self._keys, self._folder.owner, now=self._clock.now())
        if (
            found in self._private
            and found is not None
            and self._keys[found].longest >= lifetime.total_seconds()
        ):
            return self._private[found]

        async def unit(transaction: Transaction) -> SigningKey:
            return await self.reserve(transaction, lifetime)

        key = (await self._store.transact(unit)).result
        await self._read_now()
        return key

    async def rotate(self, record: AuditRecord, *, at_once: bool) -> None:
        """Have every folder make a new key.

        `at_once`, after a theft, lets all keys of now count no longer, and so all access tokens;
        who holds a refresh token gets a new one for it.
        """

        async def unit(transaction: Transaction) -> None:
            number = _number(await transaction.record(ROTATION, _LATEST))
            await transaction.put_record(ROTATION, _LATEST, {"number": number + 1})
            if at_once:
                now = self._clock.now()
                for key_id, each in _published(await transaction.records(KEYS)).items():
                    if each.counts(now):
                        over = replace(each, retires_at=now).to_record()
                        await transaction.put_record(KEYS, key_id, over)
            await transaction.audit(record)

        await self._store.transact(unit)
        await self.refresh()

    async def _add(self) -> int:
        """Make a key and publish it, unless another process of this folder was quicker."""
        key, owner = self._folder.create(), self._folder.owner

        async def unit(transaction: Transaction) -> bool:
            keys = _published(await transaction.records(KEYS))
            rotation = _number(await transaction.record(ROTATION, _LATEST))
            now = self._clock.now()
            if not is_due(keys, owner, rotation=rotation, now=now):
                return False
            signing = signer(keys, owner, now=now)
            own = [each.number for each in keys.values() if each.owner == owner]
            published = Published(
                public=key.public,
                owner=owner,
                number=max(own, default=0) + 1,
                rotation=rotation,
                created_at=now,
                signs_at=now + LEAD if signing else now,
            )
            await transaction.put_record(KEYS, key.id, published.to_record())
            return True

        is_published = (await self._store.transact(unit)).result
        if not is_published:
            self._folder.drop(key.id)
        await self._read_now()
        if is_published:
            self.on_published()
        return int(bool(is_published))

    async def _retire(self) -> int:
        owner = self._folder.owner

        async def unit(transaction: Transaction) -> list[str]:
            now = self._clock.now()
            keys = _published(await transaction.records(KEYS))
            for key_id, each in retired(keys, owner, now=now).items():
                await transaction.put_record(KEYS, key_id, each.to_record())
            over = [key_id for key_id, each in keys.items() if not each.counts(now)]
            for key_id in over:
                await transaction.delete_record(KEYS, key_id)
            return over

        over = (await self._store.transact(unit)).result or []
        for key_id in over:
            self._folder.drop(key_id)
        await self._read_now()
        return len(over)

    async def _read_now(self) -> None:
        async with self._store.snapshot() as snapshot:
            await self.read(snapshot)
        self._private = self._folder.keys()

    async def read(self, snapshot: Snapshot) -> int:
        """Take over what is published; return the number of the last order to rotate."""
        records = await snapshot.records(KEYS)
        known = self._known
        # Reading a key's PEM takes longer than all the rest.
        self._known = {
            key_id: known[key_id]
            if key_id in known and known[key_id][0] == record
            else (record, Published.from_record(record))
            for key_id, record in records.items()
        }
        self._keys = {key_id: each for key_id, (_, each) in self._known.items()}
        return _number(await snapshot.record(ROTATION, _LATEST))


def _published(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Published]:
    return {key_id: Published.from_record(each) for key_id, each in records.items()}


def _number(record: Mapping[str, Any] | None) -> int:
    return int(record["number"]) if record else 0
