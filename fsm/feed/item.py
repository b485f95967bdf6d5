"""One object as the feed sees it: what of it decides who gets it, worked out once."""

from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Any, Final

import orjson

from shared.feed.wire import encode_put
from shared.http.response import envelope_of
from shared.ids import Key
from shared.model.kinds import KINDS
from shared.model.selectors import Selector
from shared.store.contract import Stored

SUBSCRIPTION: Final = "Subscription"


class Duty(Enum):
    """Whether a site that an object is meant for must have it."""

    ALWAYS = "always"
    OPTIONAL = "optional"
    NEVER = "never"


_ALWAYS: Final = frozenset({"Site", "Region", "Tenant"})
_NAMES: Final = frozenset({"Network", "Service"})
SETTINGS: Final = frozenset(kind.name for kind in KINDS.values() if kind.inheritance == "settings")
DELIVERABLE: Final = frozenset({*_ALWAYS, *_NAMES, *SETTINGS, "Role", "SecurityPolicy"})
"""The kinds that a site may ever get."""

OPTIONAL: Final = _NAMES | {"SecurityPolicy"}
"""The kinds that a Subscription may name; of policies, it chooses among the default ones."""

FOLLOWED: Final = DELIVERABLE | {SUBSCRIPTION}
"""The kinds that decide what a site gets."""


class Item:
    """A stored object with its feed form, which is serialised at most once.

    `sites` selects the sites that it is meant for; None: all on whose chain its scope is.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.duty = _duty_of(stored)
        selector = stored.spec.get("sites") if stored.key.kind in _SELECTING else None
        self.sites = None if selector is None else Selector.model_validate(selector)

    @property
    def key(self) -> Key:
        return self.stored.key

    @property
    def version(self) -> tuple[str, int]:
        """What differs between any two versions of an object, and any two lives of its name."""
        return self.stored.uid, self.stored.revision

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.stored.spec

    @property
    def labels(self) -> Mapping[str, str]:
        return self.stored.labels

    @cached_property
    def document(self) -> bytes:
        """The object in JSON, as a site gets it: without status, and with its origin."""
        document = envelope_of(self.stored)
        del document["status"]
        document["metadata"]["origin"] = self.key.scope
        return orjson.dumps(document)

    @cached_property
    def put(self) -> bytes:
        """The change that puts it, encoded."""
        return encode_put(self.document)


_SELECTING: Final = SETTINGS | {"SecurityPolicy"}


def _duty_of(stored: Stored) -> Duty:
    kind, spec = stored.key.kind, stored.spec
    if kind in _ALWAYS or kind in SETTINGS:
        return Duty.ALWAYS
    if kind == "Role":
        return Duty.ALWAYS if spec.get("flowsDown") else Duty.NEVER
    if kind == "SecurityPolicy":
        return Duty.ALWAYS if spec.get("enforcement") == "mandatory" else Duty.OPTIONAL
    return Duty.OPTIONAL if kind in _NAMES else Duty.NEVER
