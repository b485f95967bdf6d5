"""What people type into a login, before any server sees it."""


def is_text(text: str) -> bool:
    """Return whether it can be sent at all: JSON may hold half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def may_be_asked(text: str) -> bool:
    """Return whether a name or a password may be passed on to a server.

    An empty password is an unauthenticated bind to a directory, which succeeds for everybody (RFC
    4513, section 5.1.2).  A server that takes text to end at NUL, or pads with it (RFC 2865,
    section 5.2), would see less than was typed, perhaps nothing.
    """
    return bool(text.strip()) and "\0" not in text and is_text(text)
