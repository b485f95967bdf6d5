"""What `hanse fsm init` does."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fsm.settings import FILE, FSMSettings
from fsm.trust import ROOT_FILE, FSMCredentials, create_trust, fingerprint_text
from shared.cli.setup import create_folder, create_store, new_password, parse_listen, store_settings
from shared.clock import SystemClock
from shared.errors import Conflict
from shared.failpoints import failpoint
from shared.pki.certificates import certificates_to_pem
from shared.pki.identity import parse_trust_domain


def initialise(
    data: Path,
    *,
    trust_domain: str,
    listen: str,
    names: Sequence[str],
    admin: str,
    password_file: Path | None,
    url: str | None,
) -> str:
    """Prepare a folder; return what to tell the person.

    Conflict (`already_initialised`) if it has settings already; Invalid for a bad argument.
    """
    domain = parse_trust_domain(trust_domain)
    host, port = parse_listen(listen)
    if (data / FILE).exists():
        raise Conflict(f"{data} is prepared already", code="already_initialised")
    password = new_password(password_file)
    values: dict[str, Any] = {"listen": {"host": host, "port": port}}
    if names:
        values["serverNames"] = list(dict.fromkeys([*names, "localhost", "127.0.0.1", "::1"]))
    if url:
        values["database"] = url
    settings = FSMSettings.model_validate(values)
    create_folder(data)
    clock = SystemClock()
    credentials = FSMCredentials.beneath(data)
    root = create_trust(credentials, domain, settings.server_names, clock=clock)
    (data / ROOT_FILE).write_text(certificates_to_pem([root]), "ascii")
    failpoint("fsm.root.written")
    asyncio.run(create_store(settings.database_url(data), admin=admin, password=password.text))
    # Last: a folder with settings is a folder that is complete.
    store_settings(data / FILE, values)
    return (
        f"Prepared {data} for the trust domain {domain}.\n"
        f"Root certificate: {data / ROOT_FILE}\nIts SHA-256: {fingerprint_text(root)}\n"
        f"{password.told(admin)}\nNext: hanse fsm serve --data {data}"
    )
