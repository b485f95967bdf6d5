"""Which AuthenticationPolicy counts on a server, of all that there are, and since when.

One counts at a time, of the tenant common.  Mandatory ones go first: the federation's before an
outer region's before an inner one's; else the nearest: the site's, its region's, the federation's;
of several in one place the first by name.  An Override stands in the place of what it replaces
until it expires.  An FSM heeds what the federation says to everybody: policies of scope federation
without `sites`.  Where there is none, the default of each field holds, which is local users alone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NoReturn

from pydantic import ValidationError

from shared.clock import Clock
from shared.errors import HanseError
from shared.ids import COMMON, FEDERATION, SITE, Key, Revision
from shared.model.kinds import KINDS
from shared.model.override import Override
from shared.model.settings_policies import AuthenticationPolicy
from shared.policy.definitions import Definitions
from shared.policy.inherit import Inheritance, effective_settings
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.scopes import Chain, Places
from shared.policy.services import settings_rank
from shared.store.contract import Commit, Selection, Snapshot, Store, Stored
from shared.tasks.group import Group
from shared.tasks.streams import closing

log = logging.getLogger(__name__)

KIND: Final = "AuthenticationPolicy"
DECIDING: Final = frozenset({KIND, "Override", "Region", "Site"})
"""The kinds that decide which policy counts."""

_RETRY: Final = 1.0


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """The policy that counts.

    `policy` is the document's key, None if there is none; `override` that of what stands in its
    place.  `until` is the next moment at which an Override expires, which may make it another one.
    """

    spec: AuthenticationPolicy = field(default_factory=AuthenticationPolicy)
    policy: Key | None = None
    override: Key | None = None
    until: datetime | None = None


DEFAULT: Final = EffectivePolicy()

Judge = Callable[[Iterable[Document], datetime], EffectivePolicy]
"""Chooses among the documents of DECIDING kinds, at a moment."""


def federation_policy(documents: Iterable[Document], now: datetime) -> EffectivePolicy:  # noqa: ARG001 - a Judge
    """Choose for an FSM.  Pure."""
    found = [
        (each.spec.enforcement != "mandatory", each.key.name, each)
        for each in documents
        if isinstance(each.spec, AuthenticationPolicy)
        and (each.key.tenant, each.key.scope) == (COMMON, FEDERATION)
        and each.spec.sites is None
    ]
    for _, _, document in sorted(found, key=lambda each: each[:2]):
        assert isinstance(document.spec, AuthenticationPolicy)
        return EffectivePolicy(document.spec, document.key)
    return DEFAULT


def site_policy(site: str, documents: Iterable[Document], now: datetime) -> EffectivePolicy:
    """Choose for the SDSP of a site.  Pure."""
    given = list(documents)
    inputs = SiteInputs(
        site,
        Documents(each for each in given if is_inherited_scope(each.key.scope)),
        Documents(each for each in given if not is_inherited_scope(each.key.scope)),
        now,
    )
    places, definitions = Places(inputs), Definitions(inputs)
    # A site that hasn't heard of itself yet has its own policies only.
    chain: Chain = (SITE,) if places.document is None else places.chain()
    inheritance = Inheritance(definitions, labels=places.labels, now=now)
    effective = [
        (settings_rank(each, chain, name.name), each)
        for name, each in effective_settings(inheritance, definitions, KIND, chain).items()
        if name.tenant == COMMON
    ]
    until = _next_expiry(inputs.local, now)
    for _, each in sorted(effective, key=lambda found: found[0]):
        if isinstance(each.spec, AuthenticationPolicy):
            override = each.override.key if each.override else None
            return EffectivePolicy(each.spec, each.document.key, override, until)
    return EffectivePolicy(until=until)


def _next_expiry(local: Documents, now: datetime) -> datetime | None:
    expiries = (
        each.spec.expires_at
        for each in local.of_kind("Override")
        if isinstance(each.spec, Override) and each.spec.target.kind == KIND
    )
    return min((each for each in expiries if each and each > now), default=None)


def documents_of(stored: Iterable[Stored]) -> dict[Key, Document]:
    """Return what can be read of objects; what this release can't read decides nothing."""
    found = {}
    for each in stored:
        try:
            spec = KINDS[each.key.kind].spec.model_validate(each.spec)
        except ValidationError:
            log.warning("can't be read, and decides nothing", extra={"object": str(each.key)})
            continue
        found[each.key] = Document(each.key, spec, each.labels, revision=each.revision)
    return found


async def deciding(snapshot: Snapshot) -> dict[Key, Document]:
    """Return all that decides which policy counts, as of a snapshot."""
    return documents_of(await snapshot.list(Selection(kinds=DECIDING)))


class PolicyOfNow:
    """The policy that counts now, kept up to date with the store.

    Somebody must load it, and run it.
    """

    def __init__(
        self, store: Store, *, judge: Judge, now: Callable[[], datetime], clock: Clock
    ) -> None:
        """`now` judges the expiry of Overrides, `clock` waits for it."""
        self.on_change: Callable[[], None] = lambda: None
        """Called whenever another policy counts."""
        self._store = store
        self._judge = judge
        self._now = now
        self._clock = clock
        self._documents: dict[Key, Document] = {}
        self._revision = Revision(0)
        self._effective = DEFAULT
        self._moved = asyncio.Event()

    @property
    def effective(self) -> EffectivePolicy:
        """What counts at this moment."""
        until = self._effective.until
        if until is not None and self._now() >= until:
            self._judge_anew()
        return self._effective

    async def load(self) -> None:
        """Read everything anew; raises what Store.snapshot raises."""
        async with self._store.snapshot() as snapshot:
            self._documents = await deciding(snapshot)
            self._revision = snapshot.position.revision
        self._judge_anew()

    async def run(self) -> NoReturn:
        """Follow the store, and expiries, until cancelled."""
        async with Group() as group:
            group.start(self._expire(), name="expire exceptions to the login policy")
            while True:
                try:
                    await self._follow()
                except HanseError as exc:
                    log.info("login policy can't follow the store", extra={"code": exc.code})
                await self._clock.sleep(_RETRY)
                try:
                    await self.load()
                except HanseError as exc:
                    log.info("login policy can't be read", extra={"code": exc.code})

    async def _follow(self) -> None:
        selection = Selection(kinds=DECIDING)
        async with closing(self._store.watch(self._revision, selection=selection)) as events:
            async for event in events:
                if isinstance(event, Commit):
                    self._take(event)
                self._revision = event.revision

    def _take(self, commit: Commit) -> None:
        concerned = [each for each in commit.changes if each.key.kind in DECIDING]
        for change in concerned:
            self._documents.pop(change.key, None)
        self._documents |= documents_of(each.after for each in concerned if each.after)
        if concerned:
            self._judge_anew()

    def _judge_anew(self) -> None:
        before = self._effective
        self._effective = self._judge(self._documents.values(), self._now())
        self._moved.set()
        self._moved = asyncio.Event()
        if (before.spec, before.policy) != (self._effective.spec, self._effective.policy):
            log.info("another login policy counts", extra={"policy": str(self._effective.policy)})
            self.on_change()

    async def _expire(self) -> NoReturn:
        while True:
            moved = self._moved
            until = self._effective.until
            wait = None if until is None else max(0.0, (until - self._now()).total_seconds())
            # A clock that was set back makes it wait once more.
            await self._clock.wait(moved, wait)
            if until is not None and self._now() >= until and not moved.is_set():
                self._judge_anew()
