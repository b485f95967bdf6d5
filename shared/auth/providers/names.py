"""Names in a directory: what a group is called, and names and filters from what people type."""

from typing import Final

from ldap3.utils.conv import escape_filter_chars

from shared.auth.distinguished import parse_dn

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def common_name(dn: str) -> str | None:
    """Return a group's name if its DN begins with `cn=`, else None.

    Also None for a name with an equals sign: whoever may name groups could otherwise make one
    whose common name reads like the DN of another.
    """
    first = parse_dn(dn)[0]
    if len(first) != 1 or first[0][0] != "cn" or "=" in first[0][1]:
        return None
    return first[0][1]


def is_beneath(dn: str, base: str) -> bool:
    """Return whether a DN is the base or lies beneath it; both are normalised."""
    return dn == base or dn.endswith(f",{base}")


def person_dn(attribute: str, name: str, base: str) -> str:
    """Return the DN of somebody beneath `base`, whatever the name holds.

    All but letters and digits of ASCII is written as octets in hex (RFC 4514, section 2.4), so
    there is no character left that could mean anything.
    """
    octets = name.encode()
    value = "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02X}" for octet in octets)
    return f"{attribute}={value},{base}"


def equals(attribute: str, value: str) -> str:
    """Return a filter's term for one value, whatever it holds (RFC 4515, section 3)."""
    return f"({attribute}={escape_filter_chars(value)})"
