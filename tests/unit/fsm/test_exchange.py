"""Whether what lies in an FSM's folder was left behind by another process."""

import pytest

from fsm.exchange import FolderSerials, is_left_behind

ISSUING = {"role": "issuing", "state": "current"}
CURRENT, NEXT, LEAVING = (
    {"role": "root", "state": each} for each in ("current", "next", "leaving")
)


def folder(issuing: str, *roots: str, coming: str | None = None) -> FolderSerials:
    return FolderSerials(issuing, frozenset(roots), coming)


@pytest.mark.parametrize(
    ("here", "published"),
    [
        pytest.param(folder("i1", "r1"), {}, id="nothing was published yet"),
        pytest.param(folder("i1", "r1"), {"i1": ISSUING, "r1": CURRENT}, id="the same"),
        pytest.param(folder("i3", "r1"), {"i1": ISSUING, "r1": CURRENT}, id="a new issuing CA"),
        pytest.param(
            folder("i1", "r1", "r2", coming="r2"), {"i1": ISSUING, "r1": CURRENT}, id="a new root"
        ),
        pytest.param(
            folder("i3", "r1", "r2", coming="r2"),
            {"i1": ISSUING, "r1": CURRENT, "r2": NEXT},
            id="the new root taken into use",
        ),
        pytest.param(
            folder("i3", "r2"),
            {"i1": ISSUING, "r1": CURRENT, "r2": NEXT},
            id="and the old one dropped, before anything of it was published",
        ),
        pytest.param(
            folder("i2", "r2"), {"i2": ISSUING, "r1": LEAVING, "r2": CURRENT}, id="dropped"
        ),
    ],
)
def test_what_is_newer_than_what_is_published_goes_on(here: FolderSerials, published: dict) -> None:
    assert not is_left_behind(here, published, {"i1", "i2"})


@pytest.mark.parametrize(
    ("here", "published"),
    [
        pytest.param(folder("i1", "r1"), {"i2": ISSUING, "r1": CURRENT}, id="an older issuing CA"),
        pytest.param(
            folder("i1", "r1"), {"i1": ISSUING, "r1": CURRENT, "r2": NEXT}, id="a root is announced"
        ),
        pytest.param(
            folder("i1", "r1", "r2", coming="r2"),
            {"i2": ISSUING, "r1": LEAVING, "r2": CURRENT},
            id="it is in use",
        ),
        pytest.param(
            folder("i2", "r1", "r2", coming="r2"),
            {"i2": ISSUING, "r2": CURRENT},
            id="the old one is dropped",
        ),
    ],
)
def test_what_others_have_gone_on_from_is_left_behind(here: FolderSerials, published: dict) -> None:
    assert is_left_behind(here, published, {"i1", "i2"})
