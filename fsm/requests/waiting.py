"""Which change requests wait for an answer, as a site's status tells it.  Pure."""

from typing import Any

from fsm.feed.item import REQUEST
from fsm.feed.status import Seen


def open_requests(seen: Seen) -> dict[str, list[dict[str, Any]]]:
    """Return by site the change requests that nobody has answered, as far as they may be seen."""
    found: dict[str, list[dict[str, Any]]] = {}
    waiting = [
        item
        for key, item in seen.world.items()
        if key.kind == REQUEST and item.spec.get("state", "open") == "open" and seen.has(key)
    ]
    for item in sorted(waiting, key=lambda each: each.key):
        told = {
            "name": item.key.name,
            "tenant": item.key.tenant,
            "target": item.spec["target"],
            "reason": item.spec["reason"],
        }
        found.setdefault(item.spec["site"], []).append(told)
    return found
