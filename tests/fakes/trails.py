"""A store with an audit trail as servers leave one: rows, pages, several chains, seals."""

from datetime import UTC, datetime, timedelta

from shared.audit.seals import Sealer
from shared.ids import Key
from shared.pki.authority import create_root
from shared.pki.credentials import Credentials
from shared.pki.identity import TrustDomain
from shared.store.contract import AuditRecord, Draft, Store, Transaction
from tests.fakes.clock import VirtualClock

START = datetime(2026, 3, 1, tzinfo=UTC)


def credentials_of(clock: VirtualClock) -> Credentials:
    """Return a key with a certificate, and the root that it leads to."""
    return create_root(TrustDomain("hanse.example"), clock=clock)


def record(number: int, **fields: object) -> AuditRecord:
    values: dict[str, object] = {
        "at": START + timedelta(seconds=number),
        "request_id": f"request-{number}",
        "identity": f"user:kim-{number % 3}",
        "action": "get",
        "outcome": "ok",
        "tenant": ("common", "acme")[number % 2],
        "key": Key("Network", ("common", "acme")[number % 2], "federation", f"web-{number}"),
        "source_address": "10.1.2.3",
        "authority": "role viewer by all-viewers",
        "credential": "4d1f",
        "seconds": number / 1000,
    }
    return AuditRecord(**{**values, **fields})  # type: ignore[arg-type]  # as the fields say


async def write(store: Store, number: int, *, action: str = "update") -> None:
    """Change an object, with its record in the same transaction."""

    async def work(transaction: Transaction) -> None:
        await transaction.put(
            Draft(Key("Network", "common", "federation", "web"), {"vlan": number})
        )
        diff = {"spec.vlan": {"before": number - 1, "after": number}}
        await transaction.audit(record(number, action=action, diff=diff))

    await store.transact(work)


async def lead(
    stores: list[Store], sealers: list[Sealer], clock: VirtualClock, *, turns: int
) -> None:
    """Let several processes work on one database, and seal what they do."""
    for turn in range(turns):
        store = stores[turn % len(stores)]
        await write(store, turn * 10)
        await store.audit([record(turn * 10 + at) for at in range(1, 2 + turn % 4)])
        if turn % 2:
            await write(store, turn * 10 + 9)
        if turn % 3 == 2:
            clock.advance(11)
            await sealers[turn % len(sealers)].reconcile()
