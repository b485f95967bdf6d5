"""What runs beside a server for its audit trail."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from shared.audit import forward, retention, seals
from shared.audit.forward import Forward
from shared.audit.retention import Retain
from shared.audit.seals import Sealer
from shared.audit.settings import AuditSettings
from shared.audit.syslog import Origin
from shared.clock import Clock
from shared.metrics.names import Metrics
from shared.pki.credentials import Credentials
from shared.store.contract import SealText, Store
from shared.tasks.loop import Reconciler


def keepers(
    store: Store,
    settings: AuditSettings,
    *,
    credentials: Callable[[], Credentials],
    origin: Origin,
    owner: str,
    clock: Clock,
    metrics: Metrics,
    sealed: Callable[[SealText], None] = lambda _: None,
) -> Iterator[tuple[Reconciler, float]]:
    """Yield the reconcilers of a server's trail, and the seconds between two passes of each.

    `credentials` gives the server's key of now, `owner` names this process among all that use the
    store, `sealed` is told of each new seal.  Invalid for a receiver's certificates.
    """
    yield Sealer(store, credentials=credentials, clock=clock, sealed=sealed), seals.PERIOD
    keep = timedelta(seconds=settings.retention)
    yield Retain(store, retention=keep, clock=clock), retention.PERIOD
    if settings.syslog is not None:
        sender = Forward(
            store, settings.syslog, origin=origin, owner=owner, clock=clock, metrics=metrics
        )
        yield sender, forward.PERIOD
