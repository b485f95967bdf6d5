"""Objects for the contract suite of stores, and the shortest ways to write and read them."""

from collections.abc import Mapping
from typing import Any

from shared.ids import Key, Revision
from shared.store.contract import Draft, Selection, Store, Stored, Transaction

WEB = Key("Network", "common", "federation", "web")
DATABASE = Key("Network", "common", "federation", "database")
SPEC = {"subnets": ["10.0.0.0/24"]}


async def put(
    store: Store,
    key: Key,
    spec: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    expected: Revision | None = None,
) -> Stored:
    async def work(transaction: Transaction) -> Stored:
        return await transaction.put(Draft(key, spec, labels or {}), expected=expected)

    return (await store.transact(work)).result


async def delete(store: Store, key: Key, *, expected: Revision | None = None) -> Stored:
    async def work(transaction: Transaction) -> Stored:
        return await transaction.delete(key, expected=expected)

    return (await store.transact(work)).result


async def get(store: Store, key: Key, at: Revision | None = None) -> Stored | None:
    async with store.snapshot(at) as snapshot:
        return await snapshot.get(key)


async def names(store: Store, selection: Selection, at: Revision | None = None) -> list[str]:
    async with store.snapshot(at) as snapshot:
        return [stored.key.name for stored in await snapshot.list(selection)]
