"""Show the FSM the newest seal of the site's audit trail: a reconciler."""

from collections.abc import Callable

from shared.audit.seals import Seal
from shared.feed.follow import FEED
from shared.http.peer import PeerClient
from shared.store.contract import SealText, Store
from shared.tasks.loop import Outcome

_AT_ONCE = 500


class SealUpstream:
    name = "show seals upstream"

    def __init__(
        self, store: Store, *, upstream: PeerClient, connected: Callable[[], bool]
    ) -> None:
        self._store = store
        self._upstream = upstream
        self._connected = connected
        self._newest: SealText | None = None
        self._shown = 0

    async def reconcile(self) -> Outcome:
        if not self._connected():
            return Outcome()
        newest = await self._find()
        if newest is None or newest.sequence <= self._shown:
            return Outcome()
        seal = Seal.parse(newest)
        await self._upstream.post(
            f"{FEED}/seal",
            {
                "incarnation": seal.incarnation,
                "sequence": seal.sequence,
                "hash": newest.hash,
                "at": seal.at.isoformat(),
            },
        )
        self._shown = newest.sequence
        return Outcome(changed=1)

    async def _find(self) -> SealText | None:
        """Return the newest seal; found once, it is only followed."""
        async with self._store.ledger.view() as view:
            after = self._newest.sequence if self._newest else 0
            while found := await view.seals(after, _AT_ONCE):
                self._newest = found[-1]
                after = self._newest.sequence
        return self._newest
