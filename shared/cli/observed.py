"""Observed flows whose verdict would turn, and what depends on a change, in words.  Pure.

Answers may come from another version of the program: what is left out isn't told.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.ids import COMMON

JSON = Mapping[str, Any]

KINDS: Final = (("allow", "newlyAllowed"), ("deny", "newlyDenied"))
COLUMNS: Final = ("FROM", "TO", "SERVICE", "FLOWS", "BYTES", "LAST SEEN", "BY")

NONE_RECORDED: Final = "no flows are recorded here, so nobody knows which it would concern"


def sentences(found: Any) -> list[str]:
    """Return what becomes of observed flows, a line each; `found` is an impact's `flows`."""
    if found is None:
        return [NONE_RECORDED]
    if not isinstance(found, Mapping):
        return []
    if why := found.get("unreadable"):
        return [f"observed flows are not told: {why}"]
    lines = []
    for word, kind in KINDS:
        part = found.get(kind) or {}
        if count := int(part.get("flows", 0)):
            text = f"would newly {word} {_counted(count)}{_weight(part)}"
            example = next(iter(part.get("examples") or ()), None)
            lines.append(text if example is None else f"{text}, such as {_ends(example)}")
    return lines or [f"would change none of {window(found)}"]


def window(found: JSON) -> str:
    """Return how many flows were looked at, and of what time."""
    since = found.get("since")
    of = f" seen since {since}" if since else ""
    return f"{_counted(int(found.get('judged', 0)))}{of}"


def heading(found: JSON) -> str:
    """Return how many of what was looked at change, and when the last was seen."""
    return f"{_counted(int(found.get('flows', 0)))}{_weight(found)}"


def rows(found: JSON) -> Iterator[Sequence[str]]:
    """Yield a row for each example."""
    for each in found.get("examples") or ():
        octets = each.get("bytes")
        yield (
            _end(each, "from"),
            _end(each, "to"),
            _service(each),
            f"{each.get('flows', 0):,}",
            "" if octets is None else f"{octets:,}",
            str(each.get("lastSeen") or ""),
            _decider(each.get("after") or {}),
        )


def dependent_rows(found: Sequence[JSON]) -> Iterator[Sequence[str]]:
    """Yield a row for each object that depends on what changes: what it is, and by what chain."""
    for each in found:
        tenant = each.get("tenant", COMMON)
        whose = "" if tenant == COMMON else f" of tenant {tenant}"
        chain = list(each.get("chain") or ())[:-1]
        yield (
            f"{each.get('kind')} {each.get('name')}{whose} ({each.get('scope')})",
            " <- ".join(map(str, chain)),
        )


def dependents(found: Sequence[JSON], more: int, most: int) -> str:
    """Return a few objects that depend on what changes, in a line; empty if none does."""
    named = [f"{each.get('kind')} {each.get('name')}" for each in found[:most]]
    left = len(found) - len(named) + more
    if left:
        named.append(f"{left:,} more")
    return ", ".join(named)


def _counted(count: int) -> str:
    return f"{count:,} observed flow{'' if count == 1 else 's'}"


def _weight(found: JSON) -> str:
    said = []
    if found.get("bytes") is not None:
        said.append(f"{found['bytes']:,} bytes")
    if found.get("lastSeen"):
        said.append(f"last seen {found['lastSeen']}")
    return f" ({', '.join(said)})" if said else ""


def _ends(example: JSON) -> str:
    return f"{_end(example, 'from')} to {_end(example, 'to')}, {_service(example)}"


def _end(example: JSON, side: str) -> str:
    workload = example.get(f"{side}Workload")
    address = str(example.get(side, ""))
    return f"{workload} ({address})" if workload else address


def _service(example: JSON) -> str:
    port = example.get("port")
    protocol = str(example.get("protocol", ""))
    return protocol if port is None else f"{protocol}/{port}"


def _decider(found: JSON) -> str:
    """Return which rule decides, as policy and rule."""
    if found.get("rule") is None:
        return "the default action"
    tenant = found.get("tenant", COMMON)
    whose = "" if tenant == COMMON else f" of tenant {tenant}"
    return f"{found.get('policy')}/{found.get('rule')}{whose}"
