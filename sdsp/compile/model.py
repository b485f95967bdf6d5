"""The site's objects as the planner takes them, kept up to date commit by commit."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from shared.ids import Key, Revision
from shared.model.kinds import KINDS
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.policy.loaded.source import Source
from shared.store.contract import Commit, Selection, Stored

PLANNED_KINDS: Final = frozenset(
    {
        "Region",
        "Site",
        "Tenant",
        "Network",
        "Service",
        "SecurityPolicy",
        "LoadBalancer",
        "Override",
        "Workload",
        "NodeGroup",
        "Node",
        "User",
        *(name for name, kind in KINDS.items() if kind.inheritance == "settings"),
    }
)
"""What decides verdicts, the settings that are inherited like policy, and whom they concern."""

PLANNED: Final = Selection(kinds=PLANNED_KINDS)


def document_of(stored: Stored) -> Document:
    """Return a stored object as the planner sees it; what is stored was valid when written."""
    return Document(
        key=stored.key,
        spec=KINDS[stored.key.kind].spec.model_validate(stored.spec),
        labels=stored.labels,
        revision=stored.revision,
    )


def source_of(stored: Stored) -> Source:
    """Return a stored object as a loaded site takes it."""
    return Source(stored.key, stored.spec, stored.labels, stored.revision)


class SiteModel:
    """The site's objects at one revision of its store, and what changed since somebody asked."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.revision = Revision(0)
        self._stored: dict[Key, Stored] = {}
        self._documents: dict[Key, tuple[Stored, Document]] = {}
        self._changed: dict[Key, Stored | None] | None = None
        """None as long as everything may have changed."""

    def load(self, stored: Iterable[Stored], revision: Revision) -> None:
        """Begin anew with all of a snapshot's objects."""
        self._stored = {each.key: each for each in stored if each.key.kind in PLANNED_KINDS}
        self._changed = None
        self.revision = revision

    def apply(self, commit: Commit) -> bool:
        """Take one commit; return whether it changed anything that is planned."""
        self.revision = commit.revision
        changes = [each for each in commit.changes if each.key.kind in PLANNED_KINDS]
        for each in changes:
            if each.after is None:
                self._stored.pop(each.key, None)
            else:
                self._stored[each.key] = each.after
            if self._changed is not None:
                self._changed[each.key] = each.after
        return bool(changes)

    def take_changes(self) -> tuple[list[Source], list[Key]] | None:
        """Return what was put and deleted since the last time; None if everything may have been."""
        changed, self._changed = self._changed, {}
        if changed is None:
            return None
        put = [source_of(each) for each in changed.values() if each is not None]
        return put, [key for key, each in changed.items() if each is None]

    def forget_changes(self) -> None:
        """Let the next to ask take everything."""
        self._changed = None

    def sources(self) -> list[Source]:
        return [source_of(each) for each in self._stored.values()]

    def objects(self) -> Mapping[Key, Stored]:
        """Return the objects as they are now; a copy that stays as it is."""
        return dict(self._stored)

    def inputs(self, now: datetime) -> SiteInputs:
        return self.inputs_of(self.objects(), now)

    def inputs_of(self, objects: Mapping[Key, Stored], now: datetime) -> SiteInputs:
        """Return documents of objects() for the planner; specs are read once for each version."""
        documents: dict[Key, tuple[Stored, Document]] = {}
        for key, stored in objects.items():
            known = self._documents.get(key)
            if known is None or known[0] is not stored:
                known = stored, document_of(stored)
            documents[key] = known
        self._documents = documents
        inherited = Documents(
            document for _, document in documents.values() if is_inherited_scope(document.key.scope)
        )
        local = Documents(
            document
            for _, document in documents.values()
            if not is_inherited_scope(document.key.scope)
        )
        return SiteInputs(self.site, inherited, local, now)
