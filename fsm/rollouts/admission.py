"""What a running rollout forbids: other changes of its target.

What the versions say that sites still have is judged with everything else (fsm.admission): a
network that only the version before names is still in use.
"""

from typing import Final

from fsm.feed.hub import Hub
from fsm.feed.item import DELIVERABLE, ROLLOUT, Rolling
from fsm.feed.rolling import rollings_in
from shared.access.permissions import Permission
from shared.errors import FieldError, Unavailable
from shared.objects.admission import ACCEPTED, Batch, Fault, Proposal, Review
from shared.store.contract import Selection, Snapshot

_RESTS_ON: Final = Selection(kinds=frozenset({ROLLOUT}))


def _is_there_already(proposal: Proposal) -> bool:
    """Return whether a write says what is being rolled out, as a repository does every night."""
    draft, stands = proposal.draft, proposal.before
    if draft is None or stands is None:
        return False
    return dict(draft.spec) == dict(stands.spec) and dict(draft.labels) == dict(stands.labels)


def _takes_back(proposal: Proposal, rolling: Rolling) -> bool:
    """Return whether a write puts the version before back, as an abort does."""
    draft, before = proposal.draft, rolling.before
    if draft is None or before is None:
        return draft is None and before is None
    read = before.planned
    spec = before.spec if read is None else read.spec.to_json()
    return dict(draft.spec) == dict(spec) and dict(draft.labels) == dict(before.labels)


class RolloutAdmission:
    """A shared.objects.admission.Admission for an FSM."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def review(self, batch: Batch, snapshot: Snapshot) -> Review:
        if all(each.key.kind not in DELIVERABLE for each in batch.proposals):
            return ACCEPTED
        if not await self._hub.reach(snapshot.position.revision):
            raise Unavailable("the FSM is behind its store; try again")
        rollings = rollings_in(self._hub.world)
        faults = []
        for index, each in enumerate(batch.proposals):
            rolling = rollings.get(each.key)
            if rolling is None or _is_there_already(each):
                continue
            if batch.trusted and _takes_back(each, rolling):
                continue
            may_know = batch.may(Permission.READ_ROLLOUT, tenant=each.key.tenant, on=each)
            name = f" {rolling.rollout.name}" if may_know else ""
            message = (
                f"{each.key} goes site by site with rollout{name}: let it end, or abort it, and "
                "write then"
            )
            faults.append(Fault(index, FieldError("", "rollout_running", message)))
        return Review(tuple(faults), depends_on=_RESTS_ON)
