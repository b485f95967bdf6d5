"""The conflicts that definitions and exceptions show, following a site's changes.

What is found about a name depends on its own definitions and exceptions, on what was noted of them
when they came, on where things lie (the Site, its regions, groups and nodes) and on time: on no
other name.  So the names that a change
touches are judged from nothing, at a site that has only these, and all others stay as they are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from shared.ids import Key
from shared.model.override import Override
from shared.policy.compile import SitePlanner
from shared.policy.conflicts.contract import Finding
from shared.policy.conflicts.deleted_upstream import deleted_upstream
from shared.policy.conflicts.edited_both import edited_both
from shared.policy.conflicts.name_taken import name_taken
from shared.policy.conflicts.remarks import NO_REMARKS, Remarks
from shared.policy.conflicts.settings import KINDS_OF_SETTINGS, conflicts_of_settings
from shared.policy.conflicts.upstream_went_back import upstream_went_back
from shared.policy.definitions import INHERITED_KINDS, Name, name_of, target_of
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope

Object = TypeVar("Object")

_PLACES: Final = frozenset({"Site", "Region", "NodeGroup", "Node"})


def conflicts_of_names(planner: SitePlanner, remarks: Remarks) -> Iterator[Finding]:
    """Yield what is found about each name by itself."""
    yield from edited_both(planner)
    yield from deleted_upstream(planner)
    yield from name_taken(planner, remarks)
    yield from upstream_went_back(planner, remarks)


class NamedConflicts(Generic[Object]):
    """Those conflicts of one site.

    Objects that were there the last time and are as they were must be the same ones again; `read`
    makes documents of them, as far as they are needed.
    """

    def __init__(self, site: str, *, read: Callable[[Object], Document]) -> None:
        self._site = site
        self._read = read
        self._objects: Mapping[Key, Object] = {}
        self._now: datetime | None = None
        self._keys: Final[dict[Name, dict[Key, None]]] = {}
        """By name its definitions and the exceptions to it."""
        self._exceptions: Final[dict[Key, tuple[Name, datetime | None]]] = {}
        """Of each exception its target and its end."""
        self._users: Final[dict[Key, None]] = {}
        self._places: Final[dict[Key, None]] = {}
        self._found: Final[dict[Name, tuple[Finding, ...]]] = {}
        self._settings: tuple[Finding, ...] = ()
        self._remarks = NO_REMARKS

    @property
    def findings(self) -> Iterator[Finding]:
        for _, found in sorted(self._found.items(), key=lambda each: each[0]):
            yield from found
        yield from self._settings

    def update(
        self, objects: Mapping[Key, Object], now: datetime, remarks: Remarks = NO_REMARKS
    ) -> None:
        """Follow to what the objects are now; NotFound (`unknown_site`) without the Site."""
        before, self._objects = self._objects, objects
        touched: dict[Name, None] = {}
        gone = [each for each in before if each not in objects]
        came = [key for key, each in objects.items() if before.get(key) is not each]
        for key in (*gone, *came):
            self._forget(key, touched)
        for key in came:
            self._take(key, objects[key], touched)
        self._pass_time(now, touched)
        touched.update(dict.fromkeys([name_of(key) for key in remarks.touched(self._remarks)]))
        self._remarks = remarks
        kinds = {name.kind for name in touched} | {key.kind for key in (*gone, *came)}
        # Of what is touched nothing may be left.
        self._judge([*self._keys, *touched] if kinds & _PLACES else touched)
        if kinds & (_PLACES | KINDS_OF_SETTINGS):
            self._judge_settings()

    def _take(self, key: Key, given: Object, touched: dict[Name, None]) -> None:
        if key.kind in _PLACES:
            self._places[key] = None
            return
        if key.kind == "User":
            self._users[key] = None
            return
        name = None
        if key.kind == "Override":
            terms = self._read(given).spec
            if isinstance(terms, Override):
                name = target_of(terms)
                self._exceptions[key] = (name, terms.expires_at)
        elif key.kind in INHERITED_KINDS:
            name = name_of(key)
        if name is not None:
            self._keys.setdefault(name, {})[key] = None
            touched[name] = None

    def _forget(self, key: Key, touched: dict[Name, None]) -> None:
        self._places.pop(key, None)
        self._users.pop(key, None)
        name, _ = self._exceptions.pop(key, (name_of(key), None))
        keys = self._keys.get(name)
        if keys is not None and key in keys:
            touched[name] = None
            del keys[key]
            if not keys:
                del self._keys[name]

    def _pass_time(self, now: datetime, touched: dict[Name, None]) -> None:
        before, self._now = self._now, now
        if before is None or before == now:
            return
        early, late = sorted((before, now))
        for name, expires_at in self._exceptions.values():
            if expires_at is not None and early < expires_at <= late:
                touched[name] = None

    def _judge(self, names: Iterable[Name]) -> None:
        """Judge names anew.  One with a single definition and no exception agrees with itself."""
        wanted = []
        for name in dict.fromkeys(names):
            self._found.pop(name, None)
            if len(self._keys.get(name, ())) > 1 or self._is_remarkable(name):
                wanted.append(name)
        if not wanted:
            return
        found: dict[Name, list[Finding]] = {}
        for each in conflicts_of_names(SitePlanner(self._part(wanted)), self._remarks):
            found.setdefault(each.target, []).append(each)
        self._found.update({name: tuple(each) for name, each in found.items()})

    def _judge_settings(self) -> None:
        names = [name for name in self._keys if name.kind in KINDS_OF_SETTINGS]
        self._settings = ()
        if names:
            planner = SitePlanner(self._part(names, *self._users))
            self._settings = tuple(conflicts_of_settings(planner))

    def _is_remarkable(self, name: Name) -> bool:
        return any(
            key.kind == "Override" or key in self._remarks.went_back
            for key in self._keys.get(name, ())
        )

    def _part(self, names: Sequence[Name], *more: Key) -> SiteInputs:
        """Return the site with nothing but these names, and all places."""
        assert self._now is not None, "there was a time"
        keys = [*self._places, *(key for name in names for key in self._keys[name]), *more]
        documents = [self._read(self._objects[key]) for key in keys]
        return SiteInputs(
            self._site,
            Documents(each for each in documents if is_inherited_scope(each.key.scope)),
            Documents(each for each in documents if not is_inherited_scope(each.key.scope)),
            self._now,
        )
