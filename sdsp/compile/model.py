"""The site's documents as the planner takes them, kept up to date commit by commit."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from shared.ids import Revision
from shared.model.kinds import KINDS
from shared.policy.inputs import Document, Documents, SiteInputs, is_inherited_scope
from shared.store.contract import Commit, Selection, Stored

PLANNED_KINDS: Final = frozenset(
    {
        "Region",
        "Site",
        "Tenant",
        "Network",
        "Service",
        "SecurityPolicy",
        "Override",
        "Workload",
        "NodeGroup",
        "Node",
    }
)
"""What decides verdicts; changes of other kinds compile nothing."""

PLANNED: Final = Selection(kinds=PLANNED_KINDS)


def document_of(stored: Stored) -> Document:
    """Return a stored object as the planner sees it; what is stored was valid when written."""
    return Document(
        key=stored.key,
        spec=KINDS[stored.key.kind].spec.model_validate(stored.spec),
        labels=stored.labels,
        revision=stored.revision,
    )


class SiteModel:
    """Documents by where they come from, as of one revision of the site's store."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.revision = Revision(0)
        self._federation = Documents()
        self._local = Documents()

    def load(self, stored: Iterable[Stored], revision: Revision) -> None:
        """Begin anew with all of a snapshot's objects."""
        documents = [document_of(each) for each in stored if each.key.kind in PLANNED_KINDS]
        self._federation = Documents(
            each for each in documents if is_inherited_scope(each.key.scope)
        )
        self._local = Documents(
            each for each in documents if not is_inherited_scope(each.key.scope)
        )
        self.revision = revision

    def apply(self, commit: Commit) -> bool:
        """Take one commit; return whether it changed anything that is planned."""
        self.revision = commit.revision
        changes = [each for each in commit.changes if each.key.kind in PLANNED_KINDS]
        for inherited in (True, False):
            here = [each for each in changes if is_inherited_scope(each.key.scope) is inherited]
            if not here:
                continue
            before = self._federation if inherited else self._local
            after = before.changed(
                put=[document_of(each.after) for each in here if each.after is not None],
                delete=[each.key for each in here if each.after is None],
            )
            if inherited:
                self._federation = after
            else:
                self._local = after
        return bool(changes)

    def inputs(self, now: datetime) -> SiteInputs:
        return SiteInputs(self.site, self._federation, self._local, now)
