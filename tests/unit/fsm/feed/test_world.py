"""The world's indexes agree with the world, whatever happened to it."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fsm.feed.item import Item
from fsm.feed.world import IndexedWorld
from shared.ids import Generation, Key, Revision
from shared.store.contract import Stored

AT = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.builds(
    Key,
    st.sampled_from(["Site", "Network", "Service"]),
    st.sampled_from(["common", "acme"]),
    st.sampled_from(["federation", "region/north"]),
    st.sampled_from(["a", "b", "c"]),
)


def item(key: Key, revision: int) -> Item:
    return Item(
        Stored(key, "uid", {}, {}, {}, None, Revision(revision), Generation(1), AT, AT, status={})
    )


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=40))
def test_what_is_found_by_name_or_kind_is_what_is_there(steps: list[tuple[Key, bool]]) -> None:
    world = IndexedWorld()
    for revision, (key, put) in enumerate(steps):
        if put:
            world[key] = item(key, revision)
        else:
            world.remove(key)
    for kind in ("Site", "Network", "Service"):
        assert world.of_kind(kind) == {k: v for k, v in world.items() if k.kind == kind}
    names = {("Network", "a"), ("Service", "b"), ("Service", "none")}
    wanted = {k: v for k, v in world.items() if k.kind == "Site" or (k.kind, k.name) in names}
    assert world.concerned({"Site"}, names) == wanted
    again = IndexedWorld(dict(world))
    assert (again, again.concerned({"Site"}, names)) == (world, wanted)
