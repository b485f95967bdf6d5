"""An FSM and the SDSP of site sfo, and the commands of a person who has logged in to both."""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.cli.contexts import VARIABLE
from shared.cli.main import run
from tests.integration.cli.background import (
    PASSWORD,
    Place,
    fsm_running,
    prepare_fsm,
    prepare_site,
    site_running,
)


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str


Hanse = Callable[..., Done]


# A package's, not the whole run's: their threads would go on beside all the tests after these.
@pytest.fixture(scope="package")
def fsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = prepare_fsm(tmp_path_factory.mktemp("federation"))
    with fsm_running(place):
        yield place


@pytest.fixture(scope="package")
def site(fsm: Place) -> Iterator[Place]:
    place = prepare_site(fsm.data.parent, "sfo", fsm)
    with site_running(place):
        yield place


@pytest.fixture
def hanse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Hanse:
    """Run one command in this process, with a contexts file of the test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "contexts.yaml"))
    for name in ("HANSE_PASSWORD", "HANSE_CONTEXT"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: object, stdin: str = "") -> Done:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        status = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return call


@pytest.fixture(scope="module")
def saved_contexts(
    fsm: Place, site: Place, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The contexts file of a person who has logged in to both, for tests to copy.

    A module's, not the whole run's: once the access token has ended, the first copy that renews it
    uses up the refresh token, and the next copy to try ends the session for all of them.
    """
    file = tmp_path_factory.mktemp("contexts") / "contexts.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(file))
        patch.setenv("HANSE_PASSWORD", PASSWORD)
        for place, more in ((site, ["--site", "sfo"]), (fsm, [])):
            arguments = ["--user", "admin", "--ca", str(place.ca), *more]
            assert run(["login", place.url, *arguments]) == 0
        yield file


@pytest.fixture
def logged_in(hanse: Hanse, saved_contexts: Path, tmp_path: Path) -> Hanse:
    """`hanse` of a person with the contexts sfo and fsm; fsm is the current one."""
    shutil.copy2(saved_contexts, tmp_path / "contexts.yaml")
    return hanse


@pytest.fixture
def documents(tmp_path: Path) -> Callable[[str], Path]:
    """Write a file of documents."""

    def write(text: str, name: str = "documents.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write
