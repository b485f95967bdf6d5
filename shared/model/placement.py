"""Which kinds and scopes may live where.

The FSM's objects have scope `federation` or `region/NAME`, an SDSP's `site`, `group/NAME` or
`node/NAME`, as the registry of kinds says; whether the region, group or node exists is for
those to say who see all documents.
"""

from collections.abc import Iterator
from typing import Any, Final

from shared.errors import HanseError
from shared.ids import parse_name
from shared.model.base import Envelope
from shared.model.kinds import DEFAULT_SCOPE, KINDS, Home, Kind, ScopeLevel
from shared.model.validation import Finding

_HOMES: Final = {"fsm": "the FSM", "sdsp": "a site"}
_WRITTEN: Final[dict[ScopeLevel, str]] = {
    "federation": "federation",
    "region": "region/NAME",
    "site": "site",
    "group": "group/NAME",
    "node": "node/NAME",
}
_SCOPE_PATH: Final = ("metadata", "scope")


def placement_findings(envelope: Envelope[Any], home: Home) -> Iterator[Finding]:
    """Yield what is wrong with keeping a document in a home.

    Codes: `wrong_home` for the kind, `unknown_scope` for the scope.
    """
    kind = KINDS[envelope.kind]
    if home not in kind.scopes:
        right = " and ".join(_HOMES[each] for each in kind.scopes)
        sentence = f"a {kind.name} lives on {right}, not on {_HOMES[home]}"
        yield Finding(("kind",), "wrong_home", sentence)
        return
    scope = envelope.metadata.scope
    if scope is None:
        return
    level, _, name = scope.partition("/")
    allowed = kind.scopes[home]
    known = any(level == each and bool(name) == ("/" in _WRITTEN[each]) for each in allowed)
    if not known or scope.endswith("/"):
        yield Finding(_SCOPE_PATH, "unknown_scope", _wrong_scope(scope, kind, home))
    elif name:
        try:
            parse_name(name)
        except HanseError as exc:
            yield Finding(_SCOPE_PATH, "unknown_scope", exc.message)


def _wrong_scope(scope: str, kind: Kind, home: Home) -> str:
    choices = [_WRITTEN[level] for level in kind.scopes[home]]
    default = DEFAULT_SCOPE[home]
    return (
        f'"{scope[:80]}" is no scope for a {kind.name} on {_HOMES[home]}; '
        f"use {' or '.join(choices)} (left out: {default})"
    )
