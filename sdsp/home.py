"""What of an SDSP's folder goes into its backups."""

from pathlib import Path
from typing import Final

from sdsp.settings import SDSPSettings
from shared.backup.contents import SEALING_KEY, SETTINGS, TOKEN_KEY, Home

_AUTHORITIES: Final = {"authority": "pki/authority"}
_FILES: Final = {
    SETTINGS: "settings.yaml",
    TOKEN_KEY: "token-key.pem",
    SEALING_KEY: "credential-key",
}

RESTORED: Final = "restored"
"""A file in the folder of a site that was restored and has not heard its FSM since."""


def home_of(data: Path, settings: SDSPSettings) -> Home:
    """Return where an SDSP lives; its name is the site's, empty before it has joined."""
    return Home(
        server="sdsp",
        name=settings.site,
        data=data,
        url=settings.database_url(data),
        authorities=_AUTHORITIES,
        files=_FILES,
        mark=RESTORED,
    )
