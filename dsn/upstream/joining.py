"""Join from a data folder: what `hanse dsn join` does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsn.dataplane.choose import resolve
from dsn.settings import Files, Identity, has_joined, save_identity
from dsn.upstream.enroll import enroll
from shared.pki.credentials import CredentialsDirectory


async def join_site(servers: Sequence[str], token: str, data: Path, *, overwrite: bool) -> Identity:
    """Join at `servers` and keep in `data` all that the agent needs.

    Without `overwrite`, Conflict (`already_joined`) if there is a node already.  Raises as
    enroll().
    """
    _make_private(data)
    directory = CredentialsDirectory(Files.of(data).credentials)
    identity = await enroll(servers, token, directory, overwrite=overwrite or not has_joined(data))
    identity = replace(identity, addresses=await resolve(servers))
    save_identity(data, identity)
    return identity


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
