import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Invalid, NotFound, StorageFull, Unavailable
from shared.pki.alone import LOCK_FILE
from shared.pki.credentials import Credentials, CredentialsDirectory
from tests.fakes.federation import Federation
from tests.servers import require

# Runs a write and ends the process, as kill -9 would, at its n-th change of the file system.
KILLED_WRITER = """
import os, sys
from pathlib import Path
from shared.pki.credentials import CredentialsDirectory

source, target, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
credentials = CredentialsDirectory(source).load()
count = 0

def hook(event, arguments):
    global count
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_WRONLY
    syncs = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_DIRECTORY
    changes = event in ("os.mkdir", "os.symlink", "os.rename", "os.remove", "os.rmdir")
    if writes or syncs or changes:
        count += 1
        if count == stop:
            os._exit(9)

sys.addaudithook(hook)
CredentialsDirectory(target).write(credentials)
"""


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one version and a half."""
    programs = require("mount", "umount", root=True)
    mount = [programs["mount"], "-t", "tmpfs", "-o", "size=20k,mode=700", "tmpfs", str(tmp_path)]
    subprocess.run(mount, check=True)
    yield tmp_path
    subprocess.run([programs["umount"], str(tmp_path)], check=True)


@pytest.fixture
def directory(tmp_path: Path) -> CredentialsDirectory:
    return CredentialsDirectory(tmp_path / "pki" / "fsm")


def test_what_is_written_is_read(federation: Federation, directory: CredentialsDirectory) -> None:
    for credentials in (federation.fsm(), federation.node(federation.site("sfo"))):
        directory.write(credentials)
        loaded = directory.load()
        assert (loaded.chain, loaded.roots) == (credentials.chain, credentials.roots)
        assert loaded.key.private_numbers() == credentials.key.private_numbers()
    found = {each.name for each in directory.path.iterdir()}
    assert len(found - {LOCK_FILE}) == 2, "one version and the link to it"


def test_only_the_owner_may_read_the_key(
    federation: Federation, directory: CredentialsDirectory
) -> None:
    directory.write(federation.fsm())
    key = directory.path / "current" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700

    key.chmod(0o640)
    with pytest.raises(Invalid) as refused:
        directory.load()
    assert refused.value.code == "key_exposed"


def test_a_key_can_be_taken_offline(
    federation: Federation, directory: CredentialsDirectory
) -> None:
    directory.write(federation.root)
    directory.delete_key()
    assert directory.load_public() == (federation.root.chain, federation.root.roots)
    with pytest.raises(Unavailable) as refused:
        directory.load()
    assert refused.value.code == "credentials_unreadable"


def test_no_credentials_are_named_as_such(directory: CredentialsDirectory) -> None:
    assert not directory.exists()
    for call in (directory.load, directory.load_public, directory.delete_key):
        with pytest.raises(NotFound) as refused:
            call()
        assert refused.value.code == "no_credentials"


def test_parts_that_dont_belong_together_are_refused(federation: Federation) -> None:
    fsm, node = federation.fsm(), federation.node(federation.site("sfo"))
    other = Federation()
    for key, chain, roots in (
        (node.key, fsm.chain, fsm.roots),
        (fsm.key, fsm.chain[:1], fsm.roots),
        (node.key, (node.chain[0], node.chain[2]), node.roots),
        (fsm.key, fsm.chain, other.roots),
        (fsm.key, (), fsm.roots),
        (fsm.key, fsm.chain, ()),
    ):
        with pytest.raises(Invalid) as refused:
            Credentials(key, chain, roots)
        assert refused.value.code == "credentials_mismatch"


@pytest.mark.parametrize("name", ["key.pem", "chain.pem", "roots.pem"])
@pytest.mark.parametrize("content", ["", "garbage", "\udcff"])
def test_a_spoilt_file_is_an_error_and_no_traceback(
    federation: Federation, directory: CredentialsDirectory, name: str, content: str
) -> None:
    directory.write(federation.fsm())
    path = directory.path / "current" / name
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(Invalid):
        directory.load()


@pytest.mark.kernel
def test_a_full_disk_leaves_the_old_credentials(federation: Federation, small_disk: Path) -> None:
    directory = CredentialsDirectory(small_disk / "fsm")
    first = federation.fsm()
    directory.write(first)
    with pytest.raises(StorageFull):
        directory.write(federation.fsm())
    assert directory.load().chain == first.chain


def test_a_place_that_cant_be_written_to_is_named(federation: Federation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="file") as refused:
        CredentialsDirectory(tmp_path / "file" / "fsm").write(federation.fsm())
    assert refused.value.code == "credentials_unwritable"


def test_a_kill_at_any_step_leaves_a_pair_that_works(
    federation: Federation, tmp_path: Path
) -> None:
    old, new = federation.fsm(), federation.fsm()
    source = CredentialsDirectory(tmp_path / "source")
    source.write(new)
    outcomes = []
    for stop in range(1, 100):
        target = CredentialsDirectory(tmp_path / str(stop))
        target.write(old)
        done = subprocess.run(
            [sys.executable, "-c", KILLED_WRITER, source.path, target.path, str(stop)],
            cwd=Path(__file__).parents[4],
            check=False,
        )
        # load() checks that key, chain and roots belong together.
        chain = target.load().chain
        assert chain in (old.chain, new.chain)
        outcomes.append(chain == new.chain)

        target.write(new)
        assert target.load().chain == new.chain
        left = {each.name for each in target.path.iterdir()}
        assert len(left - {LOCK_FILE}) == 2, "the next writer sweeps up"
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert len(outcomes) > 8, "too few steps were seen for this to prove anything"
    assert outcomes == sorted(outcomes), "from one step on it is the new pair"
    assert {True, False} == set(outcomes)
