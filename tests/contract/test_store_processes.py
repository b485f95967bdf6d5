"""Several processes on one store: nothing lost, nothing twice, every watch right."""

from shared.ids import Revision
from shared.store.contract import Commit, Draft, Operation, Store, Transaction
from shared.store.digest import GENESIS, chain
from tests.contract.conftest import Opener
from tests.contract.store_processes import workers
from tests.contract.store_validators import Log, faults_in, load_of, recording_of
from tests.contract.store_worker import Job, key_of, said

PROCESSES = 4


async def log_of(store: Store) -> Log:
    """Return the whole log by revision, after checking its chain of digests."""
    position = await store.position()
    log = {}
    digest = GENESIS
    events = store.watch(Revision(0))
    while position.revision not in log and position.revision > 0:
        event = await anext(events)
        assert isinstance(event, Commit)
        digest = chain(digest, event.changes)
        assert event.digest == digest
        log[event.revision] = said(event)
    await events.aclose()
    assert position.digest == digest
    return log


async def put_last(store: Store) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.put(Draft(key_of("last"), {}))

    await store.transact(work)


async def test_watches_keep_their_six_promises_while_four_processes_write(
    store: Store, store_url: str
) -> None:
    writing = [
        Job(store_url, "write", name=f"w{i}", writers=4, writes=15, keys=12)
        for i in range(PROCESSES)
    ]
    watching = [
        Job(store_url, "watch", until="last"),
        Job(store_url, "watch", until="last", pause_at=7),
    ]
    async with workers(writing) as writers, workers(watching) as watchers:
        for worker in (*watchers, *writers):
            await worker.start()
        acknowledged = [
            line for worker in writers for line in await worker.finish() if "revision" in line
        ]
        await put_last(store)
        recordings = [recording_of(await worker.finish()) for worker in watchers]
    log = await log_of(store)
    load = load_of(recordings, log)
    print("load:", load)  # noqa: T201 - a run says what it carried
    assert load["commits"] > 100, "too little load to prove anything"
    assert load["batches"] > 10
    assert load["resumptions"] > 10
    for recording in recordings:
        assert faults_in(recording, log) == []
        assert recording[-1].commits[-1] == log[max(log)]
    for line in acknowledged:
        if not line["delete"]:
            changed = {
                change["key"][3]: change["spec"] for change in log[line["revision"]]["changes"]
            }
            assert changed == dict.fromkeys(line["names"], line["spec"])


async def test_sixteen_writers_in_four_processes_are_never_put_off(
    store: Store, store_url: str
) -> None:
    jobs = [Job(store_url, "write", name=f"w{i}", writers=4, writes=15) for i in range(PROCESSES)]
    async with workers(jobs) as writers:
        for worker in writers:
            await worker.start()
        lines = [line for worker in writers for line in await worker.finish()]
    revisions = [line["revision"] for line in lines if "revision" in line]
    assert sorted(revisions) == list(range(1, PROCESSES * 4 * 15 + 1))
    assert sum(line["put_off"] for line in lines if "put_off" in line) == 0
    async with store.snapshot() as snapshot:
        assert len(await snapshot.list()) == len(revisions)


async def test_no_increment_is_lost_between_processes(store: Store, store_url: str) -> None:
    jobs = [Job(store_url, "count", name=f"w{i}", writers=2, writes=8) for i in range(2)]
    async with workers(jobs) as counters:
        for worker in counters:
            await worker.start()
        for worker in counters:
            await worker.finish()
    async with store.snapshot() as snapshot:
        number = await snapshot.get(key_of("number"))
    assert number is not None
    assert number.spec == {"number": 32}
    assert number.generation == 32


async def test_a_killed_writer_loses_nothing_that_was_acknowledged(
    store: Store, store_url: str, open_again: Opener
) -> None:
    jobs = [Job(store_url, "write", name=f"w{i}", writers=4, writes=0, keys=9) for i in range(2)]
    async with workers(jobs) as writers:
        for worker in writers:
            await worker.start()
        victim, survivor = writers
        while len(victim.lines) < 40:
            assert await victim.line() is not None
        killed = await victim.kill()
        # The lock of the dead is free: the other goes on.
        before = len(survivor.lines)
        while len(survivor.lines) < before + 20:
            assert await survivor.line() is not None
        said_last = await survivor.kill()
    log = await log_of(await open_again())
    acknowledged = [line for line in (*killed, *said_last) if line.get("revision")]
    assert len(acknowledged) >= 58
    for line in acknowledged:
        assert line["revision"] <= max(log)
        if not line["delete"]:
            changed = {
                change["key"][3]: change["spec"] for change in log[line["revision"]]["changes"]
            }
            assert changed == dict.fromkeys(line["names"], line["spec"])
    await put_last(store)
    assert (await store.position()).revision == max(log) + 1


async def test_two_processes_see_each_others_changes(store: Store, store_url: str) -> None:
    async with workers([Job(store_url, "write", name="other", writes=1)]) as [other]:
        events = store.watch(Revision(0))
        await anext(events)  # the bookmark: it waits now
        await other.start()
        commit = await anext(events)
        assert isinstance(commit, Commit)
        assert [change.operation for change in commit.changes] == [Operation.PUT]
        assert commit.changes[0].key == key_of("other-0-1")
        await other.finish()
        await events.aclose()
    async with workers([Job(store_url, "watch", after=1, until="last")]) as [other]:
        await other.start()
        assert await other.line() == {"start": 1}
        assert await other.line() == {"bookmark": 1, "digest": commit.digest}
        await put_last(store)
        lines = await other.finish()
    assert [line["commit"] for line in lines if "commit" in line] == [2]
