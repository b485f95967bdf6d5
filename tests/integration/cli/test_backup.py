"""`hanse fsm|sdsp backup` and `restore`, as a person or a script calls them."""

import json
import stat
from pathlib import Path

import pytest

from shared.cli.main import run


@pytest.fixture
def data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    monkeypatch.setenv("HANSE_ADMIN_PASSWORD", "correct horse battery")
    folder = tmp_path / "fsm"
    assert run(["fsm", "init", "--data", str(folder), "--trust-domain", "hanse.example"]) == 0
    capsys.readouterr()
    return folder


def test_a_server_is_backed_up_and_restored_by_two_commands(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fsm", "backup", "--data", str(data), "-o", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    archive = Path(made["path"])
    assert (archive.parent, made["verified"], made["keys"]) == (data / "backups", True, True)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    new = tmp_path / "new"
    assert run(["fsm", "restore", str(archive), "--data", str(new), "-o", "json"]) == 0
    restored = json.loads(capsys.readouterr().out)
    assert restored["id"] == made["id"]
    assert restored["incarnation"] != made["incarnation"]
    for name in ("settings.yaml", "root.pem", "pki/root/current/key.pem"):
        assert (new / name).read_bytes() == (data / name).read_bytes()
    private = [each for each in new.rglob("*") if each.is_file() and not each.is_symlink()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in private} == {0o600}


def test_refusals_are_wrong_use_with_a_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "b.hanse")
    assert run(["fsm", "backup", "--data", str(data), "--to", archive]) == 0
    for words, said in (
        (["fsm", "backup", "--data", str(data), "--to", archive], "there already"),
        (["fsm", "backup", "--data", str(tmp_path / "no")], "no server"),
        (["fsm", "backup", "--data", str(data), "--to", str(tmp_path / "no" / "b")], "No such"),
        (["fsm", "restore", archive, "--data", str(data)], "not empty"),
        (["sdsp", "restore", archive, "--data", str(tmp_path / "s")], "hanse fsm restore"),
        (["fsm", "restore", str(data), "--data", str(tmp_path / "s")], "no backup at"),
    ):
        assert run(words) == 2, words
        error = " ".join(capsys.readouterr().err.split())
        assert said in error, error


def test_without_keys_none_is_inside_and_the_command_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "b.hanse")
    assert run(["fsm", "backup", "--data", str(data), "--to", archive, "--without-keys"]) == 0
    assert "no private keys" in capsys.readouterr().out
    new = tmp_path / "new"
    assert run(["fsm", "restore", archive, "--data", str(new)]) == 0
    assert "bring them back" in capsys.readouterr().out
    assert not list(new.rglob("key.pem"))
    assert not (new / "token-key.pem").exists()
    assert (new / "pki" / "issuing" / "current" / "chain.pem").exists()


def test_replace_moves_aside_what_was_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = str(tmp_path / "b.hanse")
    assert run(["fsm", "backup", "--data", str(data), "--to", archive]) == 0
    (data / "settings.yaml").write_text("logRetention: 7\n")
    assert run(["fsm", "restore", archive, "--data", str(data), "--replace"]) == 0
    (aside,) = data.glob("replaced-*")
    assert (aside / "settings.yaml").read_text() == "logRetention: 7\n"
    assert f"What was there is in {aside}" in " ".join(capsys.readouterr().out.split())
