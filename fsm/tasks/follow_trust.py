"""Notice at once when another process has published another issuing CA or other roots."""

import logging
from collections.abc import Callable
from typing import NoReturn

from shared.backoff import Backoff
from shared.clock import Clock
from shared.enrolment.anchors import ANCHORS
from shared.errors import HanseError
from shared.store.contract import Bookmark, Store

log = logging.getLogger(__name__)


async def follow_trust(
    store: Store, changed: Callable[[], None], *, clock: Clock, backoff: Backoff
) -> NoReturn:
    """Call `changed` whenever what is published may have changed, until cancelled.

    While the store is out nothing is heard of it; then `changed` is called once.
    """
    while True:
        try:
            async with store.snapshot() as snapshot:
                after = snapshot.position.revision
            changed()
            async for seen in store.watch(after, selection=ANCHORS):
                backoff.reset()
                if not isinstance(seen, Bookmark):
                    changed()
        except HanseError as exc:
            log.warning("can't follow the trust anchors, will retry", extra={"code": exc.code})
        await clock.sleep(backoff.next())
