"""Which objects a conflict is about."""

from typing import Any

from shared.ids import SITE, Key
from shared.model.override import Conflict
from shared.policy.definitions import Name


def local_key(conflict: Conflict) -> Key:
    """Return the key of the site's side: the Override, or the local namesake of the target."""
    at: Any = conflict.facts.get("override")
    if at is not None:
        return Key("Override", at["tenant"], at["scope"], at["name"])
    target = conflict.target
    return Key(target.kind, target.tenant, str(conflict.facts.get("scope", SITE)), target.name)


def target_name(conflict: Conflict) -> Name:
    target = conflict.target
    return Name(target.kind, target.tenant, target.name)
