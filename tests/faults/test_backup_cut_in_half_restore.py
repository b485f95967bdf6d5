"""Backup cut in half; restore.

Temp file, fsync, rename, manifest last; restore is tried in a test and gives an equal store.  Here:
a prepared FSM's backup cut at every kind of boundary and changed in every part, full disks beneath
backup and restore, and both killed at each of their failpoints.  Also: tests/contract/test_backup.py
(equal stores on each database), tests/integration/road/test_restored.py (what sites and nodes do).
"""

import asyncio
import hashlib
import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from fsm.home import home_of
from fsm.settings import FSMSettings
from shared.backup.archive import MANIFEST, opened
from shared.backup.contents import Home
from shared.backup.create import BackupMaker, Made, Wish
from shared.backup.restore import Order, Restored, Restorer, complete_restore
from shared.clock import SystemClock
from shared.errors import Conflict, HanseError, Invalid, StorageFull
from shared.failpoints import EXIT_STATUS, FAILPOINTS, armed
from shared.ids import Key
from shared.store.contract import Draft, Transaction
from shared.store.dump import DUMPED, open_dump
from shared.store.sql import open_store
from tests.faults.test_disk_full_slow_disk import filled, small_disk
from tests.integration.fsm.harness import FSM

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
BACKUP_POINTS = [name for name in FAILPOINTS if name.startswith("backup.")]
RESTORE_POINTS = [name for name in FAILPOINTS if name.startswith("restore.")]
TRAIL = {"audit", "pages", "chains", "seals"}
DECIDED = ("restore.decided", "restore.aside", "restore.moved")


def make(home: Home, path: Path) -> Made:
    with ThreadPoolExecutor(1) as executor:
        maker = BackupMaker(home, clock=SystemClock(), executor=executor)
        return asyncio.run(maker.make(Wish(path=path)))


def restore(archive: Path, data: Path, *, replace: bool = False) -> Restored:
    with ThreadPoolExecutor(1) as executor:
        restorer = Restorer(home_at(data), clock=SystemClock(), executor=executor)
        return asyncio.run(restorer.restore(Order(archive=archive, replace=replace)))


def home_at(data: Path) -> Home:
    return home_of(data, FSMSettings())


async def content_of(data: Path) -> dict[str, str]:
    """Return what a server's store holds, but for the audit trail, and its keys."""
    found = {}
    async with open_dump(home_at(data).url) as dump:
        for table in DUMPED.keys() - TRAIL:
            digest = hashlib.sha256()
            async for lines in dump.lines(table):
                digest.update(b"".join(lines))
            found[table] = digest.hexdigest()
    for name in ("root", "issuing"):
        found[name] = (data / "pki" / name / "current" / "key.pem").read_text()
    return found


@pytest.fixture
def home(stopped: FSM, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A prepared FSM with some objects; its backups have many small parts."""
    monkeypatch.setattr("shared.backup.create.PART", 2000)

    async def fill() -> None:
        store = await open_store(home_at(stopped.data).url, clock=SystemClock())
        for number in range(10):

            async def work(transaction: Transaction, number: int = number) -> None:
                key = Key("Network", "common", "federation", f"n{number}")
                await transaction.put(Draft(key, {"subnets": [f"10.0.{number}.0/24"]}))

            await store.transact(work)
        await store.close()

    asyncio.run(fill())
    return home_at(stopped.data)


@pytest.fixture
def backup(home: Home, tmp_path: Path) -> Path:
    return make(home, tmp_path / "good.hanse").path


def refused(archive: Path, data: Path) -> HanseError:
    """Return why a backup is refused; nothing may have come into the folder."""
    with pytest.raises(HanseError) as caught:
        restore(archive, data)
    assert not data.exists() or not {each.name for each in data.iterdir()} - {"lock", ".restoring"}
    return caught.value


def cuts(archive: Path) -> Iterator[int]:
    """Yield lengths of every kind: within and at the ends of each member's header and content,
    of the manifest, and of the zeros behind it.
    """
    size = archive.stat().st_size
    with tarfile.open(archive) as tar:
        for member in tar:
            start, end = member.offset, member.offset_data + member.size
            yield from (start, start + 1, start + BLOCK - 1, start + BLOCK)
            yield from (member.offset_data + member.size // 2, end - 1, end)
    yield from (end + 1, end + BLOCK, size - RECORD, size - BLOCK, size - 1)


def test_a_backup_cut_anywhere_is_refused_and_leaves_nothing(backup: Path, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    cut = tmp_path / "cut.hanse"
    lengths = sorted({length for length in cuts(backup) if length < len(whole)})
    assert len(lengths) > 100
    for length in lengths:
        cut.write_bytes(whole[:length])
        with pytest.raises(Invalid) as caught, opened(cut):
            pass
        assert caught.value.code in ("backup_cut_off", "not_a_backup"), length
    # One of them through the whole of restore.
    assert refused(cut, tmp_path / "new").code == "backup_cut_off"
    assert not (tmp_path / "new").exists()


def test_a_cut_that_is_padded_to_a_whole_record_is_refused(backup: Path, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    cut = tmp_path / "cut.hanse"
    with tarfile.open(backup) as tar:
        manifest = tar.getmember(MANIFEST)
    for length in (manifest.offset, manifest.offset_data + 100, manifest.offset - BLOCK):
        zeros = bytes(-length % RECORD + RECORD)
        cut.write_bytes(whole[:length] + zeros)
        with pytest.raises(Invalid) as caught, opened(cut):
            pass
        assert caught.value.code in ("backup_cut_off", "backup_damaged"), length


def read_whole(archive: Path) -> None:
    with opened(archive) as reader:
        for part in reader.manifest.parts:
            reader.read(part)


def test_one_bit_changed_in_any_part_is_noticed(backup: Path, tmp_path: Path) -> None:
    whole = backup.read_bytes()
    changed = tmp_path / "changed.hanse"
    with tarfile.open(backup) as tar:
        members = tar.getmembers()
    assert len(members) > 12
    for member in members:
        for place in (member.offset_data, member.offset_data + member.size - 1, member.offset + 3):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            changed.write_bytes(damaged)
            with pytest.raises(Invalid) as caught:
                read_whole(changed)
            assert caught.value.code in ("backup_damaged", "not_a_backup", "backup_cut_off")
    damaged = bytearray(whole)
    damaged[members[-2].offset_data] ^= 1
    changed.write_bytes(damaged)
    assert refused(changed, tmp_path / "new").code == "backup_damaged"


def rewritten(
    archive: Path, to: Path, *, manifest: dict[str, Any] | None = None, **members: bytes | None
) -> Path:
    """Write an archive anew with other members (None: without it), and a manifest that fits."""
    contents: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            contents[member.name] = file.read()
    body = json.loads(contents.pop(MANIFEST))
    for name, content in members.items():
        if content is None:
            del contents[name]
        else:
            contents[name] = content
    body |= manifest or {}
    body.pop("seal")
    text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    body["seal"] = hashlib.sha256(text).hexdigest()
    contents[MANIFEST] = orjson.dumps(body)
    with tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return to


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"manifest": {"version": 2}}, "backup_too_new", id="newer format"),
        pytest.param({"manifest": {"server": "sdsp"}}, "other_server", id="other server"),
        pytest.param({"manifest": {"unknown": 1}}, "backup_damaged", id="unknown field"),
        pytest.param({"file.root.chain.gz": None}, "backup_damaged", id="a part less"),
        pytest.param({"file.extra.gz": b"x"}, "backup_damaged", id="a part more"),
        pytest.param({"../../etc/cron.d/x": b"x"}, "backup_damaged", id="a path"),
        pytest.param({"/etc/cron.d/x": b"x"}, "backup_damaged", id="an absolute path"),
        pytest.param({"file.root.chain.gz": b"x"}, "backup_damaged", id="another part"),
    ],
)
def test_an_archive_that_was_made_otherwise_is_refused(
    backup: Path, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    archive = rewritten(backup, tmp_path / "other.hanse", **changes)
    assert refused(archive, tmp_path / "new").code == code


def test_a_newer_schema_is_refused_with_the_release_that_can_read_it(
    backup: Path, tmp_path: Path
) -> None:
    with opened(backup) as reader:
        store = reader.manifest.model_dump(mode="json", by_alias=True)["store"]
    archive = rewritten(
        backup, tmp_path / "newer.hanse", manifest={"store": {**store, "schema": "9999"}}
    )
    error = refused(archive, tmp_path / "new")
    assert error.code == "schema_too_new"
    assert "release" in error.message


@pytest.mark.parametrize("content", [b"", b"hello", bytes(RECORD), os.urandom(RECORD)])
def test_another_file_is_no_backup(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert refused(tmp_path / "file", tmp_path / "new").code in ("not_a_backup", "backup_cut_off")


def test_a_link_in_an_archive_is_refused(backup: Path, tmp_path: Path) -> None:
    archive = tmp_path / "link.hanse"
    archive.write_bytes(backup.read_bytes())
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("file.settings.gz")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert refused(archive, tmp_path / "new").code == "backup_damaged"


def test_a_part_that_grows_without_end_is_refused(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.backup.archive.LARGEST_PART", 100)
    assert refused(backup, tmp_path / "new").code == "backup_damaged"


@pytest.mark.parametrize("point", [name for name in BACKUP_POINTS if name != "backup.replaced"])
def test_a_backup_on_a_full_disk_fails_and_leaves_nothing(
    home: Home, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    with armed(f"{point}=raise(ENOSPC)"), pytest.raises(StorageFull):
        make(home, folder / "b.hanse")
    assert list(folder.iterdir()) == []


@pytest.mark.kernel
def test_a_really_full_disk_fails_a_backup_and_a_restore_and_leaves_nothing(
    home: Home, backup: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "small") as disk:
        with filled(disk):
            with pytest.raises(StorageFull):
                make(home, disk / "b.hanse")
            with pytest.raises(StorageFull):
                restore(backup, disk / "new")
            assert [each.name for each in disk.iterdir() if each.name != "new"] == ["ballast"]
        # With room again, both go well.
        assert make(home, disk / "b.hanse").size > 0
        restore(backup, disk / "new")
        assert asyncio.run(content_of(disk / "new")) == asyncio.run(content_of(home.data))


def killed(point: str, work: Any, *arguments: Any) -> None:
    """Run a function in a process that ends at a failpoint as by kill -9."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_until, args=(point, work, *arguments))
    process.start()
    process.join()
    assert process.exitcode == EXIT_STATUS


def _until(point: str, work: Any, *arguments: Any) -> None:
    with armed(f"{point}=exit"):
        work(*arguments)


@pytest.mark.parametrize("point", BACKUP_POINTS)
def test_a_backup_killed_anywhere_leaves_none_or_a_good_one(
    home: Home, tmp_path: Path, point: str
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    killed(point, make, home, folder / "b.hanse")
    if point == "backup.replaced":
        restore(folder / "b.hanse", tmp_path / "new")
        (folder / "b.hanse").unlink()
    assert not (folder / "b.hanse").exists()
    # The next one sweeps away what it left.
    make(home, folder / "b.hanse")
    assert [each.name for each in folder.iterdir()] == ["b.hanse"]


@pytest.mark.parametrize(
    ("point", "replace"),
    [
        pytest.param(point, replace, id=f"{point}, {'over another' if replace else 'empty'}")
        for point in RESTORE_POINTS
        for replace in (False, True)
        # Where nothing was, nothing is moved aside.
        if replace or point != "restore.aside"
    ],
)
def test_a_restore_killed_anywhere_leaves_what_was_or_the_whole(
    home: Home, backup: Path, tmp_path: Path, point: str, replace: bool
) -> None:
    wanted = asyncio.run(content_of(home.data))
    data = tmp_path / "new"
    if replace:
        restore(backup, data)
        (data / "settings.yaml").write_text("logRetention: 1\n")
    killed(point, _restore, backup, data, replace)

    complete_restore(data)
    if point in DECIDED:
        assert asyncio.run(content_of(data)) == wanted
        assert "logRetention" not in (data / "settings.yaml").read_text()
        aside = [each for each in data.iterdir() if each.name.startswith("replaced-")]
        assert len(aside) == replace
        assert all("logRetention" in (each / "settings.yaml").read_text() for each in aside)
        assert not (data / ".restoring").exists()
        with pytest.raises(Conflict):
            restore(backup, data)
        return
    names = {each.name for each in data.iterdir()} - {"lock", ".restoring"}
    assert bool(names) == replace
    if replace:
        assert (data / "settings.yaml").read_text() == "logRetention: 1\n"
    restore(backup, data, replace=replace)
    assert asyncio.run(content_of(data)) == wanted


def _restore(archive: Path, data: Path, replace: bool) -> None:
    restore(archive, data, replace=replace)


def test_a_running_servers_folder_is_refused_even_to_replace(stopped: FSM, backup: Path) -> None:
    async def main() -> None:
        async with stopped.serving():
            with ThreadPoolExecutor(1) as executor:
                restorer = Restorer(home_at(stopped.data), clock=SystemClock(), executor=executor)
                with pytest.raises(Conflict) as caught:
                    await restorer.restore(Order(archive=backup, replace=True))
                assert caught.value.code == "already_running"

    asyncio.run(main())
