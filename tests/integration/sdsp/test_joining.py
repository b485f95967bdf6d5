"""A site's SDSP joins, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sdsp.settings import load
from sdsp.setup import initialise, join_site
from sdsp.upstream.enroll import SiteCredentials
from shared.errors import Conflict, HanseError, Unreachable
from shared.pki.certificates import serial_of
from shared.tasks.lock import only_process
from tests.integration.fsm.conftest import stopped, template
from tests.integration.fsm.harness import FSM
from tests.servers import free_port

__all__ = ["stopped", "template"]


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
async def fsm(stopped: FSM) -> AsyncIterator[FSM]:
    async with stopped.serving():
        names = ["localhost", "127.0.0.1", "::1"]
        for site in ("sfo", "fra"):
            await stopped.admin().put("sites", site, {"serverNames": names})
        yield stopped


@pytest.fixture
async def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSE_ADMIN_PASSWORD", "correct horse battery")
    folder = tmp_path / "sdsp"
    await asyncio.to_thread(
        initialise, folder, listen="127.0.0.1:0", admin="ops", password_file=None, url=None
    )
    return folder


async def join(data: Path, servers: list[str], token: str) -> None:
    await asyncio.to_thread(join_site, data, servers=servers, token=token)


async def test_a_site_joins_at_the_second_server_if_the_first_is_down(fsm: FSM, data: Path) -> None:
    down = f"https://127.0.0.1:{free_port()}"
    await join(data, [down, fsm.url], await fsm.admin().token("sfo"))
    settings = load(data, {})
    assert (settings.site, settings.upstream) == ("sfo", (down, fsm.url))
    with pytest.raises(Unreachable):
        await join(data, [down], await fsm.admin().token("sfo", replace=True))
    assert load(data, {}).upstream == (down, fsm.url)


async def test_a_site_that_has_joined_joins_anew_only_with_a_token_that_replaces(
    fsm: FSM, data: Path
) -> None:
    token = await fsm.admin().token("sfo")
    await join(data, [fsm.url], token)
    before = serial_of(SiteCredentials.beneath(data).authority.load().certificate)
    with pytest.raises(HanseError) as caught:
        await join(data, [fsm.url], token)
    assert caught.value.code == "join_token_refused"
    assert serial_of(SiteCredentials.beneath(data).authority.load().certificate) == before

    await join(data, [fsm.url], await fsm.admin().token("sfo", replace=True))
    assert serial_of(SiteCredentials.beneath(data).authority.load().certificate) != before


async def test_a_folder_is_one_sites(fsm: FSM, data: Path) -> None:
    await join(data, [fsm.url], await fsm.admin().token("sfo"))
    with pytest.raises(Conflict) as caught:
        await join(data, [fsm.url], await fsm.admin().token("fra"))
    assert caught.value.code == "already_joined"
    assert load(data, {}).site == "sfo"


async def test_a_token_that_failed_leaves_the_folder_free_for_another(fsm: FSM, data: Path) -> None:
    spent = await fsm.admin().token("sfo")
    await fsm.admin().token("sfo")
    with pytest.raises(HanseError):
        await join(data, [fsm.url], spent)
    await join(data, [fsm.url], await fsm.admin().token("fra"))
    assert load(data, {}).site == "fra"


async def test_once_the_credentials_are_there_the_settings_are_too(
    fsm: FSM, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await fsm.admin().token("sfo")

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    # As a kill right after the site's CA has been written.
    monkeypatch.setattr("sdsp.upstream.enroll.issue_own", killed)
    with pytest.raises(KilledError):
        await join(data, [fsm.url], token)
    assert SiteCredentials.beneath(data).authority.exists()
    settings = load(data, {})
    assert (settings.site, settings.upstream) == ("sfo", (fsm.url,))


async def test_a_folder_in_which_a_server_runs_is_left_alone(fsm: FSM, data: Path) -> None:
    token = await fsm.admin().token("sfo")
    with only_process(data), pytest.raises(Conflict) as caught:
        await join(data, [fsm.url], token)
    assert caught.value.code == "already_running"
    await join(data, [fsm.url], token)
