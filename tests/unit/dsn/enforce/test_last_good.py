"""The last good configuration survives whatever happens to its writer."""

import errno
import os
from pathlib import Path

import pytest

from dsn.enforce.last_good import LastGood
from shared.errors import Invalid, StorageFull, Unavailable
from tests.unit.dsn.configurations import make_assignment, make_rule


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = LastGood(tmp_path / "last-good.json")
    assert file.load() is None

    for assignment in (make_assignment(1, make_rule(1)), make_assignment(2, make_rule(2, "deny"))):
        file.save(assignment)
        assert LastGood(tmp_path / "last-good.json").load() == assignment
    assert [each.name for each in tmp_path.iterdir()] == ["last-good.json"]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    LastGood(tmp_path / "last-good.json").save(make_assignment(1))

    assert (tmp_path / "last-good.json").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_is_no_hindrance(tmp_path: Path) -> None:
    file = LastGood(tmp_path / "last-good.json")
    file.save(make_assignment(1))
    (tmp_path / ".last-good.json.new").write_bytes(b'{"format": 1, "conf')

    assert file.load() == make_assignment(1)
    file.save(make_assignment(2))
    assert file.load() == make_assignment(2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"10.1.0.0/24", b"10.2.0.0/24"),
        lambda data: data.replace(b'"format":1', b'"format":2'),
        lambda data: b"[]",
        lambda data: data.replace(b'"tier"', b'"tire"'),
    ],
)
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "last-good.json"
    LastGood(path).save(make_assignment(1, make_rule(1)))
    path.write_bytes(damage(path.read_bytes()))

    with pytest.raises(Invalid, match="last good configuration") as refusal:
        LastGood(path).load()
    assert refusal.value.code == "last_good_unreadable"


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LastGood(tmp_path / "last-good.json")
    file.save(make_assignment(1))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            file.save(make_assignment(2))
    assert file.load() == make_assignment(1)


def test_a_folder_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refusal:
        LastGood(tmp_path / "gone" / "last-good.json").save(make_assignment(1))
    assert refusal.value.code == "last_good_unwritable"
