"""What the login policy ends: the logins that it would not let begin now.

A policy that forbids local users would mean little if those who are in stayed for hours.  So their
sessions end, within seconds of its arrival; and so does that of the first administrator when he is
sealed, since from then on the account is for emergencies.  Logins by a directory that the policy
doesn't name any longer end as well.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from shared.clock import Clock
from shared.login.breakglass import BreakGlass
from shared.login.effective import EffectivePolicy
from shared.login.end_records import record_of_end
from shared.login.glass import Glass, may_go_on
from shared.login.providers import counting
from shared.login.session_records import Session
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import AuditRecord
from shared.tasks.loop import Outcome


class Endable(Protocol):
    """The sessions of a server: shared.login.sessions.Sessions."""

    async def sessions(self, identity: str | None = None) -> Sequence[Session]: ...

    async def end(self, session: Session, record: AuditRecord) -> None: ...


class EndForbidden:
    """A reconciler: to be activated when another policy counts, or the account is sealed."""

    name = "end logins that the policy forbids"

    def __init__(
        self,
        sessions: Endable,
        *,
        policy: Callable[[], EffectivePolicy],
        glass: BreakGlass,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._policy = policy
        self._glass = glass
        self._clock = clock

    async def reconcile(self) -> Outcome:
        policy, glass, now = self._policy(), await self._glass.glass(), self._clock.now()
        ended = 0
        for session in await self._sessions.sessions():
            why = forbidden(session, policy.spec, glass, now)
            if why is not None:
                await self._sessions.end(session, _record(session, why, policy, now))
                ended += 1
        return Outcome(changed=ended)


def forbidden(
    session: Session, policy: AuthenticationPolicy, glass: Glass | None, now: datetime
) -> str | None:
    """Return why a session has to end; None if it may go on.  Pure."""
    if session.is_emergency:
        stays = glass is not None and may_go_on(glass, policy, now)
        return None if stays else "the emergency account is shut"
    if session.provider not in counting(policy):
        return f"logins by the provider {session.provider} are forbidden"
    is_first = glass is not None and (glass.account, "local") == (
        session.username,
        session.provider,
    )
    if glass is not None and is_first and glass.sealed_at is not None:
        return "the first administrator is sealed as emergency account"
    return None


def _record(session: Session, why: str, policy: EffectivePolicy, now: datetime) -> AuditRecord:
    by = f" (by {policy.policy})" if policy.policy else ""
    return record_of_end(
        session, f"{why}{by}", cause="login-policy", who="system:login-policy", at=now
    )
