"""Publish the public halves of a server's token keys, as objects that the feed carries.

A site that knows them can judge what the FSM signed for it while the FSM is away.  They follow the
key ring's records (shared.login.keyring): a key is published before it signs, gets its end when
another has taken over, and goes when it counts no longer.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.ids import COMMON, Key
from shared.login.keyring import KEYS
from shared.store.contract import Draft, Selection, Store, Transaction
from shared.tasks.loop import Outcome

KIND: Final = "VerificationKey"


class PublishKeys:
    """A reconciler from the key ring's records to objects."""

    name = "publish token keys"

    def __init__(self, store: Store, *, server: str, scope: str) -> None:
        """`server` is the identity of the server that signs, `scope` that of its objects."""
        self._store = store
        self._server = server
        self._scope = scope
        self._published = Selection(kinds=frozenset({KIND}), scopes=frozenset({scope}))

    async def reconcile(self) -> Outcome:
        async with self._store.snapshot() as snapshot:
            wanted = self._wanted(await snapshot.records(KEYS))
            present = {each.key: each.spec for each in await snapshot.list(self._published)}
        if present == {key: draft.spec for key, draft in wanted.items()}:
            return Outcome()
        return Outcome(changed=(await self._store.transact(self._publish)).result)

    async def _publish(self, transaction: Transaction) -> int:
        wanted = self._wanted(await transaction.records(KEYS))
        present = {each.key for each in await transaction.list(self._published)}
        for key in present - wanted.keys():
            await transaction.delete(key)
        for draft in wanted.values():
            await transaction.put(draft)
        return len(present ^ wanted.keys()) or 1

    def _wanted(self, records: Mapping[str, Mapping[str, Any]]) -> dict[Key, Draft]:
        drafts = {}
        for key_id, record in records.items():
            key = Key(KIND, COMMON, self._scope, key_id)
            spec = {
                "server": self._server,
                "use": "token",
                "algorithm": "ES256",
                "publicKey": record["public"],
                "notBefore": record["createdAt"],
                **({"notAfter": record["retiresAt"]} if record["retiresAt"] else {}),
            }
            drafts[key] = Draft(key=key, spec=spec)
        return drafts
