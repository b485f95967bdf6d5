"""What of an FSM's folder goes into its backups."""

from pathlib import Path
from typing import Final

from fsm.settings import FSMSettings
from shared.backup.contents import SEALING_KEY, SETTINGS, TOKEN_KEY, Home
from shared.pki.authority import trust_domain_of
from shared.pki.credentials import CredentialsDirectory

_AUTHORITIES: Final = {"root": "pki/root", "issuing": "pki/issuing", "next-root": "pki/next-root"}
_FILES: Final = {
    SETTINGS: "settings.yaml",
    TOKEN_KEY: "token-key.pem",
    SEALING_KEY: "credential-key",
    "root": "root.pem",
    "links": "root-links.pem",
}


def home_of(data: Path, settings: FSMSettings) -> Home:
    """Return where an FSM lives; its name is the trust domain, empty if it isn't prepared yet."""
    issuing = CredentialsDirectory(data / _AUTHORITIES["issuing"])
    name = str(trust_domain_of(issuing.load_public()[0][0])) if issuing.exists() else ""
    return Home(
        server="fsm",
        name=name,
        data=data,
        url=settings.database_url(data),
        authorities=_AUTHORITIES,
        files=_FILES,
    )
