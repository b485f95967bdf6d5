"""In whose name the FSM asks, judged by what has flowed down: keys, roles, and who is out."""

from collections.abc import Callable
from datetime import datetime

from shared.access.book import Book
from shared.access.flowed import flowed_grants
from shared.auth.delegation import Binding, Delegated, hash_of, key_id_in, read_delegation
from shared.auth.identity import Caller
from shared.auth.tokens import LEEWAY, VerificationKey, unknown_key
from shared.clock import Clock
from shared.errors import Unauthenticated
from shared.ids import COMMON, FEDERATION, Key
from shared.login.end_by_revocation import revocation_key
from shared.model.trust import VerificationKey as Published
from shared.pki.identity import SpiffeId
from shared.pki.peer import PeerIdentity
from shared.store.contract import Snapshot, Store


class Askers:
    def __init__(
        self, store: Store, *, own: SpiffeId, book: Callable[[], Book], clock: Clock
    ) -> None:
        """`own` is this SDSP's identity; `book` returns who holds what, now."""
        self._store = store
        self._own = own
        self._book = book
        self._clock = clock

    async def caller(self, token: str | None, question: bytes, peer: PeerIdentity) -> Caller:
        """Return who asks, with what the federation's roles give him here.

        `peer` is the FSM at the other end of the connection, `question` the bytes that it sent.
        Unauthenticated (`invalid_token`, `token_expired`, `token_revoked`).
        """
        if token is None:
            raise Unauthenticated("say in whose name you ask: a token is missing")
        binding = Binding(str(peer.id), str(self._own), peer.thumbprint, hash_of(question))
        async with self._store.snapshot() as snapshot:
            key = await self._key(snapshot, key_id_in(token), str(peer.id))
            told = read_delegation(token, key, binding, clock=self._clock)
            await _check_departed(snapshot, told)
        asker = told.asker
        return Caller(
            kind=asker.kind,
            identity=asker.identity,
            display_name=asker.name,
            grants=flowed_grants(self._book(), asker),
            peer=peer,
            expires_at=told.expires_at,
        )

    async def _key(self, snapshot: Snapshot, key_id: str, server: str) -> VerificationKey:
        """Return a key by which the FSM signs tokens now, as it has said itself."""
        stored = await snapshot.get(Key("VerificationKey", COMMON, FEDERATION, key_id))
        if stored is None:
            raise unknown_key()
        said = Published.model_validate(stored.spec)
        now = self._clock.now()
        if (
            said.server != server
            or said.use != "token"
            or now < said.not_before - LEEWAY
            or (said.not_after is not None and now >= said.not_after)
        ):
            raise unknown_key()
        key = VerificationKey(said.public_key)
        if key.id != key_id:
            raise unknown_key()
        return key


async def _check_departed(snapshot: Snapshot, told: Delegated) -> None:
    """Raise Unauthenticated if all logins of the person were ended after the token was made."""
    stored = await snapshot.get(revocation_key(told.asker.identity))
    if stored is not None and told.issued_at <= datetime.fromisoformat(stored.spec["at"]):
        raise Unauthenticated("all logins of this person have ended", code="token_revoked")
