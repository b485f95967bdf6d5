"""Rollouts over a federation in memory, at random, and what a site is to have meanwhile.

The oracle takes no notice of what a Rollout keeps of the version before: it looks at what stood
when the rollout began.
"""

import random
from collections.abc import Iterator
from typing import Any

from fsm.feed.item import Item
from fsm.feed.select import select, view_of
from fsm.rollouts.drafts import Wish, changed, rewritten, rollout_key, started, stepped
from fsm.rollouts.steps import Reach
from shared.ids import COMMON, FEDERATION, Key
from shared.model.rollout import ENDED, Rollout
from shared.store.contract import Draft, Stored
from tests.fakes.store import EPOCH, MemoryStore

SITES = ("sfo", "nyc")
GO_ON = {"Site", "Role", "RoleBinding", "Revocation", "LoginRevocation", "VerificationKey",
         "TrustAnchor", "ChangeRequest"}  # fmt: skip
"""What a paused site gets all the same."""
WISH = Wish((), 0, "10m")


def running(store: MemoryStore) -> Iterator[tuple[Stored, Rollout, Key]]:
    """Yield the rollouts that haven't ended, with their targets."""
    yield from _running(store.objects)


def _running(objects: dict[Key, Stored]) -> Iterator[tuple[Stored, Rollout, Key]]:
    for key, stored in sorted(objects.items()):
        if key.kind != "Rollout":
            continue
        spec = Rollout.model_validate(stored.spec)
        if spec.state not in ENDED:
            target = Key(spec.target_kind, key.tenant, spec.target_scope, spec.target)
            yield stored, spec, target


async def start(store: MemoryStore, draft: Draft) -> None:
    """Begin to roll a policy out."""
    before = store.objects.get(draft.key)

    async def work(transaction: Any) -> None:
        after = await transaction.put(draft)
        spec = started(WISH, before, after, by="user:x", now=EPOCH)
        key = rollout_key(draft.key, f"{draft.key.name}-{store.at.revision}")
        await transaction.put(Draft(key, spec))

    if before is None or before.spec != draft.spec:
        await store.transact(work)


async def go_on(store: MemoryStore, source: random.Random) -> None:
    """Reach a site with one of the rollouts, or end it."""
    found = list(running(store))
    if not found:
        return
    stored, spec, target = source.choice(found)
    reached = {site for each in spec.reached for site in each.sites}
    left = [site for site in SITES if site not in reached]
    if left and source.random() < 0.6:
        step = Reach(spec.wave + 1, (source.choice(left),))
        await _put(store, rewritten(stored, stepped(spec, step, now=EPOCH)))
    elif left and source.random() < 0.5:
        await _abort(store, stored, spec, target)
    else:
        await _put(store, rewritten(stored, changed(spec, state="done")))


async def _abort(store: MemoryStore, stored: Stored, spec: Rollout, target: Key) -> None:
    async def work(transaction: Any) -> None:
        if spec.before is None:
            await transaction.delete(target)
        else:
            await transaction.put(Draft(target, spec.before.spec, spec.before.labels))
        await transaction.put(rewritten(stored, changed(spec, state="aborted")))

    await store.transact(work)


async def _put(store: MemoryStore, draft: Draft) -> None:
    async def work(transaction: Any) -> None:
        await transaction.put(draft)

    await store.transact(work)


def objects_at(store: MemoryStore, revision: int) -> dict[Key, Stored]:
    """Return everything that the store had at a revision."""
    return store._past[revision][1]


async def pause(store: MemoryStore, site: str) -> None:
    """Pause a site at the revision of now, or let it go on if it is paused."""
    stored = store.objects[Key("Site", COMMON, FEDERATION, site)]
    spec = dict(stored.spec)
    if spec.pop("paused", None) is None:
        spec["paused"] = {"revision": int(store.at.revision), "by": "x", "reason": "y"}
    await _put(store, rewritten(stored, spec))


def is_paused(store: MemoryStore, site: str) -> bool:
    return "paused" in store.objects[Key("Site", COMMON, FEDERATION, site)].spec


def expected_at(store: MemoryStore, revision: int, site: str) -> dict[Key, int]:
    """Return what a site is to have at a revision, and each object's revision."""
    found = objects_at(store, revision)[Key("Site", COMMON, FEDERATION, site)]
    now = _expected(store, revision, site)
    if "paused" not in found.spec:
        return now
    then = _expected(store, found.spec["paused"]["revision"], site)
    policy = {key: each for key, each in then.items() if key.kind not in GO_ON}
    return policy | {key: each for key, each in now.items() if key.kind in GO_ON}


def _expected(store: MemoryStore, revision: int, site: str) -> dict[Key, int]:
    now = objects_at(store, revision)
    world = {key: Item(each) for key, each in now.items() if key.kind != "Rollout"}
    view = view_of(world, site)
    assert view is not None
    for stored, spec, target in _running(now):
        if any(site in each.sites for each in spec.reached):
            continue
        began = next(
            commit.revision
            for commit in store.log
            if any(change.key == stored.key for change in commit.changes)
        )
        before = objects_at(store, began - 1).get(target)
        world.pop(target, None)
        if before is not None:
            world[target] = Item(before)
    return {key: item.stored.revision for key, item in select(world, view).items.items()}
