"""One object as the feed sees it: what of it decides who gets it, worked out once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from shared.encoding import encode_to_keep
from shared.feed.accepts import is_accepted
from shared.feed.wire import encode_put
from shared.http.response import envelope_of
from shared.ids import Generation, Key, Revision
from shared.model.kinds import KINDS
from shared.model.rollout import ENDED, RolledVersion, Rollout
from shared.model.selectors import Selector
from shared.policy.inputs import Document
from shared.store.contract import Stored

SUBSCRIPTION: Final = "Subscription"


class Duty(Enum):
    """Whether a site that an object is meant for must have it."""

    ALWAYS = "always"
    OPTIONAL = "optional"
    NEVER = "never"


TRUST: Final = frozenset({"Revocation", "LoginRevocation", "VerificationKey", "TrustAnchor"})
"""What a site must know before anything else counts there."""
_ALWAYS: Final = frozenset({"Site", "Region", "Tenant"}) | TRUST
_NAMES: Final = frozenset({"Network", "Service"})
SETTINGS: Final = frozenset(kind.name for kind in KINDS.values() if kind.inheritance == "settings")
FLOWING: Final = frozenset({"Role", "RoleBinding"})
"""The kinds whose objects say by `flowsDown` whether sites have them."""
BALANCER: Final = "LoadBalancer"
ROLLOUT: Final = "Rollout"
REQUEST: Final = "ChangeRequest"
"""The kind whose objects are for the one site that asked."""
DELIVERABLE: Final = (
    frozenset({*_ALWAYS, *_NAMES, *SETTINGS, "SecurityPolicy", BALANCER, REQUEST}) | FLOWING
)
"""The kinds that a site may ever get."""
GOING_ON: Final = TRUST | FLOWING | {"Site", REQUEST}
"""The kinds that a paused site gets all the same: whom it believes, who may what, and answers."""

OPTIONAL: Final = _NAMES | {"SecurityPolicy"}
"""The kinds that a Subscription may name; of policies, it chooses among the default ones."""

FOLLOWED: Final = frozenset(
    kind.name for kind in KINDS.values() if "fsm" in kind.lives_on and kind.name != "JoinToken"
)
"""What is kept in memory: all that decides what a site gets, and all that admission judges by."""

# What sites of so many releases know of an object is remembered with it.
_RELEASES: Final = 8


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an object is meant for, and whether they must have it.

    `sites` selects the sites; None: all on whose chain its scope is.  `site` is the only one.
    """

    key: Key
    duty: Duty
    sites: Selector | None
    site: str | None = None

    @classmethod
    def of(cls, key: Key, spec: Mapping[str, Any]) -> "Audience":
        selector = spec.get("sites") if key.kind in _SELECTING else None
        sites = None if selector is None else Selector.model_validate(selector)
        site = spec.get("site") if key.kind == REQUEST else None
        return cls(key, _duty_of(key.kind, spec), sites, site)


@dataclass(frozen=True, slots=True)
class Rolling:
    """What a Rollout that hasn't ended does: sites that it hasn't reached keep another version.

    `before` is what they keep of the target, None if there was none.
    """

    rollout: Key
    target: Key
    before: "Item | None"
    reached: frozenset[str]

    def version_at(self, site: str, item: "Item | None") -> "Item | None":
        """Return what a site is to have of the target, which is `item` now."""
        return item if site in self.reached else self.before


class Item:
    """A stored object with its feed form, which is serialised at most once."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.audience = Audience.of(stored.key, stored.spec)
        self._known: dict[tuple[str, ...], bool] = {}

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

    def is_known(self, accepts: Mapping[str, tuple[str, ...]]) -> bool:
        """Return whether a site that announced `accepts` knows all that the spec uses.

        Worked out once for each release that sites run, not for each site.
        """
        fields = accepts.get(self.key.kind)
        if fields is None:
            return not accepts
        if fields not in self._known:
            if len(self._known) >= _RELEASES:
                self._known.clear()
            self._known[fields] = is_accepted(self.key.kind, self.spec, accepts)
        return self._known[fields]

    @cached_property
    def rolling(self) -> Rolling | None:
        """What the object does to its target, if it is a Rollout that hasn't ended."""
        if self.key.kind != ROLLOUT or self.spec.get("state") in ENDED:
            return None
        return self.rolled

    @cached_property
    def rolled(self) -> Rolling:
        """What a Rollout does to its target, or did before it ended."""
        spec = Rollout.model_validate(self.spec)
        target = Key(spec.target_kind, self.key.tenant, spec.target_scope, spec.target)
        before = None if spec.before is None else Item(_stored(target, spec.before))
        reached = frozenset(site for each in spec.reached for site in each.sites)
        return Rolling(self.key, target, before, reached)

    @cached_property
    def planned(self) -> Document | None:
        """The object as the planner sees it; None if this release can't read its spec."""
        kind = KINDS.get(self.key.kind)
        if kind is None:
            return None
        try:
            spec = kind.spec.model_validate(self.spec)
        except ValidationError:
            return None
        return Document(self.key, spec, self.labels, revision=self.stored.revision)

    @cached_property
    def document(self) -> bytes:
        """The object in JSON, as a site gets it: without status, and with its origin."""
        document = envelope_of(self.stored)
        del document["status"]
        document["metadata"]["origin"] = self.key.scope
        return encode_to_keep(document)

    @cached_property
    def put(self) -> bytes:
        """The change that puts it, encoded."""
        return encode_put(self.document)


_SELECTING: Final = SETTINGS | {"SecurityPolicy", BALANCER}


def _stored(key: Key, version: RolledVersion) -> Stored:
    return Stored(
        key=key,
        uid=version.uid,
        spec=version.spec,
        labels=version.labels,
        annotations=version.annotations,
        origin=None,
        revision=Revision(version.revision),
        generation=Generation(version.generation),
        created_at=version.created_at,
        updated_at=version.updated_at,
    )


def _duty_of(kind: str, spec: Mapping[str, Any]) -> Duty:
    if kind in _ALWAYS or kind in SETTINGS or kind in (BALANCER, REQUEST):
        return Duty.ALWAYS
    if kind in FLOWING:
        return Duty.ALWAYS if spec.get("flowsDown") else Duty.NEVER
    if kind == "SecurityPolicy":
        return Duty.ALWAYS if spec.get("enforcement") == "mandatory" else Duty.OPTIONAL
    return Duty.OPTIONAL if kind in _NAMES else Duty.NEVER
