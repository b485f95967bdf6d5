"""Certificate about to expire, expired, CA exchanged: renewal at half of life, hot reload, overlap
of both CAs; enforcement goes on; an alert at a third left.

Here: the alert, and that a node whose certificate has expired goes on enforcing, also after a
restart.  Elsewhere: issuing CA and root exchanged while changes flow to sites and nodes in
tests/integration/pki/test_exchange.py; renewal in tests/unit/{fsm,sdsp,dsn}/tasks and tests/unit/shared/pki/
test_rotation.py; hot reload and a CA exchanged step by step, over real handshakes, in
tests/integration/pki/test_hot_reload.py; a site that renews its own and its nodes' certificates
without the FSM in tests/integration/road/test_fsm_away.py; expired ones at the door in
tests/integration/pki/test_handshakes.py.
"""

import logging
import random
from pathlib import Path

import pytest

from dsn.dataplane.memory import MemoryDataPlane
from dsn.enforce.apply import Enforcer
from dsn.enforce.last_good import LastGood
from dsn.tasks.enforce import EnforceWanted
from fsm.tasks.renew_certificates import RenewCertificates
from fsm.trust import FSMCredentials, create_trust, issue_own
from shared.backoff import Backoff
from shared.errors import Unauthenticated, Unreachable
from shared.metrics.names import Metrics
from shared.pki.alarm import ExpiryAlarm
from shared.pki.authority import ISSUING_LIFE
from shared.pki.tls import server_context
from shared.tasks.group import Group
from shared.tasks.loop import Loop
from tests.fakes.clock import VirtualClock
from tests.fakes.federation import TRUST_DOMAIN
from tests.unit.dsn.configurations import make_assignment, make_rule
from tests.unit.dsn.tasks.test_renew import HOUR, Renewing
from tests.unit.sdsp.tasks.test_certificates import YEAR
from tests.unit.sdsp.tasks.test_certificates import World as SiteWorld


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        getattr(each, "certificate", "")
        for each in caplog.records
        if each.levelno == logging.ERROR and each.getMessage().startswith("certificate expires")
    ]


async def test_a_node_tells_at_a_third_left_that_its_site_renews_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = Renewing(tmp_path)
    world.site.away = True
    for hours, told in ((13, 0), (2, 0), (2, 1), (3, 1)):
        world.clock.advance(hours * HOUR)
        with pytest.raises(Unreachable):
            await world.task.reconcile()
        assert len(alarms(caplog)) == told

    world.site.away = False
    assert (await world.task.reconcile()).changed == 1
    assert alarms(caplog) == ["this node's certificate"]


async def test_a_site_tells_at_a_third_left_that_the_fsm_renews_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = SiteWorld(tmp_path)
    world.upstream.is_away = True
    world.clock.advance(YEAR * 0.6)
    await world.task.reconcile()
    assert alarms(caplog) == []

    world.clock.advance(YEAR * 0.07)
    await world.task.reconcile()
    await world.task.reconcile()
    assert alarms(caplog) == ["the site's CA"], "once, and its own certificate it renews itself"
    (late,) = world.task.alarm.late
    assert late.certificate == "the site's CA", "shown in its status, and told to the FSM"

    world.upstream.is_away = False
    await world.task.reconcile()
    assert world.task.alarm.late == (), "it is over once there is a successor"


async def test_an_fsm_whose_root_key_is_away_tells_at_a_third_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, metrics = VirtualClock(), Metrics()
    credentials = FSMCredentials.beneath(tmp_path)
    create_trust(credentials, TRUST_DOMAIN, ("localhost",), clock=clock)
    task = RenewCertificates(
        credentials,
        server_names=("localhost",),
        context=server_context(issue_own(credentials, ("localhost",), clock=clock)),
        clock=clock,
        alarm=ExpiryAlarm(clock=clock, metrics=metrics),
    )
    (credentials.root.path / "current" / "key.pem").unlink()
    clock.advance(ISSUING_LIFE.total_seconds() * 0.6)
    assert (await task.reconcile()).failed == {"the issuing CA": "root_key_offline"}
    assert alarms(caplog) == []

    clock.advance(ISSUING_LIFE.total_seconds() * 0.07)
    await task.reconcile()
    assert alarms(caplog) == ["the issuing CA"]
    assert [each.certificate for each in task.alarm.late] == ["the issuing CA"]
    expires = credentials.issuing.load().certificate.not_valid_after_utc.timestamp()
    name = "hanse_certificate_expires_timestamp_seconds"
    found = metrics.registry.get_sample_value(name, {"certificate": "the issuing CA"})
    assert found == expires


async def test_a_node_whose_certificate_has_expired_enforces_on_and_after_a_restart(
    tmp_path: Path,
) -> None:
    world = Renewing(tmp_path)
    wanted = make_assignment(1, make_rule(1))
    plane, file = MemoryDataPlane(), LastGood(tmp_path / "last-good.json")
    enforcer = Enforcer(plane=plane, last_good=file)
    enforcer.want(wanted)
    source = random.Random(1)
    async with Group() as group:
        for task in (world.task, EnforceWanted(enforcer)):
            backoff = Backoff(first=1.0, longest=60.0, source=source)
            loop = Loop(task, period=60.0, settle=0.0, backoff=backoff, clock=world.clock)
            group.start(loop.run(), name=loop.name)
        world.site.away = True
        await world.clock.pass_time(30 * HOUR, turns=5)
        with pytest.raises(Unauthenticated):
            await world.task.reconcile()
        assert (await plane.read_back()).hash == wanted.version.hash

    again = MemoryDataPlane()
    restarted = Enforcer(plane=again, last_good=file)
    assert await restarted.restore(wanted.configuration.node)
    assert (await again.read_back()).hash == wanted.version.hash
