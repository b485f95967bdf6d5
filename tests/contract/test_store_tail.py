"""What a process knows of its store's end, when others have written and dropped the log meanwhile."""

from collections.abc import Awaitable, Callable

import pytest

from shared.errors import RevisionCompacted
from shared.ids import Key
from shared.store.contract import Bookmark, Draft, Transaction
from tests.contract.conftest import Opener


async def test_regression_a_process_left_behind_by_compaction_failed_with_a_key_error(
    open_again: Opener,
) -> None:
    """It hadn't read for longer than the log is kept, as when it was stopped for a while."""
    behind, other = await open_again(), await open_again()

    watch = behind.watch((await behind.position()).revision)
    assert isinstance(await anext(watch), Bookmark)
    for number in range(4):
        await other.transact(_naming(f"blue {number}"))
    last = (await other.position()).revision
    await other.compact(last)
    with pytest.raises(RevisionCompacted):
        await anext(watch)
    # Whoever lists again is told all that follows.
    again = behind.watch(last)
    assert isinstance(await anext(again), Bookmark)
    await other.transact(_naming("green"))
    assert (await anext(again)).revision == last + 1


def _naming(name: str) -> Callable[[Transaction], Awaitable[None]]:
    async def unit(transaction: Transaction) -> None:
        key = Key("Tenant", "common", "federation", "blue")
        await transaction.put(Draft(key, {"displayName": name}))

    return unit
