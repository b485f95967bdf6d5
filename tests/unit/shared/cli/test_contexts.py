"""The file of contexts: for its owner only, whole at all times."""

import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.cli.contexts import Context, ContextsFile
from shared.errors import HanseError, Invalid, NotFound

UNTIL = datetime(2026, 1, 1, 8, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> ContextsFile:
    return ContextsFile(tmp_path / "deep" / "contexts.yaml")


def context(name: str, *, identity: str = "spiffe://hanse.example/fsm") -> Context:
    return Context(
        name=name,
        server="https://fsm.example:8443",
        identity=identity,
        ca="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        user="admin",
        token="a.b.c",
        expires_at=UNTIL,
    )


def test_what_is_put_in_comes_out_and_is_current(file: ContextsFile) -> None:
    assert file.load().contexts == ()
    file.put(context("one"))
    file.put(context("two"))
    saved = file.load()
    assert saved.contexts == (context("one"), context("two"))
    assert saved.find(None) == saved.find("two") == context("two")
    assert file.use("one") == file.load().find(None)


def test_only_the_owner_may_read_it(file: ContextsFile) -> None:
    file.put(context("one"))
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    for mode in (0o640, 0o604, 0o602):
        file.path.chmod(mode)
        with pytest.raises(Invalid, match="chmod 600") as refused:
            file.load()
        assert refused.value.code == "contexts_exposed"
        with pytest.raises(Invalid):
            file.put(context("two"))


def test_tokens_are_in_no_representation(file: ContextsFile) -> None:
    assert "a.b.c" not in repr(context("one"))
    assert "BEGIN" not in repr(context("one"))


def test_a_write_that_fails_leaves_the_file_as_it_was(
    file: ContextsFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.put(context("one"))
    before = file.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.put(context("two"))
    assert file.path.read_bytes() == before
    assert [each.name for each in file.path.parent.iterdir() if "lock" not in each.name] == [
        "contexts.yaml"
    ]


def test_a_link_stays_a_link(file: ContextsFile, tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    file.put(context("one"))
    file.path.rename(real)
    file.path.symlink_to(real)
    file.put(context("two"))
    assert file.path.is_symlink()
    assert len(ContextsFile(real).load().contexts) == 2


def test_logins_at_the_same_time_lose_none(file: ContextsFile) -> None:
    file.put(context("first"))
    names = [f"c{number}" for number in range(8)]
    threads = [threading.Thread(target=file.put, args=(context(name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in file.load().contexts} == {"first", *names}


@pytest.mark.parametrize(
    "text",
    [
        "contexts: [{name: x}]\n",
        "contexts: 1\n",
        "contexs: []\n",
        "currentContext: a\ncurrentContext: b\n",
        "- a\n",
        "{{{",
        "a: !!python/object/apply:os.system [true]\n",
    ],
)
def test_a_broken_file_is_told_and_kept(file: ContextsFile, text: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    file.path.chmod(0o600)
    with pytest.raises(HanseError, match="settings") as refused:
        file.load()
    assert refused.value.code == "invalid_settings"
    with pytest.raises(HanseError):
        file.put(context("one"))
    assert file.path.read_text() == text


def test_an_absent_context_is_met_with_the_nearest(file: ContextsFile) -> None:
    with pytest.raises(NotFound, match="log in first"):
        file.load().find(None)
    file.put(context("production"))
    with pytest.raises(NotFound, match='did you mean "production"'):
        file.load().find("prodction")
    with pytest.raises(NotFound, match="there are: production"):
        file.use("x")
    file.delete("production")
    with pytest.raises(NotFound):
        file.delete("production")


def test_without_a_current_context_one_is_chosen(file: ContextsFile) -> None:
    file.put(context("one"))
    file.put(context("two"))
    file.delete("two")
    with pytest.raises(NotFound, match="hanse context use NAME"):
        file.load().find(None)
    assert file.load().find("one") == context("one")


def test_a_sites_context_is_found_by_the_sites_name(file: ContextsFile) -> None:
    sdsp = "spiffe://sfo.hanse.example/sdsp"
    file.put(context("a", identity=sdsp))
    file.put(context("b", identity=sdsp))
    file.put(context("fsm"))
    saved = file.load()
    assert [each.site for each in saved.contexts] == ["sfo", "sfo", None]
    assert saved.of_site("sfo").name == "a"
    file.use("b")
    assert file.load().of_site("sfo").name == "b"
    with pytest.raises(NotFound, match="you are not logged in to site hanse"):
        saved.of_site("hanse")


def test_the_environment_says_where_the_file_is() -> None:
    assert ContextsFile.of({"HANSE_CONFIG": "/x/y"}).path == Path("/x/y")
    assert ContextsFile.of({"XDG_CONFIG_HOME": "/x"}).path == Path("/x/hanse/contexts.yaml")
    assert ContextsFile.of({}).path == Path.home() / ".config/hanse/contexts.yaml"
