"""Which logins end when another policy counts."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.login.effective import EffectivePolicy
from shared.login.end_by_policy import EndForbidden, forbidden
from shared.login.glass import Glass
from shared.login.session_records import Session
from shared.model.settings_policies import AuthenticationPolicy
from shared.store.contract import AuditRecord
from tests.fakes.clock import VirtualClock
from tests.unit.shared.login.conftest import Server

NOW = VirtualClock().now()
LOCAL = Session(
    id="s",
    identity="user:ann",
    username="ann",
    display_name="ann",
    provider="local",
    groups=frozenset(),
    roles=(),
    created_at=NOW,
    expires_at=NOW + timedelta(hours=12),
    store="i",
)
FIRST = replace(LOCAL, identity="user:admin", username="admin", roles=("global-admin",))
EMERGENCY = replace(FIRST, is_emergency=True)
LDAP = replace(LOCAL, provider="ldap")
OPEN = Glass(account="admin", opened_at=NOW, open_until=NOW + timedelta(hours=1))


def policy(**spec: Any) -> AuthenticationPolicy:
    return AuthenticationPolicy.model_validate(spec)


@pytest.mark.parametrize(
    ("session", "spec", "glass", "ends"),
    [
        (LOCAL, {}, None, False),
        (LOCAL, {"localUsers": "forbidden"}, None, True),
        (LOCAL, {"providers": ["ldap"]}, None, True),
        (LDAP, {"providers": ["ldap"], "localUsers": "forbidden"}, None, False),
        (LDAP, {}, None, True),
        (FIRST, {}, Glass(account="admin"), False),
        (FIRST, {}, Glass(account="admin", sealed_at=NOW), True),
        (LOCAL, {}, Glass(account="admin", sealed_at=NOW), False),
        (EMERGENCY, {"localUsers": "forbidden"}, OPEN, False),
        (EMERGENCY, {}, replace(OPEN, open_until=NOW), True),
        (EMERGENCY, {"breakGlass": "forbidden"}, OPEN, True),
        (EMERGENCY, {"breakGlass": "forbidden"}, replace(OPEN, despite_policy=True), False),
        (EMERGENCY, {}, None, True),
    ],
)
def test_a_login_goes_on_only_if_it_could_begin(
    session: Session, spec: Any, glass: Glass | None, ends: bool
) -> None:
    assert (forbidden(session, policy(**spec), glass, NOW) is not None) == ends


class Kept:
    """Sessions in memory: a shared.login.end_by_policy.Endable."""

    def __init__(self, *sessions: Session) -> None:
        self.kept = list(sessions)
        self.records: list[AuditRecord] = []

    async def sessions(self, identity: str | None = None) -> list[Session]:
        return list(self.kept)

    async def end(self, session: Session, record: AuditRecord) -> None:
        self.kept.remove(session)
        self.records.append(record)


async def test_what_is_forbidden_is_ended_with_a_record_that_says_why(server: Server) -> None:
    kept = Kept(LOCAL, LDAP)
    spec = policy(providers=["ldap", "local"], localUsers="forbidden")
    ending = EndForbidden(
        kept, policy=lambda: EffectivePolicy(spec), glass=server.glass, clock=server.clock
    )
    assert (await ending.reconcile()).changed == 1
    assert kept.kept == [LDAP]
    (record,) = kept.records
    assert (record.action, record.identity) == ("end session", "system:login-policy")
    assert record.reason == "user:ann: logins by the provider local are forbidden"
    assert (await ending.reconcile()).changed == 0
