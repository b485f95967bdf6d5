"""What the FSM knows of its sites beside policy: what they said, and their certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fsm.feed.acks import REPORTS, Heard, SiteVoices, read_heard
from fsm.feed.status import SiteFacts
from shared.clock import Clock
from shared.enrolment.register import CERTIFICATES
from shared.enrolment.revocations import revoked_in
from shared.pki.identity import SpiffeId, TrustDomain
from shared.store.contract import Store


@dataclass(frozen=True, slots=True)
class Told:
    """What was known at one moment."""

    _heard: Mapping[str, Heard]
    _reports: Mapping[str, Any]
    _until: Mapping[str, datetime]
    _incarnation: str
    _trust_domain: TrustDomain

    def of(self, site: str) -> SiteFacts:
        until = self._until.get(str(SpiffeId.sdsp(self._trust_domain, site)))
        return SiteFacts(self._heard.get(site), self._reports.get(site), until, self._incarnation)


class KnownSites:
    def __init__(
        self, store: Store, voices: SiteVoices, *, trust_domain: TrustDomain, clock: Clock
    ) -> None:
        self._store = store
        self._voices = voices
        self._trust_domain = trust_domain
        self._clock = clock

    async def read(self) -> Told:
        """Return what is known now of all sites."""
        # What this process has heard and not written yet belongs to the answer.
        await self._voices.flush()
        async with self._store.snapshot() as snapshot:
            incarnation = snapshot.position.incarnation
            heard = await read_heard(snapshot)
            reports = await snapshot.records(REPORTS)
            certificates = await snapshot.records(CERTIFICATES)
            revoked = await revoked_in(snapshot)
        until = _joined_until(certificates, revoked=revoked, now=self._clock.now())
        return Told(heard, reports, until, incarnation, self._trust_domain)


def _joined_until(
    certificates: Mapping[str, Any], *, revoked: Mapping[str, Any], now: datetime
) -> dict[str, datetime]:
    """Return, per identity, until when the last of its live certificates is good."""
    until: dict[str, datetime] = {}
    for serial, record in certificates.items():
        not_after = datetime.fromisoformat(record["notAfter"])
        if serial not in revoked and not_after > now:
            identity = record["identity"]
            until[identity] = max(not_after, until.get(identity, not_after))
    return until
