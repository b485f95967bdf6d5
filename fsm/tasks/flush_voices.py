"""Write down what sites said since the last pass."""

from fsm.feed.acks import SiteVoices
from shared.tasks.loop import Outcome


class FlushVoices:
    """A reconciler over the acknowledgements that this process has heard."""

    name = "write acknowledgements"

    def __init__(self, voices: SiteVoices) -> None:
        self._voices = voices

    async def reconcile(self) -> Outcome:
        return Outcome(changed=await self._voices.flush())
