"""How the servers that logins are checked with are written: directories and RADIUS servers.

What may be parsed here is parsed once: whoever asks the servers takes them apart with the same
functions.
"""

import re
from ipaddress import ip_address
from typing import Annotated, Final, Literal, NamedTuple, cast

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

Scheme = Literal["ldap", "ldaps"]

# A host name (RFC 1123, the underscore that many have besides) or an IPv4 address.
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>{_HOST}))(?::(?P<port>[0-9]{{1,5}}))?"
)
_SCHEME: Final = re.compile(r"(?P<scheme>ldaps?)://(?P<rest>[^/]+)/?")
_PORTS: Final[dict[Scheme, int]] = {"ldap": 389, "ldaps": 636}
_RADIUS_PORT: Final = 1812


class DirectoryAddress(NamedTuple):
    """A directory's server, taken apart; an IPv6 host is without its brackets."""

    scheme: Scheme
    host: str
    port: int


def parse_directory_url(text: str) -> DirectoryAddress:
    """Return what ldap://HOST:PORT or ldaps://HOST:PORT means; ValueError if it is neither."""
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise ValueError("write a directory's server as ldaps://HOST:PORT or ldap://HOST:PORT")
    scheme = cast("Scheme", match["scheme"])
    return DirectoryAddress(scheme, *_host_and_port(match["rest"], _PORTS[scheme]))


def parse_radius_server(text: str) -> tuple[str, int]:
    """Return the host, without an IPv6 address's brackets, and the port; ValueError."""
    return _host_and_port(text, _RADIUS_PORT)


def is_loopback(host: str) -> bool:
    """Return whether what is sent to the host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError("write a server as HOST:PORT, an IPv6 address as [ADDRESS]:PORT")
    port = int(match["port"] or default)
    if not 0 < port < 65536:
        raise ValueError("a port is 1 to 65535")
    if match["v6"] is not None:
        return str(ip_address(match["v6"])), port
    return match["host"], port


def _directory_url(text: str) -> str:
    try:
        parse_directory_url(text)
    except ValueError as exc:
        raise PydanticCustomError("invalid_login_server", "{text}", {"text": str(exc)}) from exc
    return text


def _radius_server(text: str) -> str:
    try:
        parse_radius_server(text)
    except ValueError as exc:
        raise PydanticCustomError("invalid_login_server", "{text}", {"text": str(exc)}) from exc
    return text


def _filter(text: str) -> str:
    r"""Accept one balanced filter (RFC 4515), so that it can be set beside another one.

    A parenthesis within a value is written \28 or \29, so counting them is enough.  Whether the
    rest makes sense is for the directory's client to say.
    """
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth <= 0 and index < len(text) - 1:
            break
    else:
        if depth == 0 and text.startswith("(") and text.isprintable():
            return text
    raise PydanticCustomError(
        "invalid_filter", "write one LDAP filter in parentheses, for example (objectClass=person)"
    )


DirectoryURL = Annotated[str, Field(max_length=300), AfterValidator(_directory_url)]
"""ldaps://HOST:PORT or ldap://HOST:PORT; the port may be left out."""

RADIUSServer = Annotated[str, Field(max_length=300), AfterValidator(_radius_server)]
"""HOST:PORT or [IPv6]:PORT; the port may be left out."""

AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")]
"""The short name of an LDAP attribute (RFC 4512, section 1.4)."""

DirectoryFilter = Annotated[str, Field(max_length=1024), AfterValidator(_filter)]
"""An LDAP filter (RFC 4515), with its parentheses."""
