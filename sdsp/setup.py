"""What `hanse sdsp init` and `join` do."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sdsp.settings import FILE, SDSPSettings, load
from sdsp.upstream.enroll import SiteCredentials, join_federation
from shared.cli.setup import (
    create_folder,
    create_store,
    new_password,
    parse_listen,
    read_token,
    store_settings,
)
from shared.clock import SystemClock
from shared.errors import Conflict, Unreachable
from shared.pki.jointoken import JoinToken
from shared.tasks.lock import only_process


def initialise(
    data: Path, *, listen: str, admin: str, password_file: Path | None, url: str | None
) -> str:
    """Prepare a folder; return what to tell the person.

    Conflict (`already_initialised`) if it has settings already.
    """
    host, port = parse_listen(listen)
    password = new_password(password_file)
    if (data / FILE).exists():
        raise Conflict(f"{data} is prepared already", code="already_initialised")
    values: dict[str, Any] = {"listen": {"host": host, "port": port}}
    if url:
        values["database"] = url
    settings = SDSPSettings.model_validate(values)
    create_folder(data)
    asyncio.run(create_store(settings.database_url(data), admin=admin, password=password.text))
    # Last: a folder with settings is a folder that is complete.
    store_settings(data / FILE, values)
    return (
        f"Prepared {data}.\n{password.told(admin)}\n"
        f"Next: hanse sdsp join --data {data} --server https://FSM:8443 --token TOKEN"
    )


def join_site(data: Path, *, servers: Sequence[str], token: str) -> str:
    """Join as the token's site, at the first server that answers; return what to tell."""
    settings = _prepared(data)
    credentials = SiteCredentials.beneath(data)
    text = read_token(token)
    with only_process(data):
        if not credentials.authority.exists():
            # Before anything that can't be done twice: should this be cut short, then behind the
            # credentials there is nothing left to do.
            _remember(data, settings, JoinToken.parse(text).site, servers)
        site = asyncio.run(_join_at_any(credentials, servers, text))
        _remember(data, settings, site, servers)
    return f"Joined as site {site}.\nNext: hanse sdsp serve --data {data}"


async def _join_at_any(credentials: SiteCredentials, servers: Sequence[str], text: str) -> str:
    """Join at the first server that can be reached; raise what the last one raised."""
    for server in servers[:-1]:
        with suppress(Unreachable):
            return await join_federation(credentials, server, text, clock=SystemClock())
    return await join_federation(credentials, servers[-1], text, clock=SystemClock())


def _remember(data: Path, settings: SDSPSettings, site: str, servers: Sequence[str]) -> None:
    values = settings.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    store_settings(data / FILE, {**values, "site": site, "upstream": list(servers)})


def _prepared(data: Path) -> SDSPSettings:
    if not (data / FILE).exists():
        raise Conflict(
            f"{data} is not prepared; run first: hanse sdsp init --data {data}",
            code="not_initialised",
        )
    return load(data, {})
